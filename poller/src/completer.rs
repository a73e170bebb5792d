//! Events the function is through with, until their source knows it.
//!
//! One piece of work at a time: whatever finished while the last one ran is the next batch, without
//! a timer. Marks that fail are retried forever, and their events are never delivered again by this
//! process: that is what its claims are held for. Like the dispatcher it decides and does nothing.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use kipper_process::backoff::Backoff;
use tokio::time::Instant;

use crate::{
    dispatcher::Held,
    source::{Digest, Event, Key, Mark, SourceError},
};

/// Events marked in one go at most.
const MAX_BATCH: usize = 1_000;
/// Pauses between tries to mark one event.
const MARK_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
/// Marked events that still ask to be delivered. At this bound nothing more is claimed: forgetting
/// one would deliver it again and again.
pub(crate) const MAX_SUPPRESSED: usize = 100_000;

/// An event that is to be marked or put among the dead letters.
#[derive(Debug)]
struct Unmarked<C> {
    held: Held<C>,
    /// Why it is dead; `None` for one that was handled.
    dead: Option<String>,
    backoff: Backoff,
    /// An earlier try may have been committed.
    retried: bool,
}

/// What to ask of the source next. Give it back with the answer.
#[derive(Debug)]
pub(crate) struct Work<C> {
    batch: Vec<Unmarked<C>>,
}

impl<C> Work<C> {
    /// The events, in order.
    pub(crate) fn events(&self) -> Vec<Arc<Event<C>>> {
        self.batch.iter().map(|unmarked| Arc::clone(&unmarked.held.event)).collect()
    }

    /// Why the one event of this work is dead, and after how many attempts; `None` for marks.
    pub(crate) fn dead(&self) -> Option<(&str, u32)> {
        let first = self.batch.first()?;
        Some((first.dead.as_deref()?, first.held.attempts))
    }

    /// True if some may be marked already.
    pub(crate) fn retried(&self) -> bool {
        self.batch.iter().any(|unmarked| unmarked.retried)
    }
}

/// How one piece of work went.
#[derive(Debug)]
pub(crate) struct Completed<C> {
    /// To be released, with the rows their mark changed.
    pub(crate) released: Vec<(Held<C>, Option<u64>)>,
    /// Marks that failed, for the log.
    pub(crate) failures: Vec<(Key, String)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Completer<C> {
    fresh: VecDeque<Unmarked<C>>,
    /// By when they are tried again; the number tells equal instants apart.
    delayed: BTreeMap<(Instant, u64), Unmarked<C>>,
    serial: u64,
    suppressed: HashMap<Key, Digest>,
}

impl<C> Default for Completer<C> {
    fn default() -> Self {
        Self {
            fresh: VecDeque::new(),
            delayed: BTreeMap::new(),
            serial: 0,
            suppressed: HashMap::new(),
        }
    }
}

impl<C> Completer<C> {
    /// An event was handled.
    pub(crate) fn finished(&mut self, held: Held<C>) {
        self.fresh.push_back(Unmarked { held, dead: None, backoff: MARK_BACKOFF, retried: false });
    }

    /// An event will not be delivered any more.
    pub(crate) fn dead(&mut self, held: Held<C>, reason: String) {
        let dead = Some(reason);
        self.fresh.push_back(Unmarked { held, dead, backoff: MARK_BACKOFF, retried: false });
    }

    /// The next piece of work: what failed and may be tried again first, then what is new. Dead
    /// letters and marks of unknown outcome are never mixed with others.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Work<C>> {
        let delayed = self.delayed.first_key_value().is_some_and(|((due, _), _)| *due <= now);
        if delayed {
            let (_, unmarked) = self.delayed.pop_first()?;
            let mut batch = vec![unmarked];
            while batch[0].retried
                && batch.len() < MAX_BATCH
                && let Some(entry) = self.delayed.first_entry()
                && entry.key().0 <= now
                && entry.get().retried
                && entry.get().dead.is_none() == batch[0].dead.is_none()
                && batch[0].dead.is_none()
            {
                batch.push(entry.remove());
            }
            return Some(Work { batch });
        }
        let first = self.fresh.pop_front()?;
        let dead = first.dead.is_some();
        let mut batch = vec![first];
        while !dead
            && batch.len() < MAX_BATCH
            && self.fresh.front().is_some_and(|unmarked| unmarked.dead.is_none())
        {
            batch.extend(self.fresh.pop_front());
        }
        Some(Work { batch })
    }

    /// Takes in the source's answer.
    pub(crate) fn completed(
        &mut self,
        work: Work<C>,
        answer: Result<Vec<Mark>, SourceError>,
        now: Instant,
    ) -> Completed<C> {
        let mut completed = Completed { released: Vec::new(), failures: Vec::new() };
        let marks = answer.unwrap_or_else(|error| {
            let text = error.to_string();
            let mark = match error {
                SourceError::Lost(_) | SourceError::Broken(_) => Mark::Unknown(text),
                SourceError::Failed(_) | SourceError::Invalid(_) => Mark::Failed(text),
            };
            vec![mark; work.batch.len()]
        });
        debug_assert_eq!(marks.len(), work.batch.len());
        for (mut unmarked, mark) in work.batch.into_iter().zip(marks) {
            match mark {
                Mark::Done { rows, still } => {
                    let key = &unmarked.held.event.key;
                    match still {
                        Some(digest) => self.suppressed.insert(key.clone(), digest),
                        None => self.suppressed.remove(key),
                    };
                    completed.released.push((unmarked.held, rows));
                }
                Mark::Failed(ref text) | Mark::Unknown(ref text) => {
                    let unknown = matches!(mark, Mark::Unknown(_));
                    completed.failures.push((unmarked.held.event.key.clone(), text.clone()));
                    unmarked.retried |= unknown;
                    let pause = unmarked.backoff.pause();
                    self.serial += 1;
                    self.delayed.insert((now + pause, self.serial), unmarked);
                }
            }
        }
        completed
    }

    /// When [`Completer::next`] has something by time alone.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.delayed.first_key_value().map(|((due, _), _)| *due)
    }

    /// Events that are handled or dead and not marked.
    pub(crate) fn unmarked(&self) -> usize {
        self.fresh.len() + self.delayed.len()
    }

    /// Marked events that still ask to be delivered as they did when they were marked.
    pub(crate) fn suppressed(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.suppressed.keys()
    }

    /// True when nothing may be claimed because too many events stayed as they were.
    pub(crate) fn is_full(&self) -> bool {
        self.suppressed.len() >= MAX_SUPPRESSED
    }

    /// Takes in which of the suppressed events ask for delivery now. One that stopped asking or
    /// changed is new when it asks again.
    pub(crate) fn peeked(&mut self, asked: &[Key], now_asking: Vec<(Key, Digest)>) {
        let now_asking: HashMap<Key, Digest> = now_asking.into_iter().collect();
        for key in asked {
            if self.suppressed.get(key) != now_asking.get(key) {
                self.suppressed.remove(key);
            }
        }
    }
}

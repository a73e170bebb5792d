//! Which claimed event is delivered next, and what becomes of one whose delivery ended.
//!
//! Holds every event that waits for a delivery: ready ones in the source's order, failed ones until
//! their pause is over. It knows neither the source nor the function: it is told of claims and
//! endings and answers with decisions. It must never drop an event without saying so.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    pace::Pace,
    retry::{self, BACKOFF_CAP, Breaker, Change, Ending, Next},
    source::{Event, Key},
};

/// Failed events remembered without being held. Beyond it the one due first is forgotten, and its
/// attempts with it.
const MAX_RESTING: usize = 10_000;
/// Keys of the last probes, which the next probe leaves out: the event that was probed with may be
/// the one the function cannot take.
const MAX_PROBED: usize = 20;

/// A claimed event and how often it was tried.
#[derive(Debug)]
pub(crate) struct Held<C> {
    /// The event.
    pub(crate) event: Arc<Event<C>>,
    /// Failed attempts so far.
    pub(crate) attempts: u32,
}

/// What to do after a delivery.
#[derive(Debug)]
pub(crate) enum Verdict<C> {
    /// Mark it done.
    Mark(Held<C>),
    /// Put it among the dead letters.
    Bury(Held<C>),
    /// It waits here for its next attempt after this pause.
    Wait(Duration),
    /// Release these; the delivered one is among them.
    Release(Vec<Held<C>>),
}

/// What is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Handlers that run at once.
    pub(crate) concurrency: usize,
    /// Events held at most, in whatever state.
    pub(crate) max_held: usize,
    /// Attempts before an event is dead.
    pub(crate) max_attempts: u32,
    /// Whether there is anything to do with dead events.
    pub(crate) dead_letters: bool,
}

/// A failed event that is not held: only what its next claim has to know.
#[derive(Debug)]
struct Resting {
    attempts: u32,
    due: Instant,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Dispatcher<C> {
    limits: Limits,
    ready: VecDeque<Held<C>>,
    /// Held failures by when their pause ends; the number tells equal instants apart.
    waiting: BTreeMap<(Instant, u64), Held<C>>,
    serial: u64,
    resting: HashMap<Key, Resting>,
    running: usize,
    pace: Pace,
    breaker: Breaker,
    /// Not before this while the breaker is open.
    probe_due: Instant,
    probed: VecDeque<Key>,
}

impl<C> Dispatcher<C> {
    /// Nothing claimed yet.
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            serial: 0,
            resting: HashMap::new(),
            running: 0,
            pace: Pace::new(limits.concurrency),
            breaker: Breaker::default(),
            probe_due: now,
            probed: VecDeque::new(),
        }
    }

    /// How many events to claim now, if `held` of them are held in whatever state.
    pub(crate) fn wanted(&mut self, held: usize, now: Instant) -> usize {
        let free = self.limits.max_held.saturating_sub(held);
        if self.breaker.is_open() {
            let idle = self.running == 0 && self.ready.is_empty() && now >= self.probe_due;
            return usize::from(idle).min(free);
        }
        let target = self.pace.target(now);
        let missing = target.saturating_sub(self.running + self.ready.len());
        // A few at a time cost as much as many: claims wait until a quarter is missing.
        if missing * 4 < target { 0 } else { missing.min(free) }
    }

    /// Keys that must not be claimed again yet.
    pub(crate) fn except(&self, now: Instant) -> impl Iterator<Item = &Key> {
        let probed = if self.breaker.is_open() { Some(self.probed.iter()) } else { None };
        let resting = self.resting.iter().filter(move |(_, resting)| resting.due > now);
        resting.map(|(key, _)| key).chain(probed.into_iter().flatten())
    }

    /// Takes in a claimed event.
    pub(crate) fn accept(&mut self, event: Event<C>) -> Arc<Event<C>> {
        let resting = self.resting.remove(&event.key);
        let attempts = resting.map_or(0, |resting| resting.attempts).max(event.attempts);
        let event = Arc::new(event);
        self.ready.push_back(Held { event: Arc::clone(&event), attempts });
        event
    }

    /// The next event to deliver, if one may be now. The caller owes an [`Dispatcher::ended`].
    pub(crate) fn next(&mut self, now: Instant) -> Option<Held<C>> {
        let limit = if self.breaker.is_open() { 1 } else { self.limits.concurrency };
        if self.running >= limit {
            return None;
        }
        let waited = self.waiting.first_key_value().is_some_and(|((due, _), _)| *due <= now);
        let next = if waited {
            self.waiting.pop_first().map(|(_, held)| held)
        } else {
            self.ready.pop_front()
        };
        self.running += usize::from(next.is_some());
        next
    }

    /// When [`Dispatcher::next`] or [`Dispatcher::wanted`] have a new answer by time alone.
    pub(crate) fn due(&self) -> Option<Instant> {
        let probe = self.breaker.is_open().then_some(self.probe_due);
        let waiting = self.waiting.first_key_value().map(|((due, _), _)| *due);
        // A full house is woken by whatever ends next.
        let waiting = waiting.filter(|_| self.running < self.limits.concurrency);
        probe.into_iter().chain(waiting).min()
    }

    /// Takes in how a delivery ended.
    pub(crate) fn ended(
        &mut self,
        mut held: Held<C>,
        ending: Ending,
        now: Instant,
        jitter: f64,
    ) -> Verdict<C> {
        self.running -= 1;
        self.pace.delivered(now);
        let was_open = self.breaker.is_open();
        let change = self.breaker.record(&held.event.key, ending);
        if let Change::Opened(keys) = change {
            return self.outage(held, &keys, now, jitter);
        }
        if ending == Ending::Done {
            return Verdict::Mark(held);
        }
        if self.breaker.is_open() {
            return self.failed_probe(held, was_open, now, jitter);
        }
        held.attempts += 1;
        let limits = &self.limits;
        let next =
            retry::next(ending, held.attempts, limits.max_attempts, limits.dead_letters, jitter);
        match next {
            Next::Dead => Verdict::Bury(held),
            Next::After(pause) => self.wait(held, now, pause),
        }
    }

    /// The function could not be reached at all: no attempt was made, and everybody else may have
    /// what waits here.
    pub(crate) fn not_sent(&mut self, held: Held<C>, now: Instant) -> Vec<Held<C>> {
        self.running -= 1;
        let mut given_up = self.give_up(now);
        self.rest(&held, now);
        given_up.push(held);
        given_up
    }

    /// Everything that waits, to be released; what was counted of it is remembered.
    pub(crate) fn give_up(&mut self, now: Instant) -> Vec<Held<C>> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut given_up: Vec<Held<C>> = self.ready.drain(..).collect();
        for held in &given_up {
            self.rest(held, now);
        }
        for ((due, _), held) in waiting {
            self.rest(&held, due);
            given_up.push(held);
        }
        given_up
    }

    /// Leaves a key alone for the longest pause.
    pub(crate) fn leave_out(&mut self, key: Key, now: Instant) {
        self.remember(key, Resting { attempts: 0, due: now + BACKOFF_CAP });
    }

    /// True while the function is taken to be down.
    pub(crate) fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// The breaker opened: gives everything up, and back the attempts of what opened it.
    fn outage(&mut self, held: Held<C>, keys: &[Key], now: Instant, jitter: f64) -> Verdict<C> {
        self.probe_due = now + self.breaker.probe_pause(jitter);
        self.probed.clear();
        self.note_probe(&held);
        let mut given_up = self.give_up(now);
        self.rest(&held, now);
        given_up.push(held);
        for key in keys {
            // The one that opened it was not counted yet.
            if let Some(resting) = self.resting.get_mut(key)
                && *key != given_up[given_up.len() - 1].event.key
            {
                *resting = Resting { attempts: resting.attempts.saturating_sub(1), due: now };
                let same = given_up.iter_mut().filter(|held| held.event.key == *key);
                same.for_each(|held| held.attempts = held.attempts.saturating_sub(1));
            }
        }
        Verdict::Release(given_up)
    }

    /// A delivery that failed while the breaker is open: a probe, or one that ran when it opened.
    fn failed_probe(
        &mut self,
        held: Held<C>,
        was_open: bool,
        now: Instant,
        jitter: f64,
    ) -> Verdict<C> {
        if was_open && now >= self.probe_due {
            self.probe_due = now + self.breaker.probe_pause(jitter);
        }
        self.note_probe(&held);
        self.rest(&held, now);
        Verdict::Release(vec![held])
    }

    fn note_probe(&mut self, held: &Held<C>) {
        if self.probed.len() == MAX_PROBED {
            self.probed.pop_front();
        }
        self.probed.push_back(held.event.key.clone());
    }

    /// Keeps a failed event under its claim until its pause is over. Where such events fill half of
    /// what may be held, it is released and only remembered, or they would keep all others out.
    fn wait(&mut self, held: Held<C>, now: Instant, pause: Duration) -> Verdict<C> {
        let due = now + pause;
        if self.waiting.len() >= self.limits.max_held / 2 {
            self.rest(&held, due);
            return Verdict::Release(vec![held]);
        }
        self.serial += 1;
        self.waiting.insert((due, self.serial), held);
        Verdict::Wait(pause)
    }

    fn rest(&mut self, held: &Held<C>, due: Instant) {
        if held.attempts > 0 {
            self.remember(held.event.key.clone(), Resting { attempts: held.attempts, due });
        }
    }

    fn remember(&mut self, key: Key, resting: Resting) {
        if self.resting.len() >= MAX_RESTING && !self.resting.contains_key(&key) {
            let first = self.resting.iter().min_by_key(|(_, resting)| resting.due);
            if let Some(first) = first.map(|(key, _)| key.clone()) {
                self.resting.remove(&first);
            }
        }
        self.resting.insert(key, resting);
    }
}

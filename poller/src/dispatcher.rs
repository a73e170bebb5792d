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
/// Keys of failed probes, which the next probe leaves out: the event that was probed with may be the
/// one the function cannot take. Beyond it the oldest may be probed with again.
const MAX_PROBED: usize = 1_000;
/// Of these, what is left out still where all events there are have failed before.
const LAST_PROBED: usize = 20;

/// A claimed event and how often it was tried.
#[derive(Debug)]
pub(crate) struct Held<C> {
    /// The event.
    pub(crate) event: Arc<Event<C>>,
    /// Failed attempts so far.
    pub(crate) attempts: u32,
    /// It waited here for this attempt, so what is known of it is as old as that.
    pub(crate) is_stale: bool,
    /// How many events had been handled when it failed last.
    failed_after: u64,
}

/// What to do after a delivery.
#[derive(Debug)]
pub(crate) enum Verdict<C> {
    /// Mark it done.
    Mark(Held<C>),
    /// Put it among the dead letters.
    DeadLetter(Held<C>),
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
    failed_after: u64,
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
    /// Deliveries that ended with an answer other than a failure worth a retry.
    answered: u64,
    /// Not before this while the breaker is open.
    probe_due: Instant,
    probed: VecDeque<Key>,
    /// The next claim leaves out whatever failed before, due or not: events that fail again and again
    /// must not stand before all others. So goes every other claim, and every probe.
    fresh: bool,
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
            answered: 0,
            probe_due: now,
            probed: VecDeque::new(),
            fresh: true,
        }
    }

    /// How many events to claim now, if `held` of them are held in whatever state.
    pub(crate) fn wanted(&mut self, held: usize, now: Instant) -> usize {
        let free = self.limits.max_held.saturating_sub(held);
        if self.breaker.is_open() {
            let idle = self.running == 0 && self.ready.is_empty() && now >= self.probe_due;
            // A few at once, or the events it cannot take would hide for long those it can.
            return if idle { self.limits.concurrency.min(free) } else { 0 };
        }
        let target = self.pace.target(now).min(self.limits.max_held);
        let busy = self.running + self.ready.len();
        let wanted = target.saturating_sub(busy).min(free);
        // A few at a time cost as much as many: claims wait until a quarter is missing.
        if busy > 0 && wanted * 4 < target { 0 } else { wanted }
    }

    /// Keys that must not be claimed now.
    pub(crate) fn except(&self, now: Instant) -> impl Iterator<Item = &Key> {
        let probed = match (self.breaker.is_open(), self.fresh) {
            (false, _) => 0,
            (true, false) => LAST_PROBED,
            (true, true) => MAX_PROBED,
        };
        let resting = self.resting.iter().filter(move |(_, rest)| self.fresh || rest.due > now);
        resting.map(|(key, _)| key).chain(self.probed.iter().rev().take(probed))
    }

    /// A claim brought something or nothing. True where another one could bring more at once.
    pub(crate) fn claimed(&mut self, something: bool) -> bool {
        let fresh_only = self.fresh && !self.resting.is_empty();
        self.fresh = if something && self.breaker.is_open() { true } else { !self.fresh };
        fresh_only && !something
    }

    /// The failed attempts of an event that was just given up, and when it may be delivered again.
    pub(crate) fn resting(&self, key: &Key) -> Option<(u32, Instant)> {
        self.resting.get(key).map(|resting| (resting.attempts, resting.due))
    }

    /// Held events that failed and wait for another attempt.
    pub(crate) fn failing(&self) -> usize {
        self.waiting.len()
    }

    /// Takes in a claimed event.
    pub(crate) fn accept(&mut self, event: Event<C>) -> Arc<Event<C>> {
        let resting = self.resting.remove(&event.key);
        let (attempts, failed_after) =
            resting.map_or((0, 0), |resting| (resting.attempts, resting.failed_after));
        let attempts = attempts.max(event.attempts);
        let event = Arc::new(event);
        let held = Held { event: Arc::clone(&event), attempts, is_stale: false, failed_after };
        self.ready.push_back(held);
        event
    }

    /// The next event to deliver, if one may be now. The caller owes an [`Dispatcher::ended`].
    pub(crate) fn next(&mut self, now: Instant) -> Option<Held<C>> {
        if self.running >= self.limits.concurrency {
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

    /// Takes in how a delivery ended. What is not `owned` any more is another pod's to try again.
    pub(crate) fn ended(
        &mut self,
        mut held: Held<C>,
        ending: Ending,
        owned: bool,
        now: Instant,
        jitter: f64,
    ) -> Verdict<C> {
        self.running -= 1;
        self.pace.delivered(now);
        let was_open = self.breaker.is_open();
        let suspect = held.attempts > 0 && held.failed_after < self.answered;
        let change = self.breaker.record(&held.event.key, ending, suspect);
        held.failed_after = self.answered;
        self.answered += u64::from(!matches!(ending, Ending::Retryable(_)));
        if let Change::Opened(keys) = change {
            return self.outage(held, &keys, now, jitter);
        }
        if ending == Ending::Done {
            return Verdict::Mark(held);
        }
        if self.breaker.is_open() {
            return self.failed_probe(held, was_open, now, jitter);
        }
        if !owned {
            return Verdict::Release(vec![held]);
        }
        held.attempts += 1;
        let limits = &self.limits;
        let next =
            retry::next(ending, held.attempts, limits.max_attempts, limits.dead_letters, jitter);
        match next {
            Next::Dead => Verdict::DeadLetter(held),
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

    /// One that was to be delivered again does not ask for it any more.
    pub(crate) fn gone(&mut self) {
        self.running -= 1;
    }

    /// One that was to be delivered again could not be read, or may not be delivered now: it is to be
    /// released, and its attempts are remembered.
    pub(crate) fn unread(&mut self, held: Held<C>, now: Instant) -> Held<C> {
        self.running -= 1;
        self.rest(&held, now);
        held
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
        let due = now + BACKOFF_CAP;
        self.remember(key, Resting { attempts: 0, failed_after: self.answered, due });
    }

    /// True while the function is taken to be down.
    pub(crate) fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// The breaker opened: gives everything up, and back the attempts of what opened it.
    fn outage(&mut self, held: Held<C>, keys: &[Key], now: Instant, jitter: f64) -> Verdict<C> {
        self.probe_due = now + self.breaker.probe_pause(jitter);
        self.probed.clear();
        self.probed.extend(keys.iter().cloned());
        self.fresh = true;
        let mut given_up = self.give_up(now);
        self.rest(&held, now);
        given_up.push(held);
        for key in keys {
            // The one that opened it was not counted yet.
            if let Some(resting) = self.resting.get_mut(key)
                && *key != given_up[given_up.len() - 1].event.key
            {
                resting.attempts = resting.attempts.saturating_sub(1);
                resting.due = now;
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
    fn wait(&mut self, mut held: Held<C>, now: Instant, pause: Duration) -> Verdict<C> {
        held.is_stale = true;
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
            let (attempts, failed_after) = (held.attempts, held.failed_after);
            self.remember(held.event.key.clone(), Resting { attempts, failed_after, due });
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

#[cfg(test)]
mod tests {
    use super::*;

    const CONCURRENCY: usize = 8;
    const MAX_HELD: usize = 256;

    fn dispatcher(now: Instant) -> Dispatcher<()> {
        let (concurrency, max_held) = (CONCURRENCY, MAX_HELD);
        Dispatcher::new(Limits { concurrency, max_held, max_attempts: 2, dead_letters: true }, now)
    }

    /// A table of rows, and a function that takes those it is told to.
    struct Table {
        pending: Vec<Key>,
        held: usize,
        deliveries: usize,
        dead: usize,
        done: usize,
    }

    impl Table {
        fn new(rows: usize) -> Self {
            let pending = (0..rows).map(|n| Key::from(format!("{n:06}"))).collect();
            Self { pending, held: 0, deliveries: 0, dead: 0, done: 0 }
        }

        /// What the poller's loop does at one moment, with handlers that take no time.
        fn step(&mut self, dispatcher: &mut Dispatcher<()>, now: Instant, works: fn(&str) -> bool) {
            let wanted = dispatcher.wanted(self.held, now);
            if wanted > 0 {
                let except: Vec<Key> = dispatcher.except(now).cloned().collect();
                let taken: Vec<Key> = self
                    .pending
                    .iter()
                    .filter(|key| !except.contains(key))
                    .take(wanted)
                    .cloned()
                    .collect();
                self.pending.retain(|key| !taken.contains(key));
                self.held += taken.len();
                dispatcher.claimed(!taken.is_empty());
                for key in taken {
                    let body = bytes::Bytes::new();
                    dispatcher.accept(Event { key, body, attempts: 0, claim: () });
                }
            }
            assert!(self.held <= MAX_HELD);
            while let Some(held) = dispatcher.next(now) {
                self.deliveries += 1;
                let works = works(&held.event.key);
                let ending = if works { Ending::Done } else { Ending::Retryable(None) };
                match dispatcher.ended(held, ending, true, now, 0.5) {
                    Verdict::Mark(_) => {
                        self.done += 1;
                        self.held -= 1;
                    }
                    Verdict::DeadLetter(_) => {
                        self.dead += 1;
                        self.held -= 1;
                    }
                    Verdict::Wait(_) => {}
                    Verdict::Release(released) => {
                        self.held -= released.len();
                        self.pending
                            .extend(released.into_iter().map(|held| held.event.key.clone()));
                        self.pending.sort();
                    }
                }
            }
        }
    }

    /// 503 for ten minutes over 20,000 rows: nothing dies, though two attempts would be enough for it.
    #[test]
    fn ten_minutes_of_outage_use_up_no_attempt() {
        let start = Instant::now();
        let (mut dispatcher, mut table) = (dispatcher(start), Table::new(20_000));
        for tick in 0..600 * 4 {
            let now = start + Duration::from_millis(250) * tick;
            table.step(&mut dispatcher, now, |_| false);
        }
        assert!(dispatcher.is_open());
        assert_eq!((table.dead, table.done), (0, 0));
        // Twenty that opened it, then a handful every 15 seconds at most.
        assert!(table.deliveries < 20 + 60 * CONCURRENCY, "{}", table.deliveries);
        let end = start + Duration::from_secs(600);
        for tick in 0..100 {
            table.step(&mut dispatcher, end + Duration::from_secs(15) * tick, |_| true);
        }
        assert_eq!(table.dead, 0);
        assert!(!dispatcher.is_open() && table.done > 1_000, "{}", table.done);
    }

    /// Rows that always fail stand before one that works, more than it takes to be an outage.
    #[test]
    fn poison_in_front_hides_nothing_for_good() {
        let start = Instant::now();
        let mut dispatcher = dispatcher(start);
        dispatcher.limits.dead_letters = false;
        let mut table = Table::new(201);
        let mut minutes = 0;
        while table.done == 0 {
            minutes += 1;
            assert!(minutes < 10, "the last row is never tried");
            for second in 0..60 {
                let now = start + Duration::from_secs(minutes * 60 + second);
                table.step(&mut dispatcher, now, |key| key == "000200");
            }
        }
    }
}

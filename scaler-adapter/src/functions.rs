//! The functions known to this adapter, shared by the collector (writes) and KEDA's calls (read).
//!
//! A sharded map of [`aggregate::Function`], each behind a lock of its own, so that the collector
//! finds one by name once and holds it from then on; who must know of waiting requests has a
//! [`Listener`] there. Nothing here waits, and no lock outlives a call. Bounded: at [`Functions::new`]'s
//! limit unknown functions are refused and counted. What somebody holds is never forgotten.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::Context,
    time::Duration,
};

use dashmap::{DashMap, Entry as MapEntry};
use futures_util::task::AtomicWaker;
use kipper_kubernetes::Scale;
use kipper_trigger::scaler::Target;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    aggregate::{Cell, Function, Origin, Report},
    burst::{Answer, Burst, Settings, Step, Verdict, View},
    clock::Clock,
    metrics::Metrics,
};

/// Namespace and name of a Function. Clones share them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FunctionKey {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl FunctionKey {
    pub(crate) fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// Streams per known function, at the limit of functions: KEDA has one, and for a moment after a
/// broken connection two.
const STREAMS_PER_FUNCTION: usize = 2;

/// For how long what a poller has reported counts. It reports again sooner, as long as there is more
/// than one replica should have.
const BACKLOG_FRESH: Duration = Duration::from_secs(8);

/// A limit is reached.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this adapter has as many functions or streams as it may")]
pub(crate) struct TooManyFunctions;

/// One function, with whoever listens to it.
#[derive(Default)]
pub(crate) struct Entry(Mutex<State>);

#[derive(Default)]
struct State {
    function: Function,
    /// The streams of KEDA: one, and for a moment after a broken connection two.
    listeners: Vec<Arc<Listener>>,
    /// Streams of its trigger on events.
    event_streams: u32,
    /// Of a bucket's trigger.
    events: u64,
    /// What a poller has reported last.
    backlog: Option<(Duration, u64)>,
    /// Replicas ahead of the HPA, where a stream allows them.
    burst: Option<Box<Bursting>>,
}

/// What one stream hears of its function. There is one for each stream, so its size counts.
struct Listener {
    /// Requests wait with no endpoint.
    is_waiting: AtomicBool,
    task: AtomicWaker,
}

impl Listener {
    fn tell(&self, is_waiting: bool) {
        self.is_waiting.store(is_waiting, Release);
        self.task.wake();
    }
}

struct Bursting {
    key: FunctionKey,
    burst: Burst,
    /// It is thought about already.
    queued: bool,
    /// Where it is announced.
    bursts: Arc<Bursts>,
}

/// Functions that begin to burst, each at most once.
#[derive(Default)]
struct Bursts {
    keys: Mutex<Vec<FunctionKey>>,
    found: Notify,
}

impl Entry {
    /// Takes an interceptor's counts in, which has `cell`, and notifies the function's streams at
    /// once. Returns how many requests are new.
    pub(crate) fn apply(
        &self,
        cell: &mut Cell,
        origin: Origin,
        report: &Report,
        now: Duration,
    ) -> u64 {
        let mut state = self.0.lock();
        let added = state.change(|function| function.apply(cell, origin, report, now));
        state.announce_burst(now);
        added
    }

    /// Takes away what an interceptor had open.
    pub(crate) fn retire(&self, cell: &Cell) {
        if !cell.load().is_zero() {
            self.0.lock().change(|function| function.retire(cell));
        }
    }
}

impl State {
    fn has_stream(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// What its burst is decided by.
    fn view(&self, now: Duration, covered: Duration) -> View {
        View {
            recent: self.function.recent(now),
            load: self.function.load(),
            rate: self.function.rate(now, covered),
            events: self.events(now),
        }
    }

    fn backlog(&self, now: Duration) -> u64 {
        let fresh = self.backlog.filter(|(at, _)| now.saturating_sub(*at) < BACKLOG_FRESH);
        fresh.map_or(0, |(_, events)| events)
    }

    /// Events that wait or are in work, whoever counts them.
    fn events(&self, now: Duration) -> u64 {
        self.events.max(self.backlog(now))
    }

    /// Announces the function when it is to be thought about whether there should be more replicas, and
    /// nobody does so yet.
    fn announce_burst(&mut self, now: Duration) {
        let has_stream = self.has_stream();
        let to_announce = |bursting: &&mut Box<Bursting>| has_stream && !bursting.queued;
        let events = self.events(now);
        let Some(bursting) = self.burst.as_mut().filter(to_announce) else { return };
        let (recent, load) = (self.function.recent(now), self.function.load());
        bursting.queued = !bursting.burst.is_calm(recent, load, events);
        if bursting.queued {
            bursting.bursts.keys.lock().push(bursting.key.clone());
            bursting.bursts.found.notify_one();
        }
    }

    /// A stream of the trigger on events has ended. With the last one what was counted is forgotten: the
    /// function may have that trigger no more. What pollers report is over by itself.
    fn end_event_stream(&mut self) {
        self.event_streams = self.event_streams.saturating_sub(1);
        if self.event_streams > 0 {
            return;
        }
        self.events = 0;
        if let Some(bursting) = &mut self.burst {
            bursting.burst.forget_events();
        }
    }

    fn is_burst_over(&self, now: Duration) -> bool {
        self.burst.as_ref().is_none_or(|bursting| bursting.burst.is_over(now))
    }

    fn change<R>(&mut self, change: impl FnOnce(&mut Function) -> R) -> R {
        let waited = self.function.load().waiting > 0;
        let result = change(&mut self.function);
        let waits = self.function.load().waiting > 0;
        if waits != waited {
            self.listeners.iter().for_each(|listener| listener.tell(waits));
        }
        result
    }
}

/// Every function that was reported, or about which KEDA asked.
pub(crate) struct Functions {
    map: DashMap<FunctionKey, Arc<Entry>>,
    known: AtomicUsize,
    streams: AtomicUsize,
    limit: usize,
    clock: Clock,
    metrics: Metrics,
    bursts: Arc<Bursts>,
    /// Somebody asks for replicas.
    has_asker: AtomicBool,
}

impl Functions {
    pub(crate) fn new(limit: usize, clock: Clock, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            map: DashMap::new(),
            known: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            limit,
            clock,
            metrics,
            bursts: Arc::default(),
            has_asker: AtomicBool::new(false),
        })
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// From now on somebody asks for replicas: streams may allow it.
    pub(crate) fn set_asker(&self) {
        self.has_asker.store(true, Relaxed);
    }

    /// The function of that name, known from now on and for as long as it is held.
    pub(crate) fn get(&self, key: FunctionKey) -> Result<Arc<Entry>, TooManyFunctions> {
        match self.map.entry(key) {
            MapEntry::Occupied(entry) => Ok(Arc::clone(entry.get())),
            MapEntry::Vacant(vacant) => {
                // Shards insert in parallel, so the limit may be passed by one per shard.
                if self.known.load(Relaxed) >= self.limit {
                    return Err(TooManyFunctions);
                }
                self.known.fetch_add(1, Relaxed);
                self.metrics.functions.inc();
                Ok(Arc::clone(&vacant.insert(Arc::default())))
            }
        }
    }

    /// Reads or touches a known function; unknown ones are idle and stay unknown.
    pub(crate) fn with<R>(
        &self,
        key: &FunctionKey,
        visit: impl FnOnce(&mut Function, bool, Duration) -> R,
    ) -> Option<R> {
        let now = self.clock.now();
        self.with_state(key, |state| {
            let has_stream = state.has_stream();
            visit(&mut state.function, has_stream, now)
        })
    }

    /// Takes the number of a bucket's events in.
    fn count_events(&self, key: &FunctionKey, events: u64) {
        let now = self.clock.now();
        self.with_state(key, |state| {
            state.events = events;
            state.announce_burst(now);
        });
    }

    /// Takes in how many events wait, as a poller reports it. Of use only where KEDA's stream is: of other
    /// functions nothing is kept.
    pub(crate) fn report_backlog(&self, key: &FunctionKey, events: u64) {
        let now = self.clock.now();
        self.with_state(key, |state| {
            if state.has_stream() {
                state.backlog = Some((now, events));
                state.announce_burst(now);
            }
        });
    }

    /// Events that pollers have reported of late.
    pub(crate) fn backlog(&self, key: &FunctionKey) -> u64 {
        let now = self.clock.now();
        self.with_state(key, |state| state.backlog(now)).unwrap_or_default()
    }

    /// Resolves with the functions that begin to burst. They do so again once they are released.
    pub(crate) async fn bursting(&self) -> Vec<FunctionKey> {
        loop {
            let found = std::mem::take(&mut *self.bursts.keys.lock());
            if !found.is_empty() {
                return found;
            }
            self.bursts.found.notified().await;
        }
    }

    /// What to do about a bursting function, and how much of it waits. `None` = nothing: KEDA's stream has
    /// ended, because it scales the function no more, or another adapter tells it.
    pub(crate) fn step(&self, key: &FunctionKey, covered: Duration) -> Option<(Step, u64)> {
        self.decide(key, covered, |burst, view, now| {
            (burst.step(view, now), view.load.held.max(view.events))
        })
    }

    /// The replicas of a bursting function are being read.
    pub(crate) fn looks(&self, key: &FunctionKey) {
        self.with_burst(key, |burst, now| burst.looks(now));
    }

    /// They were read.
    pub(crate) fn saw(
        &self,
        key: &FunctionKey,
        scale: Scale,
        covered: Duration,
    ) -> Option<Verdict> {
        self.decide(key, covered, |burst, view, now| burst.saw(scale, view, now))
    }

    /// So many are being asked for.
    pub(crate) fn asks(&self, key: &FunctionKey, replicas: u32) {
        self.with_burst(key, |burst, now| burst.asks(replicas, now));
    }

    /// What came of it.
    pub(crate) fn asked(&self, key: &FunctionKey, answer: Answer) {
        self.with_burst(key, |burst, now| burst.asked(answer, now));
    }

    /// The next update of the function may find that it bursts.
    pub(crate) fn release(&self, key: &FunctionKey) {
        self.with_state(key, |state| {
            if let Some(bursting) = &mut state.burst {
                bursting.queued = false;
            }
        });
    }

    /// The least that the HPA is told about a function, so that it keeps what was asked for.
    pub(crate) fn held_value(&self, key: &FunctionKey, target: Target) -> f64 {
        self.with_burst(key, |burst, now| burst.held_value(target, now)).unwrap_or(0.0)
    }

    /// Visits a burst with what it is decided by; `None` once no stream listens.
    fn decide<R>(
        &self,
        key: &FunctionKey,
        covered: Duration,
        visit: impl FnOnce(&mut Burst, &View, Duration) -> R,
    ) -> Option<R> {
        let now = self.clock.now();
        self.with_state(key, |state| {
            let view = state.has_stream().then(|| state.view(now, covered))?;
            state.burst.as_mut().map(|bursting| visit(&mut bursting.burst, &view, now))
        })?
    }

    fn with_burst<R>(
        &self,
        key: &FunctionKey,
        visit: impl FnOnce(&mut Burst, Duration) -> R,
    ) -> Option<R> {
        let now = self.clock.now();
        self.with_state(key, |state| {
            state.burst.as_mut().map(|bursting| visit(&mut bursting.burst, now))
        })?
    }

    fn with_state<R>(&self, key: &FunctionKey, visit: impl FnOnce(&mut State) -> R) -> Option<R> {
        let entry = self.map.get(key)?;
        let mut state = entry.0.lock();
        Some(visit(&mut state))
    }

    /// Listens to whether requests wait. `greet` runs before anything can be heard; with `settings` the
    /// function is scaled ahead of the HPA.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        key: FunctionKey,
        settings: Option<Settings>,
        greet: impl FnOnce(&mut Function, Duration),
    ) -> Result<Subscription, TooManyFunctions> {
        self.open(key, settings, false, greet)
    }

    /// The same, for a trigger on events.
    pub(crate) fn subscribe_to_events(
        self: &Arc<Self>,
        key: FunctionKey,
        settings: Option<Settings>,
    ) -> Result<Subscription, TooManyFunctions> {
        self.open(key, settings, true, |_, _| {})
    }

    fn open(
        self: &Arc<Self>,
        key: FunctionKey,
        settings: Option<Settings>,
        is_of_events: bool,
        greet: impl FnOnce(&mut Function, Duration),
    ) -> Result<Subscription, TooManyFunctions> {
        if self.streams.load(Relaxed) >= self.limit.saturating_mul(STREAMS_PER_FUNCTION) {
            return Err(TooManyFunctions);
        }
        let now = self.clock.now();
        let refused = |_: &_| self.metrics.refused_functions.inc();
        let entry = self.get(key.clone()).inspect_err(refused)?;
        // A stream lasts: it shares the names that are there already.
        let key = self.map.get(&key).map_or(key, |known| known.key().clone());
        let mut state = entry.0.lock();
        greet(&mut state.function, now);
        match (settings.filter(|_| self.has_asker.load(Relaxed)), &mut state.burst) {
            (Some(settings), Some(bursting)) => bursting.burst.set(settings),
            (Some(settings), none) => {
                let (key, burst) = (key.clone(), Burst::new(settings));
                let bursts = Arc::clone(&self.bursts);
                *none = Some(Box::new(Bursting { key, burst, queued: false, bursts }));
            }
            (None, burst) => *burst = None,
        }
        let is_waiting = AtomicBool::new(state.function.load().waiting > 0);
        let listener = Arc::new(Listener { is_waiting, task: AtomicWaker::new() });
        state.listeners.reserve_exact(1);
        state.listeners.push(Arc::clone(&listener));
        state.event_streams += u32::from(is_of_events);
        // Its counts may have come before, and need not change.
        state.announce_burst(now);
        drop(state);
        self.streams.fetch_add(1, Relaxed);
        self.metrics.keda_streams.inc();
        Ok(Subscription { listener, key, is_of_events, functions: Arc::clone(self) })
    }

    /// Has every stream look again whether it is to go on.
    pub(crate) fn wake_streams(&self) {
        for entry in &self.map {
            entry.0.lock().listeners.iter().for_each(|listener| listener.task.wake());
        }
    }

    /// Drops what idle functions do not need, and functions that are not needed at all.
    pub(crate) fn sweep(&self) {
        let now = self.clock.now();
        self.map.retain(|_, entry| {
            let mut state = entry.0.lock();
            state.function.compact(now);
            if !state.has_stream() && state.is_burst_over(now) {
                state.burst = None;
            }
            drop(state);
            let keep = !is_forgettable(entry, now);
            if !keep {
                self.known.fetch_sub(1, Relaxed);
            }
            keep
        });
        self.metrics.functions.set(i64::try_from(self.known.load(Relaxed)).unwrap_or(i64::MAX));
    }

    fn unsubscribe(&self, key: &FunctionKey, listener: &Arc<Listener>, is_of_events: bool) {
        let now = self.clock.now();
        if let Some(entry) = self.map.get(key) {
            let mut state = entry.0.lock();
            if is_of_events {
                state.end_event_stream();
            }
            state.listeners.retain(|other| !Arc::ptr_eq(other, listener));
            state.listeners.shrink_to_fit();
        }
        if self.map.remove_if(key, |_, entry| is_forgettable(entry, now)).is_some() {
            self.known.fetch_sub(1, Relaxed);
            self.metrics.functions.dec();
        }
    }
}

/// Asked under the lock of the entry's shard, so nobody can come to hold it meanwhile.
fn is_forgettable(entry: &Arc<Entry>, now: Duration) -> bool {
    let state = entry.0.lock();
    let is_idle = state.function.is_forgettable(now) && state.is_burst_over(now);
    // A stream that is about to end still counts.
    let has_stream = state.has_stream() || state.event_streams > 0;
    Arc::strong_count(entry) == 1 && !has_stream && is_idle
}

/// One stream that listens to one function; unsubscribes when dropped.
pub(crate) struct Subscription {
    listener: Arc<Listener>,
    key: FunctionKey,
    /// Its trigger is one on events.
    is_of_events: bool,
    functions: Arc<Functions>,
}

impl Subscription {
    /// Whether requests wait with no endpoint. The task is woken when that changes.
    pub(crate) fn is_waiting(&self, context: &Context<'_>) -> bool {
        self.listener.task.register(context.waker());
        self.listener.is_waiting.load(Acquire)
    }

    /// Takes the number of a bucket's events in.
    pub(crate) fn count_events(&self, events: u64) {
        self.functions.count_events(&self.key, events);
    }

    /// KEDA is told that the function is active, as an `edge` or a `resend`.
    pub(crate) fn count_wake(&self, kind: &str) {
        self.functions.metrics.wakes.with_label_values(&[kind]).inc();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.functions.unsubscribe(&self.key, &self.listener, self.is_of_events);
        self.functions.streams.fetch_sub(1, Relaxed);
        self.functions.metrics.keda_streams.dec();
    }
}

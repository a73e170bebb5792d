//! The functions known to this adapter, shared by the collector (writes) and KEDA's calls (read).
//!
//! A sharded map of [`aggregate::Function`]; who must know of waiting requests subscribes to
//! a `watch` that exists only while it has subscribers. Nothing here waits, and no lock outlives
//! a call. Bounded: at [`Functions::new`]'s limit unknown functions are refused and counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use dashmap::{DashMap, Entry as MapEntry};
use tokio::sync::watch;

use crate::{
    aggregate::{Function, Origin, Report},
    clock::Clock,
    metrics::Metrics,
};

/// Namespace and name of a Function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FunctionKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl FunctionKey {
    #[cfg(test)]
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// Streams per known function, at the limit of functions: KEDA has one, and for a moment after a
/// broken connection two.
const STREAMS_PER_FUNCTION: usize = 2;

/// A limit is reached.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this adapter has as many functions or streams as it may")]
pub(crate) struct TooManyFunctions;

#[derive(Default)]
struct Entry {
    function: Function,
    /// Whether requests wait with no endpoint; present while a stream listens.
    wakes: Option<watch::Sender<bool>>,
}

impl Entry {
    fn has_stream(&self) -> bool {
        self.wakes.is_some()
    }

    fn notify_streams(&self) {
        if let Some(wakes) = &self.wakes {
            let waiting = self.function.load().waiting > 0;
            wakes.send_if_modified(|former| std::mem::replace(former, waiting) != waiting);
        }
    }

    fn is_forgettable(&self, now: Duration) -> bool {
        !self.has_stream() && self.function.is_forgettable(now)
    }
}

/// Every function that was reported, or about which KEDA asked.
pub(crate) struct Functions {
    map: DashMap<FunctionKey, Entry>,
    known: AtomicUsize,
    streams: AtomicUsize,
    limit: usize,
    clock: Clock,
    metrics: Metrics,
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
        })
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Takes one function's counts in and notifies its streams at once.
    pub(crate) fn apply(
        &self,
        key: FunctionKey,
        origin: Origin,
        report: &Report,
    ) -> Result<(), TooManyFunctions> {
        let now = self.clock.now();
        let added = self.with_entry(key, |entry| {
            let added = entry.function.apply(origin, report, now);
            entry.notify_streams();
            added
        })?;
        self.metrics.requests.inc_by(added);
        Ok(())
    }

    /// Zeroes what an interceptor no longer says (see [`Function::retire`]). Visits every
    /// function; happens once per new stream and once per forgotten interceptor.
    pub(crate) fn retire(&self, interceptor: u32, stream: Option<u64>) {
        for mut entry in self.map.iter_mut() {
            entry.function.retire(interceptor, stream);
            entry.notify_streams();
        }
    }

    /// Reads or touches a known function; unknown ones are idle and stay unknown.
    pub(crate) fn with<R>(
        &self,
        key: &FunctionKey,
        visit: impl FnOnce(&mut Function, bool, Duration) -> R,
    ) -> Option<R> {
        let mut entry = self.map.get_mut(key)?;
        let has_stream = entry.has_stream();
        Some(visit(&mut entry.function, has_stream, self.clock.now()))
    }

    /// Listens to whether requests wait. `greet` runs before anything can be heard.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        key: FunctionKey,
        greet: impl FnOnce(&mut Function, Duration),
    ) -> Result<Subscription, TooManyFunctions> {
        if self.streams.load(Relaxed) >= self.limit.saturating_mul(STREAMS_PER_FUNCTION) {
            return Err(TooManyFunctions);
        }
        let now = self.clock.now();
        let wakes = self.with_entry(key.clone(), |entry| {
            greet(&mut entry.function, now);
            let waiting = entry.function.load().waiting > 0;
            entry.wakes.get_or_insert_with(|| watch::Sender::new(waiting)).subscribe()
        })?;
        self.streams.fetch_add(1, Relaxed);
        self.metrics.keda_streams.inc();
        Ok(Subscription { wakes: Some(wakes), key, functions: Arc::clone(self) })
    }

    /// Drops what idle functions do not need, and functions that are not needed at all.
    pub(crate) fn sweep(&self) {
        let now = self.clock.now();
        self.map.retain(|_, entry| {
            entry.function.compact(now);
            let keep = !entry.is_forgettable(now);
            if !keep {
                self.known.fetch_sub(1, Relaxed);
            }
            keep
        });
        self.metrics.functions.set(i64::try_from(self.known.load(Relaxed)).unwrap_or(i64::MAX));
    }

    fn with_entry<R>(
        &self,
        key: FunctionKey,
        visit: impl FnOnce(&mut Entry) -> R,
    ) -> Result<R, TooManyFunctions> {
        match self.map.entry(key) {
            MapEntry::Occupied(mut entry) => Ok(visit(entry.get_mut())),
            MapEntry::Vacant(vacant) => {
                // Shards insert in parallel, so the limit may be passed by one per shard.
                if self.known.load(Relaxed) >= self.limit {
                    self.metrics.refused_functions.inc();
                    return Err(TooManyFunctions);
                }
                self.known.fetch_add(1, Relaxed);
                self.metrics.functions.inc();
                Ok(visit(&mut vacant.insert(Entry::default())))
            }
        }
    }

    fn unsubscribe(&self, key: &FunctionKey) {
        let now = self.clock.now();
        if let Some(mut entry) = self.map.get_mut(key)
            && entry.wakes.as_ref().is_some_and(|wakes| wakes.receiver_count() == 0)
        {
            entry.wakes = None;
        }
        if self.map.remove_if(key, |_, entry| entry.is_forgettable(now)).is_some() {
            self.known.fetch_sub(1, Relaxed);
            self.metrics.functions.dec();
        }
    }
}

/// One listener to one function; unsubscribes when dropped.
pub(crate) struct Subscription {
    /// Taken only by `drop`, which must let go of it before it counts who still listens.
    wakes: Option<watch::Receiver<bool>>,
    key: FunctionKey,
    functions: Arc<Functions>,
}

impl Subscription {
    /// Whether requests wait with no endpoint; marks the answer as seen.
    pub(crate) fn is_waiting(&mut self) -> bool {
        self.wakes.as_mut().is_some_and(|wakes| *wakes.borrow_and_update())
    }

    /// Resolves when the answer changed since it was last seen.
    pub(crate) async fn changed(&mut self) {
        if let Some(wakes) = &mut self.wakes
            && wakes.changed().await.is_ok()
        {
            return;
        }
        // The sender lives in the map for as long as this subscription does.
        std::future::pending().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.wakes = None;
        self.functions.unsubscribe(&self.key);
        self.functions.streams.fetch_sub(1, Relaxed);
        self.functions.metrics.keda_streams.dec();
    }
}

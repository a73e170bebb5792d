//! Count: what every function has in flight and held, and which functions changed.
//!
//! Counters are atomics on the function, changed by RAII guards only, so they return to zero
//! whatever way a request ends. A change puts its function on the change list once; the reporter
//! takes the list. An idle function costs nothing here.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Relaxed},
};

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    clock,
    function::Function,
    reporter::{Counts, CountsFeed},
    router::Router,
};

/// A snapshot lists functions with a request within this time.
const RECENT: Duration = Duration::from_secs(3600);

/// Counters of one function.
#[derive(Default)]
pub struct Counters {
    total: AtomicU64,
    in_flight: AtomicU32,
    last_request: AtomicU64,
    listed: AtomicBool,
}

impl Counters {
    /// Requests accepted since the process started.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Requests forwarded and not finished.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// When the last request was accepted, in microseconds of the process clock; 0 = never.
    pub fn last_request(&self) -> u64 {
        self.last_request.load(Relaxed)
    }

    pub(crate) fn accepted(&self, now: u64) {
        self.total.fetch_add(1, Relaxed);
        self.last_request.store(now, Relaxed);
    }

    pub(crate) fn forwarded(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(crate) fn finished(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }
}

/// Functions whose counts changed since the reporter last looked; each at most once, so it is
/// bounded by the number of functions.
#[derive(Default)]
pub struct Changes {
    list: Mutex<Vec<Arc<Function>>>,
    changed: Notify,
    urgent: Notify,
}

impl Changes {
    /// Puts a function on the list, unless it is there already.
    pub fn mark(&self, function: &Arc<Function>) {
        // A read-modify-write in both places: whichever comes second sees what the first one's
        // side had counted before.
        if function.counters.listed.swap(true, AcqRel) {
            return;
        }
        self.list.lock().push(Arc::clone(function));
        self.changed.notify_one();
    }

    /// The same, for a wake from zero that must be told at once.
    pub fn mark_urgent(&self, function: &Arc<Function>) {
        self.mark(function);
        self.urgent.notify_one();
    }

    /// Resolves when something is on the list.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Resolves when a wake is on the list.
    pub async fn urgent(&self) {
        self.urgent.notified().await;
    }

    /// Takes the list. A change during or after this call lists its function again.
    pub fn take(&self) -> Vec<Arc<Function>> {
        let list = std::mem::take(&mut *self.list.lock());
        for function in &list {
            function.counters.listed.swap(false, AcqRel);
        }
        list
    }
}

impl Function {
    /// Its counts now, as they are reported.
    fn counts(&self) -> Counts {
        let idle = clock::now().saturating_sub(self.counters.last_request());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        // `waiting` is read first: somebody may leave in between, so it is capped.
        let waiting = count(self.waiting());
        let held = count(self.held());
        Counts {
            id: self.id.clone(),
            total: self.counters.total(),
            in_flight: self.counters.in_flight(),
            held,
            waiting: waiting.min(held),
            idle: Duration::from_micros(idle),
        }
    }
}

impl CountsFeed for Router {
    async fn changed(&self) {
        self.shared().changes.changed().await;
    }

    async fn urgent(&self) {
        self.shared().changes.urgent().await;
    }

    fn take_changed(&self) -> Vec<Counts> {
        self.shared().changes.take().iter().map(|f| f.counts()).collect()
    }

    fn snapshot(&self) -> Vec<Counts> {
        let recent = |f: &std::sync::Arc<Function>| {
            let idle = clock::now().saturating_sub(f.counters.last_request());
            let used = f.counters.last_request() != 0 && Duration::from_micros(idle) < RECENT;
            used || f.counters.in_flight() > 0 || f.held() > 0
        };
        self.functions().iter().filter(|f| recent(f)).map(|f| f.counts()).collect()
    }
}

//! Count: what every function has in flight and held, and which functions changed.
//!
//! Counters are atomics on the function, changed by RAII guards only, so they return to zero
//! whatever way a request ends. A change puts its function on the change list once; the reporter
//! takes the list. An idle function costs nothing here.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::AcqRel, Ordering::Relaxed},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Counters of one function.
#[derive(Default)]
pub struct Counters {
    total: AtomicU64,
    in_flight: AtomicU32,
    last_request: AtomicU64,
    listed: AtomicBool,
    reported_held: AtomicUsize,
    reported_total: AtomicU64,
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

    /// Requests held when a change was reported last.
    pub(crate) fn reported_held(&self) -> usize {
        self.reported_held.load(Relaxed)
    }

    /// Requests accepted when a change was reported last.
    pub(crate) fn reported_total(&self) -> u64 {
        self.reported_total.load(Relaxed)
    }

    pub(crate) fn reported(&self, total: u64, held: usize) {
        self.reported_total.store(total, Relaxed);
        self.reported_held.store(held, Relaxed);
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
pub struct Changes<T> {
    list: Mutex<Vec<Arc<T>>>,
    changed: Notify,
    urgent: Notify,
}

impl<T> Default for Changes<T> {
    fn default() -> Self {
        Self { list: Mutex::default(), changed: Notify::new(), urgent: Notify::new() }
    }
}

impl<T: AsRef<Counters>> Changes<T> {
    /// Puts a function on the list, unless it is there already.
    pub fn mark(&self, function: &Arc<T>) {
        // A read-modify-write in both places: whichever comes second sees what the first one's
        // side had counted before.
        if (**function).as_ref().listed.swap(true, AcqRel) {
            return;
        }
        self.list.lock().push(Arc::clone(function));
        self.changed.notify_one();
    }

    /// The same, for a wake from zero that must be reported at once.
    pub fn mark_urgent(&self, function: &Arc<T>) {
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
    pub fn take(&self) -> Vec<Arc<T>> {
        let list = std::mem::take(&mut *self.list.lock());
        for function in &list {
            (**function).as_ref().listed.swap(false, AcqRel);
        }
        list
    }
}

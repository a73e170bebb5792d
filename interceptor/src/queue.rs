//! Hold: requests waiting for a pod, first come first served.
//!
//! One queue per function, bounded by count and by bytes, under a bound for all functions
//! together of which one function gets at most half: a function that fills its queue never keeps
//! another from waking. A waiter that leaves gives its place back at once. The queue never looks
//! at endpoints; `Function::dispatch` pairs the two.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Abandoned waiters are swept once they are this many and more than half of the queue.
const SWEEP_AT: usize = 32;

/// Bounds of what may be held.
#[derive(Clone, Copy, Debug)]
pub struct HoldLimits {
    /// Held requests per function.
    pub requests: usize,
    /// Held bytes (heads and bodies read ahead) per function.
    pub bytes: usize,
    /// Held requests of all functions together.
    pub total_requests: usize,
    /// Held bytes of all functions together.
    pub total_bytes: usize,
}

impl Default for HoldLimits {
    fn default() -> Self {
        Self { requests: 10_000, bytes: 64 << 20, total_requests: 40_000, total_bytes: 256 << 20 }
    }
}

/// Why a request was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The function or the process holds as many requests as it may.
    #[error("too many requests are waiting for the function")]
    TooManyRequests,
    /// The function or the process holds as many bytes as it may.
    #[error("too many bytes are waiting for the function")]
    TooManyBytes,
}

#[derive(Default)]
struct Usage {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// What all functions hold together.
pub struct Held {
    limits: HoldLimits,
    usage: Usage,
}

impl Held {
    /// Nothing held yet.
    pub fn new(limits: HoldLimits) -> Self {
        Self { limits, usage: Usage::default() }
    }

    /// Requests held now, over all functions.
    pub fn requests(&self) -> usize {
        self.usage.requests.load(Relaxed)
    }

    /// Bytes held now, over all functions.
    pub fn bytes(&self) -> usize {
        self.usage.bytes.load(Relaxed)
    }
}

/// The queue of one function; a waiter leaves it with a `T`.
pub struct Queue<T> {
    all: Arc<Held>,
    own: Arc<Usage>,
    waiters: Mutex<VecDeque<oneshot::Sender<T>>>,
    closed: AtomicBool,
}

impl<T> Queue<T> {
    /// An empty queue under the shared bounds.
    pub fn new(all: Arc<Held>) -> Self {
        Self { all, own: Arc::default(), waiters: Mutex::default(), closed: AtomicBool::new(false) }
    }

    /// Requests held for this function now.
    pub fn len(&self) -> usize {
        self.own.requests.load(Relaxed)
    }

    /// Is nothing held?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Joins the queue with `bytes` already in memory; refused at a bound.
    pub(crate) fn join(&self, bytes: usize) -> Result<Waiting<T>, QueueError> {
        let mut place = Place { all: Arc::clone(&self.all), own: Arc::clone(&self.own), bytes: 0 };
        let limits = &self.all.limits;
        let share = limits.requests.min(limits.total_requests / 2).max(1);
        // From here on `place` gives back what was taken, on every way out.
        let own = self.own.requests.fetch_add(1, Relaxed);
        let total = self.all.usage.requests.fetch_add(1, Relaxed);
        if own >= share || total >= limits.total_requests {
            return Err(QueueError::TooManyRequests);
        }
        if !place.grow(bytes) {
            return Err(QueueError::TooManyBytes);
        }
        let (tx, rx) = oneshot::channel();
        let mut waiters = self.waiters.lock();
        if waiters.len() >= SWEEP_AT && waiters.len() > 2 * self.len() {
            waiters.retain(|w| !w.is_closed());
        }
        // Dropping the sender tells the waiter.
        if !self.closed.load(Relaxed) {
            waiters.push_back(tx);
        }
        Ok(Waiting { lease: rx, place })
    }

    /// The first waiter that is still there.
    pub(crate) fn pop(&self) -> Option<oneshot::Sender<T>> {
        let mut waiters = self.waiters.lock();
        while let Some(waiter) = waiters.pop_front() {
            if !waiter.is_closed() {
                return Some(waiter);
            }
        }
        None
    }

    /// Is there a waiter that has not left?
    pub(crate) fn has_waiter(&self) -> bool {
        let mut waiters = self.waiters.lock();
        while waiters.front().is_some_and(oneshot::Sender::is_closed) {
            waiters.pop_front();
        }
        !waiters.is_empty()
    }

    /// Drops every waiter.
    pub(crate) fn drop_waiters(&self) {
        self.waiters.lock().clear();
    }

    /// Drops every waiter, now and from now on: their function was removed.
    pub(crate) fn close(&self) {
        let mut waiters = self.waiters.lock();
        self.closed.store(true, Relaxed);
        waiters.clear();
    }

    /// Was it closed?
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }
}

/// A held request's place: counted while it lives.
pub(crate) struct Place {
    all: Arc<Held>,
    own: Arc<Usage>,
    bytes: usize,
}

impl Place {
    /// Accounts for bytes read ahead. False, and nothing taken, at a bound.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let limits = &self.all.limits;
        let share = limits.bytes.min(limits.total_bytes / 2);
        let own = self.own.bytes.fetch_add(bytes, Relaxed) + bytes;
        let total = self.all.usage.bytes.fetch_add(bytes, Relaxed) + bytes;
        self.bytes += bytes;
        if own <= share && total <= limits.total_bytes {
            return true;
        }
        self.own.bytes.fetch_sub(bytes, Relaxed);
        self.all.usage.bytes.fetch_sub(bytes, Relaxed);
        self.bytes -= bytes;
        false
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.own.requests.fetch_sub(1, Relaxed);
        self.all.usage.requests.fetch_sub(1, Relaxed);
        self.own.bytes.fetch_sub(self.bytes, Relaxed);
        self.all.usage.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// A request in the queue. Dropping it leaves the queue.
pub(crate) struct Waiting<T> {
    pub(crate) lease: oneshot::Receiver<T>,
    pub(crate) place: Place,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queues(limits: HoldLimits, n: usize) -> (Arc<Held>, Vec<Queue<()>>) {
        let held = Arc::new(Held::new(limits));
        let queues = (0..n).map(|_| Queue::new(Arc::clone(&held))).collect();
        (held, queues)
    }

    const SMALL: HoldLimits =
        HoldLimits { requests: 3, bytes: 100, total_requests: 8, total_bytes: 1000 };

    #[test]
    fn bounded_by_count_and_bytes() {
        let (held, q) = queues(SMALL, 2);
        let kept: Vec<_> = (0..3).map(|_| q[0].join(10).unwrap()).collect();
        assert_eq!(q[0].join(10).err(), Some(QueueError::TooManyRequests));
        assert_eq!(q[1].join(101).err(), Some(QueueError::TooManyBytes));
        let mut waiting = q[1].join(100).unwrap();
        assert!(!waiting.place.grow(1));
        assert_eq!((held.requests(), held.bytes()), (4, 130));
        drop((kept, waiting));
        assert_eq!((held.requests(), held.bytes()), (0, 0));
    }

    #[test]
    fn one_function_gets_at_most_half_of_everything() {
        let limits = HoldLimits { requests: 100, total_requests: 8, ..SMALL };
        let (_, q) = queues(limits, 2);
        let first: Vec<_> = (0..100).filter_map(|_| q[0].join(0).ok()).collect();
        assert_eq!(first.len(), 4);
        assert!(q[1].join(0).is_ok());
    }

    #[test]
    fn first_come_first_served_and_leavers_are_skipped() {
        let (_, q) = queues(HoldLimits::default(), 1);
        let mut waiting: Vec<_> = (0..4).map(|_| Some(q[0].join(0).unwrap())).collect();
        waiting[0] = None;
        waiting[2] = None;
        drop(q[0].pop().unwrap());
        assert!(waiting[1].as_mut().unwrap().lease.try_recv().is_err());
        assert!(q[0].has_waiter());
        drop(q[0].pop().unwrap());
        assert!(!q[0].has_waiter());
        assert!(q[0].pop().is_none());
    }

    #[test]
    fn leavers_do_not_pile_up() {
        let (held, q) = queues(HoldLimits::default(), 1);
        for _ in 0..10_000 {
            drop(q[0].join(1).unwrap());
        }
        assert!(q[0].waiters.lock().len() <= SWEEP_AT);
        assert_eq!(held.requests(), 0);
    }

    proptest! {
        /// Whatever joins, grows and leaves: the counts are those of who is still there.
        #[test]
        fn conserved(steps in proptest::collection::vec((0usize..2, 0usize..60, any::<bool>()), 0..80)) {
            let (held, q) = queues(SMALL, 2);
            let mut alive: Vec<(Waiting<()>, usize)> = Vec::new();
            for (which, bytes, leave) in steps {
                if leave {
                    if !alive.is_empty() { alive.remove(bytes % alive.len()); }
                } else if let Ok(mut w) = q[which].join(bytes) {
                    let more = if w.place.grow(5) { 5 } else { 0 };
                    alive.push((w, bytes + more));
                }
                prop_assert_eq!(held.requests(), alive.len());
                prop_assert_eq!(held.bytes(), alive.iter().map(|a| a.1).sum::<usize>());
            }
            alive.clear();
            prop_assert_eq!((held.requests(), held.bytes(), q[0].len(), q[1].len()), (0, 0, 0, 0));
        }
    }
}

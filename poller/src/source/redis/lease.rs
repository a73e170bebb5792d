//! What is kept of a claimed item.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use fred::types::Value;
use parking_lot::Mutex;

/// What is kept of a claimed item.
#[derive(Debug, Default)]
pub struct Lease {
    /// Failed attempts that Redis has not been told of, and until when the item shall rest.
    noted: Mutex<Option<(u32, Instant)>>,
    /// Marked or dead: there is nothing left to renew or to release.
    is_over: AtomicBool,
}

impl Lease {
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// There is nothing left to renew or to release.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Notes failed attempts, and that the item shall rest until then.
    pub(super) fn note(&self, attempts: u32, until: Instant) {
        *self.noted.lock() = Some((attempts, until));
    }

    /// The noted attempts as scripts take them.
    pub(super) fn attempts(&self) -> Value {
        let noted = self.noted.lock().map(|(attempts, _)| i64::from(attempts));
        Value::from(noted.unwrap_or(-1))
    }

    pub(super) fn rest(&self, now: Instant) -> Value {
        let noted = *self.noted.lock();
        micros(noted.map_or(Duration::ZERO, |(_, until)| until.saturating_duration_since(now)))
    }
}

/// A time as scripts take it.
pub(super) fn micros(time: Duration) -> Value {
    Value::from(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}

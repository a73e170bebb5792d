//! The process clock: microseconds since the first reading, cheap to store in an atomic.

use std::{sync::OnceLock, time::Instant};

static START: OnceLock<Instant> = OnceLock::new();

/// Microseconds since the process clock started. Never 0, so 0 can mean "not yet".
pub(crate) fn now() -> u64 {
    at(Instant::now())
}

/// The same clock for an instant already read.
pub(crate) fn at(instant: Instant) -> u64 {
    let start = START.get_or_init(Instant::now);
    u64::try_from(instant.saturating_duration_since(*start).as_micros()).unwrap_or(u64::MAX).max(1)
}

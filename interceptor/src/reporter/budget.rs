//! How much a link may say: a megabyte a second, which is the updates of some 40,000 functions.
//!
//! Pure. What exceeds it waits in the link's pending map and merges there, so nothing is lost. Wakes exceed
//! it, and others wait for longer then; snapshots do not count, because there is one per stream.

use std::time::Duration;

use tokio::time::Instant;

/// What may be said at once after a silence. A byte is a microsecond.
const BURST: Duration = Duration::from_secs(1);
/// When to look again while something is left.
pub(super) const REFILL: Duration = Duration::from_millis(100);

/// What one stream has said lately.
#[derive(Debug)]
pub(super) struct Budget {
    /// All that was said is paid for by then.
    paid: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self { paid: now }
    }

    /// Bytes that may be said now.
    pub(super) fn room(&self, now: Instant) -> usize {
        let left = BURST.saturating_sub(self.paid.saturating_duration_since(now));
        usize::try_from(left.as_micros()).unwrap_or(usize::MAX)
    }

    pub(super) fn spend(&mut self, bytes: usize, now: Instant) {
        let cost = Duration::from_micros(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.paid = self.paid.max(now) + cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_megabyte_a_second() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        assert_eq!(budget.room(start), 1_000_000);
        budget.spend(300_000, start);
        assert_eq!(budget.room(start), 700_000);
        // Wakes may exceed it.
        budget.spend(800_000, start);
        assert_eq!(budget.room(start), 0);
        assert_eq!(budget.room(start + Duration::from_millis(200)), 100_000);
        assert_eq!(
            budget.room(start + Duration::from_secs(9)),
            1_000_000,
            "no more than a second's"
        );
    }
}

//! When the requests of an open loop are due. Pure: nanoseconds in, nanoseconds out.

use std::num::NonZeroU64;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A constant arrival rate from time zero up to an end.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    rate: NonZeroU64,
    /// Number of the next arrival.
    next: u64,
    /// No request is due at or after this time.
    end: u64,
}

impl Arrivals {
    pub(super) fn new(rate: NonZeroU64, end: u64) -> Self {
        Self { rate, next: 0, end }
    }

    /// When the next request is due; `None` once there is no further one.
    pub(super) fn next_due(&self) -> Option<u64> {
        // Computed from the number, never by adding intervals, so that no rounding adds up.
        let due = u128::from(self.next) * NANOS_PER_SECOND / u128::from(self.rate.get());
        u64::try_from(due).ok().filter(|due| *due < self.end)
    }

    /// Takes the next request if it is due at `now`; returns when it was due.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.next_due().filter(|due| *due <= now)?;
        self.next += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn arrivals(rate: u64, end: u64) -> Arrivals {
        Arrivals::new(NonZeroU64::new(rate).unwrap(), end)
    }

    #[test]
    fn a_window_holds_exactly_rate_times_seconds() {
        for (rate, seconds) in [(1, 1), (3, 7), (20_000, 3), (33_333, 4), (999_983, 1)] {
            let mut arrivals = arrivals(rate, seconds * 1_000_000_000);
            let mut count = 0;
            let mut last = None;
            while let Some(due) = arrivals.take(u64::MAX) {
                assert!(last.is_none_or(|last| last < due));
                last = Some(due);
                count += 1;
            }
            assert_eq!(count, rate * seconds);
        }
    }

    #[test]
    fn nothing_is_taken_before_it_is_due() {
        let mut arrivals = arrivals(1_000, 10_000_000);
        assert_eq!(arrivals.take(0), Some(0));
        assert_eq!(arrivals.take(999_999), None);
        assert_eq!(arrivals.next_due(), Some(1_000_000));
        // A stall of the generator itself: all that became due is still taken, each with its own
        // time.
        assert_eq!(arrivals.take(3_500_000), Some(1_000_000));
        assert_eq!(arrivals.take(3_500_000), Some(2_000_000));
        assert_eq!(arrivals.take(3_500_000), Some(3_000_000));
        assert_eq!(arrivals.take(3_500_000), None);
    }
}

//! Which changes can wait: those of a slow function whose numbers move a little.
//!
//! Pure. What begins or ends (something in flight, something held), what rises by more than half, and whatever a
//! function does while it is fast or holds requests goes at every interval, because somebody scales by it. The
//! rest goes once in [`INTERVALS`], and loses nothing meanwhile: counts replace each other.

use std::time::Duration;

use tokio::time::Instant;

use super::counts::Counts;

/// Reporting intervals after which a steady function's counts go: a second with the default one.
pub(super) const INTERVALS: u32 = 5;
/// New requests in one interval from which on a function is not slow: 25 a second with the default one.
const FAST: u64 = 5;

/// What was reported last of a function, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported {
    at: Instant,
    total: u64,
    in_flight: u32,
    held: u32,
}

impl Reported {
    pub(super) fn new(counts: &Counts, at: Instant) -> Self {
        Self { at, total: counts.total, in_flight: counts.in_flight, held: counts.held }
    }

    /// Whether these counts are of a later counter than those that were reported.
    pub(super) fn began_anew(&self, counts: &Counts) -> bool {
        counts.total < self.total
    }

    /// Whether something was open.
    pub(super) fn is_open(&self) -> bool {
        self.in_flight > 0 || self.held > 0
    }

    /// Whether counts that were read just now can wait.
    pub(super) fn is_steady(&self, counts: &Counts) -> bool {
        let in_flight = self.in_flight;
        counts.held == 0
            && self.held == 0
            && (counts.in_flight == 0) == (in_flight == 0)
            && counts.in_flight <= in_flight.saturating_add(in_flight / 2)
            && counts.total.saturating_sub(counts.base) < FAST
    }

    /// Whether what has waited has waited for long enough.
    pub(super) fn is_due(&self, now: Instant, interval: Duration) -> bool {
        now.saturating_duration_since(self.at) >= interval.saturating_mul(INTERVALS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::FunctionId;

    /// In flight, held, new requests.
    type Numbers = (u32, u32, u64);

    fn counts((in_flight, held, new): Numbers) -> Counts {
        let id = FunctionId::new("shop-prod", "hello");
        let (total, base, idle) = (100 + new, 100, Duration::ZERO);
        Counts { id, total, base, in_flight, held, waiting: 0, idle }
    }

    #[test]
    fn only_slow_and_steady_change_can_wait() {
        let table: &[(&str, Numbers, Numbers, bool)] = &[
            ("a request that came and went", (0, 0, 1), (0, 0, 1), true),
            ("a few of them", (0, 0, 1), (0, 0, FAST - 1), true),
            ("many", (0, 0, 1), (0, 0, FAST), false),
            ("the first in flight", (0, 0, 1), (1, 0, 1), false),
            ("the last one finished", (1, 0, 1), (0, 0, 0), false),
            ("some finished", (9, 0, 1), (1, 0, 0), true),
            ("a few more in flight", (9, 0, 1), (13, 0, 4), true),
            ("half as many again", (8, 0, 1), (12, 0, 4), true),
            ("more than that", (9, 0, 1), (14, 0, 4), false),
            ("one more of one", (1, 0, 1), (2, 0, 1), false),
            ("something is held", (0, 0, 1), (0, 1, 1), false),
            ("it goes on holding", (0, 1, 1), (0, 1, 0), false),
            ("nothing is held any more", (1, 1, 1), (1, 0, 0), false),
        ];
        for (what, reported, now, expected) in table {
            let reported = Reported::new(&counts(*reported), Instant::now());
            assert_eq!(reported.is_steady(&counts(*now)), *expected, "{what}");
        }
    }

    #[test]
    fn it_waits_for_a_few_intervals_from_the_last_report() {
        let (at, interval) = (Instant::now(), Duration::from_millis(200));
        let reported = Reported::new(&counts((0, 0, 1)), at);
        assert!(!reported.is_due(at + Duration::from_millis(999), interval));
        assert!(reported.is_due(at + Duration::from_secs(1), interval));
    }
}

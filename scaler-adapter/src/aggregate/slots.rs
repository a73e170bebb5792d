//! Request counts of the last two seconds, in slots of a quarter.
//!
//! A minute's mean cannot tell a step from a crowd that is gone again; these can. Two questions are
//! asked of them: how high the rate is *for certain*, which chance alone practically never lifts
//! over what there really is, and how high it is *typically*, which a crowd of less than half a
//! second does not move at all. Pure.

use std::time::Duration;

/// Width of a slot.
const SLOT: Duration = Duration::from_millis(250);
const SLOTS: usize = 8;
/// Slots of a second.
const SECOND: usize = 4;
/// Standard deviations between what was counted and what counts as certain. Asked four times a
/// second, a Poisson process passes four of them less than once in a week.
const CERTAINTY: f64 = 4.0;

/// The counts, by slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    counts: [u32; SLOTS],
    /// Number of the newest slot.
    newest: u64,
}

/// Requests per second as of now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Recent {
    /// At least this much, as far as counts can tell.
    pub certain: f64,
    /// What three of the last four slots have shown.
    pub typical: f64,
    /// What was counted in the last four slots.
    pub counted: f64,
}

impl Slots {
    /// Adds requests spread evenly from `from` to now. What came over a longer time than the slots' is not
    /// of this moment.
    pub(super) fn add(&mut self, from: Duration, now: Duration, count: u64) {
        self.advance(now);
        let slots = number(now).saturating_sub(number(from)) + 1;
        if slots > SLOTS as u64 {
            return;
        }
        let (each, rest) = (count / slots, count % slots);
        for age in 0..slots {
            // The remainder goes to the latest slots.
            let share = each + u64::from(age < rest);
            let slot = &mut self.counts[index(self.newest.saturating_sub(age))];
            *slot = slot.saturating_add(u32::try_from(share).unwrap_or(u32::MAX));
        }
    }

    /// What the last seconds say.
    pub(super) fn recent(&self, now: Duration) -> Recent {
        let mut slots = self.clone();
        slots.advance(now);
        let mut last = [0; SLOTS];
        for (age, count) in (0..).zip(&mut last) {
            *count = slots.counts[index(slots.newest.saturating_sub(age))];
        }
        let sum = |count: usize| last[..count].iter().map(|count| f64::from(*count)).sum::<f64>();
        let over =
            |count: usize, seconds: f64| (sum(count) - CERTAINTY * sum(count).sqrt()) / seconds;
        let certain = over(SECOND, 1.0).max(over(SLOTS, 2.0)).max(0.0);
        let mut second = [last[0], last[1], last[2], last[3]];
        second.sort_unstable();
        Recent { certain, typical: 4.0 * f64::from(second[1]), counted: sum(SECOND) }
    }

    fn advance(&mut self, now: Duration) {
        let slot = number(now);
        let steps = slot.saturating_sub(self.newest).min(SLOTS as u64);
        self.newest = self.newest.max(slot);
        for age in 0..steps {
            self.counts[index(self.newest - age)] = 0;
        }
    }
}

fn number(now: Duration) -> u64 {
    u64::try_from(now.as_millis() / SLOT.as_millis()).unwrap_or(u64::MAX)
}

/// The remainder is below eight, so it fits any `usize`.
#[allow(clippy::cast_possible_truncation)]
fn index(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots with these counts, the newest last.
    fn recent(counts: &[u64]) -> Recent {
        let mut slots = Slots::default();
        let mut now = Duration::from_secs(1000);
        for count in counts {
            now += SLOT;
            slots.add(now, now, *count);
        }
        slots.recent(now)
    }

    #[test]
    fn a_steady_rate_is_typical_after_three_slots() {
        for (counts, typical) in [
            (&[25, 25][..], 0.0),
            (&[25, 25, 25], 100.0),
            (&[25, 25, 25, 3], 100.0),
            (&[25, 25, 25, 25, 25, 25, 25, 25, 25], 100.0),
            (&[400, 0, 0, 0], 0.0),
            (&[200, 200, 0, 0], 0.0),
            (&[4, 25, 1, 0], 4.0),
        ] {
            assert_eq!(recent(counts).typical.to_bits(), f64::to_bits(typical), "{counts:?}");
        }
    }

    #[test]
    fn certain_is_less_than_counted_and_grows_with_it() {
        let rates = [0, 5, 25, 250].map(|each| recent(&[each; SLOTS]).certain);
        assert_eq!(rates[0].to_bits(), 0.0_f64.to_bits());
        assert!(rates[1] > 7.0 && rates[1] < 20.0, "{rates:?}");
        assert!(rates[2] > 70.0 && rates[2] < 100.0, "{rates:?}");
        assert!(rates[3] > 900.0 && rates[3] < 1000.0, "{rates:?}");
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut slots = Slots::default();
        let now = Duration::from_secs(10);
        slots.add(now, now, 1000);
        assert_eq!(slots.recent(Duration::from_secs(12)), Recent::default());
        let now = Duration::from_secs(3600);
        slots.add(now, now, 1);
        assert!(slots.recent(now).certain < 1.0);
    }

    /// Two interceptors that each report a slow function once a second.
    #[test]
    fn what_was_kept_back_is_of_the_time_it_came_in() {
        let mut slots = Slots::default();
        let mut now = Duration::from_secs(1000);
        for report in 0..6 {
            now += Duration::from_millis(500);
            slots.add(now - Duration::from_millis(800), now, 20);
            let recent = slots.recent(now);
            // One of them has not told yet what came in last.
            assert!(report < 3 || (15.0..=40.0).contains(&recent.typical), "{recent:?}");
        }
        let before = slots.recent(now);
        slots.add(now - Duration::from_secs(3), now, 1000);
        assert_eq!(slots.recent(now), before, "a gap");
    }
}

//! A sliding minute of request counts in one-second buckets.
//!
//! Pure, and of constant size, with the quarters of the last two seconds beside them ([`Slots`]); the oldest bucket of a mean counts for the part of it that is still
//! inside, so a steady rate reads steady at any moment within a second.

use std::time::Duration;

use super::slots::{Recent, Slots};

/// Longest mean, in buckets of one second.
const SPAN: u64 = 60;
/// One more than the span: the oldest one is partly inside.
const BUCKETS: usize = 61;
/// Means are never taken over less, however short the time covered.
const SHORTEST: Duration = Duration::from_secs(1);

/// Requests per second of the last minute.
#[derive(Clone, Debug)]
pub struct Window {
    buckets: [u32; BUCKETS],
    /// The second of the newest bucket.
    newest: u64,
    slots: Slots,
}

impl Default for Window {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], newest: 0, slots: Slots::default() }
    }
}

impl Window {
    /// Adds `count` requests spread evenly from `from` to `now`. What falls before the window is
    /// dropped; `now` never goes back.
    pub fn add(&mut self, from: Duration, now: Duration, count: u64) {
        self.slots.add(from, now, count);
        let last = now.as_secs();
        self.advance(last);
        let first = from.as_secs().min(last);
        let seconds = last - first + 1;
        let inside = seconds.min(SPAN + 1);
        let (each, rest) = (count / seconds, count % seconds);
        for age in 0..inside {
            // The remainder goes to the latest seconds.
            let share = each + u64::from(age < rest);
            let bucket = &mut self.buckets[index(last - age)];
            *bucket = bucket.saturating_add(u32::try_from(share).unwrap_or(u32::MAX));
        }
    }

    /// Requests per second over the `span` seconds before `now` (at most 60), or over `covered`
    /// where that is shorter.
    pub fn mean(&self, now: Duration, span: u64, covered: Duration) -> f64 {
        let span = span.min(SPAN);
        let second = now.as_secs();
        let oldest_share = 1.0 - f64::from(now.subsec_nanos()) / 1e9;
        let sum: f64 = (0..=span)
            .filter_map(|age| {
                let share = if age == span { oldest_share } else { 1.0 };
                Some(f64::from(self.at(second.checked_sub(age)?)) * share)
            })
            .sum();
        sum / covered.clamp(SHORTEST, Duration::from_secs(span).max(SHORTEST)).as_secs_f64()
    }

    /// The rate of this moment.
    pub fn recent(&self, now: Duration) -> Recent {
        self.slots.recent(now)
    }

    /// True when every bucket is older than the longest mean.
    pub fn is_over(&self, now: Duration) -> bool {
        now.as_secs() > self.newest + SPAN
    }

    fn at(&self, second: u64) -> u32 {
        let inside = second <= self.newest && second + SPAN >= self.newest;
        if inside { self.buckets[index(second)] } else { 0 }
    }

    fn advance(&mut self, second: u64) {
        let steps = second.saturating_sub(self.newest).min(SPAN + 1);
        self.newest = self.newest.max(second);
        for age in 0..steps {
            self.buckets[index(self.newest - age)] = 0;
        }
    }
}

/// The remainder is below 61, so it fits any `usize`.
#[allow(clippy::cast_possible_truncation)]
fn index(second: u64) -> usize {
    (second % BUCKETS as u64) as usize
}

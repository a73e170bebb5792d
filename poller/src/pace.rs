//! How many events to have claimed: enough that handlers never wait for the source, and no more, so
//! that other pods find work.
//!
//! Pure: time comes in as an argument. It must never claim anything itself.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// How much observed work is kept ready beyond what runs.
const AHEAD: Duration = Duration::from_millis(250);
/// Resolution at which finished deliveries are counted.
const STEP: Duration = Duration::from_millis(25);

/// Counts deliveries of the last 250 ms.
#[derive(Debug)]
pub(crate) struct Pace {
    concurrency: usize,
    /// Deliveries per step, newest last; at most `AHEAD / STEP` of them.
    steps: VecDeque<(Instant, usize)>,
    recent: usize,
}

impl Pace {
    /// A pace of nothing yet.
    pub(crate) fn new(concurrency: usize) -> Self {
        Self { concurrency, steps: VecDeque::new(), recent: 0 }
    }

    /// A delivery ended.
    pub(crate) fn delivered(&mut self, now: Instant) {
        self.forget(now);
        match self.steps.back_mut() {
            Some((since, count)) if now.saturating_duration_since(*since) < STEP => *count += 1,
            _ => self.steps.push_back((now, 1)),
        }
        self.recent += 1;
    }

    /// Events to have claimed and not yet delivered, those that run included: as many again as may
    /// run, so that slow ones are left for other pods, or what the last 250 ms delivered.
    pub(crate) fn target(&mut self, now: Instant) -> usize {
        self.forget(now);
        self.concurrency + self.recent.max(self.concurrency)
    }

    fn forget(&mut self, now: Instant) {
        while let Some((since, count)) = self.steps.front() {
            if now.saturating_duration_since(*since) < AHEAD {
                break;
            }
            self.recent -= count;
            self.steps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_handlers_take_no_more_than_twice_what_runs() {
        let start = Instant::now();
        let mut pace = Pace::new(8);
        assert_eq!(pace.target(start), 16);
        for second in 0..20 {
            let now = start + Duration::from_secs(second);
            pace.delivered(now);
            assert_eq!(pace.target(now), 16);
        }
    }

    #[test]
    fn fast_handlers_have_a_quarter_of_a_second_ready() {
        let start = Instant::now();
        let mut pace = Pace::new(8);
        for n in 0..10_000 {
            pace.delivered(start + Duration::from_micros(100) * n);
        }
        let end = start + Duration::from_secs(1);
        let ready = pace.target(end) - 8;
        assert!((2_250..=2_750).contains(&ready), "{ready}");
        assert_eq!(pace.target(end + AHEAD), 16);
        assert!(pace.steps.is_empty());
    }
}

//! What may be asked for in a second, over all functions: a herd that wakes at once must not take the
//! whole cluster, nor the API server. Pure.

use std::time::Duration;

/// Writes of replicas per second.
const ASKS: f64 = 20.0;
/// New pods per second.
const PODS: f64 = 100.0;
/// With less than this share of a second's pods, no function is worth a look: it would get crumbs.
const LEAST: f64 = 0.1;

/// Tokens that grow back, up to a second's worth.
pub(super) struct Budget {
    asks: f64,
    pods: f64,
    at: Duration,
}

impl Budget {
    pub(super) fn new(now: Duration) -> Self {
        Self { asks: ASKS, pods: PODS, at: now }
    }

    /// Takes one ask and as many of `pods` as there are left; none = wait.
    pub(super) fn take(&mut self, pods: u32, now: Duration) -> Option<u32> {
        self.grow(now);
        if self.asks < 1.0 || self.pods < 1.0 {
            return None;
        }
        // Between 1 and PODS.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let granted = pods.min(self.pods.floor() as u32);
        self.asks -= 1.0;
        self.pods -= f64::from(granted);
        Some(granted)
    }

    /// How many functions are worth a look.
    pub(super) fn looks(&mut self, now: Duration) -> usize {
        self.grow(now);
        // Between 0 and ASKS.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let asks = self.asks.floor() as usize;
        if self.pods < LEAST * PODS { 0 } else { asks }
    }

    /// These pods were not to be had. The ask was made.
    pub(super) fn give_back(&mut self, pods: u32) {
        self.pods = (self.pods + f64::from(pods)).min(PODS);
    }

    fn grow(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.asks = (self.asks + passed * ASKS).min(ASKS);
        self.pods = (self.pods + passed * PODS).min(PODS);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_herd_gets_a_second_s_worth_at_a_time() {
        let at = |ms| Duration::from_millis(ms);
        let mut budget = Budget::new(at(0));
        let granted: Vec<_> = (0..12).map(|_| budget.take(9, at(0))).collect();
        let most = [[Some(9); 11].as_slice(), &[Some(1)]].concat();
        assert_eq!(granted, most);
        assert_eq!(budget.take(9, at(5)), None);
        assert_eq!(budget.take(9, at(1005)), Some(9));
        // Few pods each: then the asks are the bound.
        let mut budget = Budget::new(at(0));
        let asked = (0..30).filter(|_| budget.take(1, at(0)).is_some()).count();
        assert_eq!(asked, 20);
    }

    #[test]
    fn there_are_looks_for_asks_and_for_more_than_crumbs() {
        let at = |ms| Duration::from_millis(ms);
        let mut budget = Budget::new(at(0));
        assert_eq!(budget.looks(at(0)), 20);
        assert_eq!(budget.take(95, at(0)), Some(95));
        assert_eq!((budget.looks(at(0)), budget.looks(at(40)), budget.looks(at(60))), (0, 0, 20));
        let mut budget = Budget::new(at(0));
        assert!((0..19).all(|_| budget.take(1, at(0)).is_some()));
        assert_eq!((budget.looks(at(0)), budget.looks(at(60))), (1, 2));
    }

    #[test]
    fn pods_that_were_not_to_be_had_are_there_for_others() {
        let mut budget = Budget::new(Duration::ZERO);
        assert_eq!(budget.take(100, Duration::ZERO), Some(100));
        budget.give_back(100);
        assert_eq!(budget.take(100, Duration::ZERO), Some(100));
        assert_eq!(budget.looks(Duration::ZERO), 0);
    }
}

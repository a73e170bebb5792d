//! Pauses between tries of something that failed.
//!
//! A pause doubles with each failure in a row, from a minimum to a maximum. Up to half of it is taken
//! off at random ("equal jitter" in M. Brooker, "Exponential Backoff And Jitter", AWS Architecture
//! Blog, 2015): half is certain, so that the peer is left alone, and the rest keeps those who failed
//! together from returning together. The next pause is therefore never shorter than the one before.

use std::time::Duration;

/// Where a series of tries stands. Cheap to copy: a constant serves as the start of each series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// No failure yet; the first pause is at most `min`, and no pause is longer than `max`.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// How long to wait after one more failure.
    pub fn pause(&mut self) -> Duration {
        self.pause_with(fastrand::f64())
    }

    /// The same with the caller's random number, in `0.0..1.0`.
    pub fn pause_with(&mut self, random: f64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.after(self.failures, random)
    }

    /// How long to wait after so many failures in a row, counted from 1, for callers that keep the
    /// count themselves. `random` is in `0.0..1.0`; 0 gives the longest pause.
    pub fn after(&self, failures: u32, random: f64) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.min.saturating_mul(factor).min(self.max).mul_f64(1.0 - random / 2.0)
    }

    /// Something succeeded: the next failure is the first of a new series.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_their_bound_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(SECOND, 10 * SECOND);
        for seconds in [1, 2, 4, 8, 10, 10] {
            assert_eq!(backoff.pause_with(0.0), seconds * SECOND);
        }
        assert_eq!(backoff.failures(), 6);
        backoff.reset();
        assert_eq!(backoff.pause_with(0.0), SECOND);
    }

    #[test]
    fn at_most_half_of_a_pause_is_random() {
        let mut backoff = Backoff::new(SECOND, 60 * SECOND);
        for failures in 1..100 {
            let (longest, shortest) =
                (backoff.after(failures, 0.0), backoff.after(failures, 0.999));
            assert!(shortest >= longest / 2 && shortest < longest);
            let pause = backoff.pause();
            assert!(pause >= longest / 2 && pause <= longest);
        }
        assert_eq!(backoff.after(u32::MAX, 0.0), 60 * SECOND);
        assert_eq!(backoff.after(0, 0.0), SECOND);
    }
}

//! What follows a delivery that failed: when to try again, when to stop trying, and when the
//! function as a whole is down.
//!
//! Pure: time and randomness come in as arguments. It must never see a source or a socket.

use std::{collections::VecDeque, time::Duration};

use kipper_process::backoff::Backoff;

use crate::source::Key;

/// Longest pause between two attempts, also where there are no dead letters to end in.
pub(crate) const BACKOFF_CAP: Duration = Duration::from_secs(300);
/// Pauses between the attempts of one event.
const ATTEMPTS: Backoff = Backoff::new(Duration::from_secs(1), BACKOFF_CAP);
/// Retryable failures in a row, of distinct events, that make an outage of the function.
pub(crate) const BREAKER_THRESHOLD: usize = 20;
/// Pauses between the probes of an outage.
const PROBES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));

/// How one delivery ended, as far as this stage cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// 2xx.
    Done,
    /// Worth another attempt, not before `Retry-After` if there was one.
    Retryable(Option<Duration>),
    /// The function will never take this event.
    Permanent,
}

/// What to do with an event whose delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Deliver it again after this pause.
    After(Duration),
    /// Put it among the dead letters.
    Dead,
}

/// Decides what follows the failure of an event's attempt number `attempts`, counted from 1.
///
/// The pause is that of [`Backoff`]; `jitter`, in `0.0..1.0`, is what it takes off at random.
/// `Retry-After` (RFC 9110, section 10.2.3) is a lower bound.
pub(crate) fn next(
    ending: Ending,
    attempts: u32,
    max_attempts: u32,
    dead_letters: bool,
    jitter: f64,
) -> Next {
    let exhausted = ending == Ending::Permanent || attempts >= max_attempts;
    if exhausted {
        return if dead_letters { Next::Dead } else { Next::After(BACKOFF_CAP) };
    }
    let at_least = match ending {
        Ending::Retryable(Some(pause)) => pause.min(BACKOFF_CAP),
        _ => Duration::ZERO,
    };
    Next::After(ATTEMPTS.after(attempts, jitter).max(at_least))
}

/// Tells an outage of the function from events that it does not like.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// Distinct keys whose last delivery failed, since anything last succeeded; at most
    /// [`BREAKER_THRESHOLD`].
    run: VecDeque<Key>,
    /// Probes that failed since it opened; `None` while closed.
    open: Option<u32>,
}

/// What a delivery did to the breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// It opened. The failures of these keys were the outage's: they use up no attempt.
    Opened(Vec<Key>),
    /// It closed.
    Closed,
}

impl Breaker {
    /// True while the function is taken to be down.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes in how a delivery of `key` ended. An answer that is not worth a retry comes from a
    /// function that works. `suspect`: the event failed before, and others succeeded since, so that
    /// its failure says nothing of the function.
    pub(crate) fn record(&mut self, key: &Key, ending: Ending, suspect: bool) -> Change {
        if !matches!(ending, Ending::Retryable(_)) {
            self.run.clear();
            return if self.open.take().is_some() { Change::Closed } else { Change::None };
        }
        if self.open.is_some() || suspect {
            return Change::None;
        }
        if !self.run.contains(key) {
            self.run.push_back(key.clone());
        }
        if self.run.len() < BREAKER_THRESHOLD {
            return Change::None;
        }
        self.open = Some(0);
        Change::Opened(self.run.drain(..).collect())
    }

    /// How long to wait before the next probe; each call counts as one probe.
    pub(crate) fn probe_pause(&mut self, jitter: f64) -> Duration {
        let probes = self.open.get_or_insert(0);
        *probes = probes.saturating_add(1);
        PROBES.after(*probes, jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key::from(n.to_string())
    }

    fn fail(breaker: &mut Breaker, n: usize) -> Change {
        breaker.record(&key(n), Ending::Retryable(None), false)
    }

    #[test]
    fn the_pause_doubles_up_to_five_minutes() {
        let pause = |attempts| next(Ending::Retryable(None), attempts, u32::MAX, true, 0.0);
        for (attempts, seconds) in [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (64, 300)] {
            assert_eq!(pause(attempts), Next::After(Duration::from_secs(seconds)), "{attempts}");
        }
        let half = Next::After(Duration::from_secs(8));
        assert_eq!(next(Ending::Retryable(None), 5, 10, true, 1.0), half);
    }

    #[test]
    fn retry_after_is_a_lower_bound() {
        let pause = |seconds, jitter| {
            next(Ending::Retryable(Some(Duration::from_secs(seconds))), 3, 10, true, jitter)
        };
        assert_eq!(pause(30, 0.0), Next::After(Duration::from_secs(30)));
        assert_eq!(pause(1, 0.0), Next::After(Duration::from_secs(4)));
        assert_eq!(pause(86_400, 0.5), Next::After(BACKOFF_CAP));
    }

    #[test]
    fn the_last_attempt_and_a_permanent_failure_are_dead() {
        assert_eq!(next(Ending::Retryable(None), 10, 10, true, 0.5), Next::Dead);
        assert_eq!(next(Ending::Permanent, 1, 10, true, 0.5), Next::Dead);
        // Without dead letters both are tried again, seldom.
        assert_eq!(next(Ending::Permanent, 1, 10, false, 0.5), Next::After(BACKOFF_CAP));
        assert_eq!(next(Ending::Retryable(None), 11, 10, false, 0.5), Next::After(BACKOFF_CAP));
    }

    #[test]
    fn only_distinct_keys_in_a_row_open_it() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            assert_eq!(fail(&mut breaker, 0), Change::None);
        }
        for n in 1..BREAKER_THRESHOLD - 1 {
            assert_eq!(fail(&mut breaker, n), Change::None);
        }
        assert_eq!(breaker.record(&key(500), Ending::Done, false), Change::None);
        for n in 0..BREAKER_THRESHOLD - 1 {
            assert_eq!(fail(&mut breaker, n), Change::None);
        }
        let Change::Opened(keys) = fail(&mut breaker, 77) else { panic!("did not open") };
        assert_eq!(keys.len(), BREAKER_THRESHOLD);
        assert!(breaker.is_open());
        assert_eq!(fail(&mut breaker, 78), Change::None);
        // An answer that is not worth a retry is an answer too.
        assert_eq!(breaker.record(&key(1), Ending::Permanent, false), Change::Closed);
        assert!(!breaker.is_open());
    }

    #[test]
    fn events_that_fail_while_others_succeed_do_not_open_it() {
        let mut breaker = Breaker::default();
        for n in 0..100 {
            assert_eq!(breaker.record(&key(n), Ending::Retryable(None), true), Change::None);
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn probes_become_rarer() {
        let mut breaker = Breaker::default();
        for n in 0..BREAKER_THRESHOLD {
            fail(&mut breaker, n);
        }
        let pauses: Vec<u64> = (0..6).map(|_| breaker.probe_pause(0.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15]);
    }
}

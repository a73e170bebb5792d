//! How many replicas a function should have: what KEDA and the HPA would decide.
//!
//! Pure: no clock, no I/O. Time comes in as a duration since some fixed moment, answers of the
//! external scaler come in as values, and the new number of replicas comes out. Between zero and
//! one KEDA decides (`pkg/scaling/executor/scale_scaledobjects.go`), from one upwards the HPA
//! (`pkg/controller/podautoscaler`, with its default behaviour); both with the periods shortened
//! for somebody who is watching.

use std::{collections::VecDeque, time::Duration};

/// The HPA does nothing while a metric is within this share of its target.
const TOLERANCE: f64 = 0.1;
/// The HPA's default policies for scaling up: the larger of the two per period.
const MAX_SURGE_FACTOR: u32 = 2;
const MAX_SURGE_PODS: u32 = 4;
/// More recommendations than a window of an hour at ten polls a second; older ones are forgotten.
const MAX_RECOMMENDATIONS: usize = 36_000;

/// The part of a ScaledObject that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// `minReplicaCount`.
    pub(crate) min: u32,
    /// `maxReplicaCount`; at least 1 and at least `min`.
    pub(crate) max: u32,
    /// `cooldownPeriod`.
    pub(crate) cooldown: Duration,
    /// The HPA's `scaleDown.stabilizationWindowSeconds`.
    pub(crate) scale_down_window: Duration,
}

/// One metric as the external scaler gives it, with its target per replica (`AverageValue`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) value: f64,
    pub(crate) target: f64,
}

/// The state of one function's scaling.
#[derive(Clone, Debug)]
pub(crate) struct Scaler {
    policy: Policy,
    replicas: u32,
    last_active: Option<Duration>,
    /// What the metrics asked for, and when; pruned to the window.
    recommendations: VecDeque<(Duration, u32)>,
}

impl Scaler {
    /// A function that has `replicas` now, which counts as activity: what runs for a reason that
    /// was forgotten gets the whole cooldown.
    pub(crate) fn new(policy: Policy, replicas: u32) -> Self {
        let last_active = (replicas > 0).then_some(Duration::ZERO);
        Self { policy, replicas, last_active, recommendations: VecDeque::new() }
    }

    /// Replicas decided last.
    pub(crate) fn replicas(&self) -> u32 {
        self.replicas
    }

    /// `StreamIsActive` said `true`: up from zero at once. `false` is ignored by KEDA, so there is
    /// no counterpart.
    pub(crate) fn activated(&mut self, now: Duration) -> u32 {
        self.last_active = Some(now);
        self.replicas = self.replicas.max(self.floor());
        self.replicas
    }

    /// Somebody asks for replicas ahead of the HPA: more than `from`, if that many there are.
    pub(crate) fn asked(&mut self, from: u32, to: u32) -> bool {
        let is_due = self.replicas == from && to > from;
        if is_due {
            self.replicas = to.min(self.policy.max);
        }
        is_due
    }

    /// One poll. `None` stands for a call that failed: KEDA and the HPA then keep what there is.
    pub(crate) fn polled(
        &mut self,
        now: Duration,
        active: Option<bool>,
        readings: Option<&[Reading]>,
    ) -> u32 {
        let Some(active) = active else {
            return self.replicas;
        };
        if active {
            self.last_active = Some(now);
        }
        if self.replicas == 0 {
            self.replicas = if active { self.floor() } else { self.policy.min };
        } else if !active && self.policy.min == 0 && self.is_cold(now) {
            self.replicas = 0;
        } else {
            self.replicas = self.follow(now, readings);
        }
        self.replicas
    }

    /// The fewest replicas while there are any.
    fn floor(&self) -> u32 {
        self.policy.min.max(1)
    }

    /// The cooldown has passed since activity was last seen.
    fn is_cold(&self, now: Duration) -> bool {
        self.last_active.is_none_or(|last| now.saturating_sub(last) >= self.policy.cooldown)
    }

    /// The HPA's part. Only called with at least one replica.
    fn follow(&mut self, now: Duration, readings: Option<&[Reading]>) -> u32 {
        let current = self.replicas;
        let wanted = readings
            .and_then(|readings| readings.iter().map(|reading| wanted(*reading, current)).max())
            .unwrap_or(current);
        let stable = self.stabilised(now, wanted);
        let surge = (current * MAX_SURGE_FACTOR).max(current + MAX_SURGE_PODS);
        stable.min(surge).clamp(self.floor(), self.policy.max)
    }

    /// Up at once, down to the highest recommendation of the window.
    fn stabilised(&mut self, now: Duration, wanted: u32) -> u32 {
        let window = self.policy.scale_down_window;
        self.recommendations.retain(|(at, _)| now.saturating_sub(*at) < window);
        if self.recommendations.len() == MAX_RECOMMENDATIONS {
            self.recommendations.pop_front();
        }
        self.recommendations.push_back((now, wanted));
        let highest = self.recommendations.iter().map(|(_, wanted)| *wanted).fold(wanted, u32::max);
        self.replicas.clamp(wanted, highest)
    }
}

/// Replicas that one metric asks for.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast saturates
fn wanted(reading: Reading, current: u32) -> u32 {
    let Reading { value, target } = reading;
    if !value.is_finite() || target.is_nan() || target <= 0.0 {
        return current;
    }
    let ratio = value / (target * f64::from(current));
    if (ratio - 1.0).abs() <= TOLERANCE {
        return current;
    }
    (value / target).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        min: 0,
        max: 10,
        cooldown: Duration::from_secs(30),
        scale_down_window: Duration::from_secs(10),
    };

    /// One step at a second: what comes in, and the replicas that must come out.
    enum Step {
        /// `true` on the stream.
        Push,
        /// Activity, and the value of a metric with target 5.
        Poll(bool, f64),
        /// The adapter does not answer.
        Down,
        /// Activity is known, the metrics are not.
        NoMetrics(bool),
    }
    use Step::{Down, NoMetrics, Poll, Push};

    fn check(name: &str, policy: Policy, steps: &[(u64, Step, u32)]) {
        let mut scaler = Scaler::new(policy, policy.min);
        for (second, step, expected) in steps {
            let now = Duration::from_secs(*second);
            let replicas = match step {
                Push => scaler.activated(now),
                Down => scaler.polled(now, None, None),
                NoMetrics(active) => scaler.polled(now, Some(*active), None),
                Poll(active, value) => {
                    let reading = Reading { value: *value, target: 5.0 };
                    scaler.polled(now, Some(*active), Some(&[reading]))
                }
            };
            assert_eq!(replicas, *expected, "{name}: at second {second}");
        }
    }

    #[test]
    fn between_zero_and_one_keda_decides() {
        check("push wakes", POLICY, &[(0, Push, 1), (1, Push, 1)]);
        check("a poll wakes too", POLICY, &[(0, Poll(false, 0.0), 0), (1, Poll(true, 1.0), 1)]);
        check(
            "to zero after the cooldown",
            POLICY,
            &[
                (0, Push, 1),
                (1, Poll(true, 1.0), 1),
                (2, Poll(false, 0.0), 1),
                (30, Poll(false, 0.0), 1),
                (31, Poll(false, 0.0), 0),
                (32, Poll(false, 0.0), 0),
            ],
        );
        let zero = Policy { cooldown: Duration::ZERO, ..POLICY };
        check("no cooldown", zero, &[(0, Push, 1), (1, Poll(false, 9.0), 0), (2, Push, 1)]);
    }

    #[test]
    fn an_adapter_that_does_not_answer_changes_nothing() {
        check(
            "unavailable",
            POLICY,
            &[
                (0, Down, 0),
                (1, Push, 1),
                (2, Poll(true, 20.0), 4),
                (90, Down, 4),
                (91, Poll(false, 0.0), 0),
            ],
        );
        check(
            "no metrics",
            POLICY,
            &[
                (0, Push, 1),
                (1, Poll(true, 20.0), 4),
                (2, NoMetrics(true), 4),
                (40, NoMetrics(false), 0),
            ],
        );
    }

    #[test]
    fn from_one_upwards_the_hpa_decides() {
        check("the quotient, rounded up", POLICY, &[(0, Push, 1), (1, Poll(true, 11.0), 3)]);
        check(
            "within tolerance",
            POLICY,
            &[(0, Push, 1), (1, Poll(true, 5.4), 1), (2, Poll(true, 5.6), 2)],
        );
        check(
            "at most double or four more a period, never above max",
            POLICY,
            &[
                (0, Push, 1),
                (1, Poll(true, 500.0), 5),
                (2, Poll(true, 500.0), 10),
                (3, Poll(true, 500.0), 10),
            ],
        );
        let many = Policy { max: 100, ..POLICY };
        check(
            "doubling beats four",
            many,
            &[
                (0, Push, 1),
                (1, Poll(true, 500.0), 5),
                (2, Poll(true, 500.0), 10),
                (3, Poll(true, 500.0), 20),
            ],
        );
        check("never to zero by metrics", POLICY, &[(0, Push, 1), (1, Poll(true, 0.0), 1)]);
        check("nonsense is kept away", POLICY, &[(0, Push, 1), (1, Poll(true, f64::NAN), 1)]);
    }

    #[test]
    fn down_only_to_the_highest_of_the_window() {
        check(
            "stabilised",
            POLICY,
            &[
                (0, Push, 1),
                (1, Poll(true, 40.0), 5),
                (2, Poll(true, 40.0), 8),
                (3, Poll(true, 20.0), 8),
                (4, Poll(true, 5.0), 8),
                // The 8 of second 2 has left the window, the 4 of second 3 has not.
                (12, Poll(true, 5.0), 4),
                (13, Poll(true, 5.0), 1),
            ],
        );
        let at_once = Policy { scale_down_window: Duration::ZERO, ..POLICY };
        check(
            "no window",
            at_once,
            &[(0, Push, 1), (1, Poll(true, 25.0), 5), (2, Poll(true, 5.0), 1)],
        );
    }

    #[test]
    fn the_largest_of_several_metrics_counts() {
        let mut scaler = Scaler::new(POLICY, 1);
        let readings = [Reading { value: 6.0, target: 5.0 }, Reading { value: 9.0, target: 2.1 }];
        assert_eq!(scaler.polled(Duration::ZERO, Some(true), Some(&readings)), 5);
        assert_eq!(scaler.polled(Duration::from_secs(1), Some(true), Some(&[])), 5);
    }

    #[test]
    fn what_runs_already_is_not_cold() {
        let mut scaler = Scaler::new(POLICY, 2);
        let mut poll = |second| scaler.polled(Duration::from_secs(second), Some(false), Some(&[]));
        assert_eq!([0, 29, 30].map(&mut poll), [2, 2, 0]);
    }

    #[test]
    fn min_replicas_hold_without_traffic() {
        let policy = Policy { min: 2, max: 3, ..POLICY };
        check(
            "min 2",
            policy,
            &[
                (0, Poll(false, 0.0), 2),
                (60, Poll(false, 0.0), 2),
                (61, Poll(true, 99.0), 3),
                (90, Poll(false, 0.0), 2),
            ],
        );
    }
}

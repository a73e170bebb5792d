//! What came of the requests of one run. Pure: times come in as nanoseconds since the run began.
//!
//! A completed request counts towards throughput when it *ended* inside the measured window. Its
//! latency counts, in an open loop, when it was *due* inside the window, however late it ended:
//! leaving out those that were late would flatter exactly the slow ones.

use std::{ops::Range, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::args::Mode;

/// Latencies are kept with three significant digits up to a minute; a longer one counts as one.
const MAX_LATENCY_NANOS: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
const NANOS_PER_MICRO: f64 = 1_000.0;

/// Requests that failed, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// The answer was not 2xx.
    pub status: u64,
    /// The connection ended or failed while a request was under way.
    pub closed: u64,
    /// The answer was no HTTP/1.1 message with a content length.
    pub framing: u64,
    /// Due inside the measured window of an open loop and not answered by its end plus grace.
    pub unfinished: u64,
}

impl Errors {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.status + self.closed + self.framing + self.unfinished
    }
}

/// Latency of the completed requests in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Slowest.
    pub max: f64,
}

/// The outcome of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Completed with a 2xx inside the measured window.
    pub completed: u64,
    /// Length of the measured window in seconds.
    pub seconds: f64,
    /// `completed / seconds`.
    pub rps: f64,
    /// Latency in microseconds; of an open loop from the moment a request was due.
    pub latency_us: Latency,
    /// Requests that failed.
    pub errors: Errors,
    /// Connections that the other side closed between requests, and that were opened anew.
    pub reconnects: u64,
}

pub(super) struct Recorder {
    mode: Mode,
    window: Range<u64>,
    latencies: Histogram<u64>,
    completed: u64,
    pub(super) errors: Errors,
    pub(super) reconnects: u64,
}

impl Recorder {
    pub(super) fn new(mode: Mode, window: Range<u64>) -> Result<Self, hdrhistogram::CreationError> {
        let latencies = Histogram::new_with_bounds(1, MAX_LATENCY_NANOS, SIGNIFICANT_DIGITS)?;
        Ok(Self { mode, window, latencies, completed: 0, errors: Errors::default(), reconnects: 0 })
    }

    /// A request that was due (open loop) or sent (closed loop) at `start` was answered at `end`.
    pub(super) fn completed(&mut self, start: u64, end: u64) {
        let ended_inside = self.window.contains(&end);
        self.completed += u64::from(ended_inside);
        let counts = match self.mode {
            Mode::Closed => ended_inside,
            Mode::Open => self.window.contains(&start),
        };
        if counts {
            self.latencies.saturating_record(end.saturating_sub(start).max(1));
        }
    }

    /// A request that was due at `start` was not answered by `now`, when the run ended. It counts
    /// with the time it waited so far, which is the least its latency can have been.
    pub(super) fn unfinished(&mut self, start: u64, now: u64) {
        if self.window.contains(&start) {
            self.errors.unfinished += 1;
            self.latencies.saturating_record(now.saturating_sub(start).max(1));
        }
    }

    /// The outcome, for a window that ended at `end` at the latest.
    pub(super) fn report(&self, end: u64) -> Report {
        let end = end.min(self.window.end);
        let seconds = Duration::from_nanos(end.saturating_sub(self.window.start)).as_secs_f64();
        let rps = if seconds > 0.0 { self.completed as f64 / seconds } else { 0.0 };
        let at = |quantile| self.latencies.value_at_quantile(quantile) as f64 / NANOS_PER_MICRO;
        Report {
            completed: self.completed,
            seconds,
            rps,
            latency_us: Latency {
                mean: self.latencies.mean() / NANOS_PER_MICRO,
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: self.latencies.max() as f64 / NANOS_PER_MICRO,
            },
            errors: self.errors,
            reconnects: self.reconnects,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MS: u64 = 1_000_000;

    fn recorder(mode: Mode) -> Recorder {
        Recorder::new(mode, 1_000 * MS..2_000 * MS).unwrap()
    }

    /// Within the histogram's three significant digits.
    fn close(measured: f64, expected: f64) {
        assert!((measured - expected).abs() <= expected * 0.001, "{measured} != {expected}");
    }

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut recorder = recorder(Mode::Closed);
        for latency in 1..=1_000 {
            recorder.completed(1_500 * MS - latency * 1_000, 1_500 * MS);
        }
        let report = recorder.report(u64::MAX);
        assert_eq!((report.completed, report.seconds, report.rps), (1_000, 1.0, 1_000.0));
        close(report.latency_us.mean, 500.5);
        close(report.latency_us.p50, 500.0);
        close(report.latency_us.p90, 900.0);
        close(report.latency_us.p99, 990.0);
        close(report.latency_us.p999, 999.0);
        close(report.latency_us.max, 1_000.0);
    }

    #[test]
    fn a_closed_loop_counts_what_ended_inside_the_window() {
        let mut recorder = recorder(Mode::Closed);
        recorder.completed(990 * MS, 999 * MS);
        recorder.completed(999 * MS, 1_000 * MS);
        recorder.completed(1_990 * MS, 2_000 * MS);
        let report = recorder.report(u64::MAX);
        assert_eq!(report.completed, 1);
        close(report.latency_us.max, 1_000.0);
    }

    /// One request per millisecond; the proxy answers at once, except that it stalls from 1.5 s to
    /// 1.6 s and then answers everything it owes. A generator that waits for its answer would see
    /// a single slow request; corrected, one in ten waited, 50 ms on average.
    #[test]
    fn a_stall_is_charged_to_every_request_that_was_due_meanwhile() {
        let mut recorder = recorder(Mode::Open);
        for due in (0..3_000).map(|due| due * MS) {
            let stalled = (1_500 * MS..1_600 * MS).contains(&due);
            recorder.completed(due, if stalled { 1_600 * MS } else { due + 1_000 });
        }
        let report = recorder.report(u64::MAX);
        assert_eq!(report.completed, 1_000);
        close(report.latency_us.p50, 1.0);
        close(report.latency_us.p90, 1.0);
        close(report.latency_us.p99, 90_000.0);
        close(report.latency_us.max, 100_000.0);
    }

    #[test]
    fn an_open_loop_counts_late_answers_and_those_that_never_came() {
        let mut recorder = recorder(Mode::Open);
        // Due inside, answered after the window: latency counts, throughput does not.
        recorder.completed(1_900 * MS, 2_300 * MS);
        // Due before, answered inside: the reverse.
        recorder.completed(900 * MS, 1_100 * MS);
        recorder.unfinished(1_950 * MS, 3_950 * MS);
        recorder.unfinished(2_000 * MS, 3_950 * MS);
        let report = recorder.report(u64::MAX);
        assert_eq!((report.completed, report.errors.unfinished), (1, 1));
        close(report.latency_us.p50, 400_000.0);
        close(report.latency_us.max, 2_000_000.0);
    }

    #[test]
    fn a_run_that_ended_early_is_divided_by_its_own_length() {
        let mut recorder = recorder(Mode::Closed);
        recorder.completed(1_000 * MS, 1_001 * MS);
        assert_eq!(recorder.report(1_500 * MS).rps, 2.0);
        assert_eq!(recorder.report(1_000 * MS).rps, 0.0);
    }
}

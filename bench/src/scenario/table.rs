//! The table of medians a comparison prints.

use kipper_measure::figures::median;

use crate::measure::Sample;

/// The head of the table; its columns line up with [`row`].
pub(super) fn head(first: &str) -> String {
    format!(
        "{first:<16} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "CPU us/rq", "rq/s", "p50 us", "p99 us", "max us", "mem MiB"
    )
}

/// Medians over the rounds of one peer.
pub(super) fn row(name: &str, samples: &[Sample]) -> String {
    let cell = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let of = |value: fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(value));
    let rps = of(|sample| Some(sample.report.rps));
    format!(
        "{name:<16} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        cell(of(|sample| sample.cpu_micros_per_request), 2),
        cell(rps, if rps.is_some_and(|rps| rps < 100.0) { 2 } else { 0 }),
        cell(of(|sample| Some(sample.report.latency_us.p50)), 0),
        cell(of(|sample| Some(sample.report.latency_us.p99)), 0),
        cell(of(|sample| Some(sample.report.latency_us.max)), 0),
        cell(of(|sample| sample.memory_kib.map(|kib| kib as f64 / 1024.0)), 1),
    )
}

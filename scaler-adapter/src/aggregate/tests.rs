#![allow(clippy::unwrap_used)]

use std::ops::{Deref, DerefMut};

use super::*;

/// Where the tests' clock starts.
const START: Duration = Duration::from_secs(100_000);
const CADENCE: Cadence =
    Cadence { polling_interval: Duration::from_secs(30), idle_timeout: Duration::from_secs(300) };
const LONG: Duration = Duration::from_secs(3600);

fn at(seconds: f64) -> Duration {
    START + Duration::from_secs_f64(seconds)
}

fn origin(stream: u32) -> Origin {
    Origin { stream, ..Origin::default() }
}

/// A function of which one interceptor reports.
#[derive(Default)]
struct One {
    function: Function,
    cell: Cell,
}

impl Deref for One {
    type Target = Function;

    fn deref(&self) -> &Function {
        &self.function
    }
}

impl DerefMut for One {
    fn deref_mut(&mut self) -> &mut Function {
        &mut self.function
    }
}

impl One {
    fn apply(&mut self, origin: Origin, report: &Report, now: Duration) -> u64 {
        self.function.apply(&mut self.cell, origin, report, now)
    }
}

fn total(total: u64, base: Option<u64>) -> Report {
    Report { total, base, ..Report::default() }
}

/// Stream, total, base; and how much that adds.
type Reading = (u32, u64, Option<u64>, u64);

#[test]
fn only_what_is_new_is_added() {
    let table: &[(&str, &[Reading])] = &[
        ("a snapshot alone says nothing new", &[(1, 50, None, 0)]),
        ("then differences count", &[(1, 50, None, 0), (1, 53, Some(50), 3)]),
        ("a known total needs no base", &[(1, 50, None, 0), (1, 53, Some(0), 3)]),
        ("a repeated report counts once", &[(1, 3, Some(0), 3), (1, 3, Some(0), 0)]),
        ("not in the snapshot: the base counts", &[(1, 12, Some(10), 2)]),
        ("a new stream tells of the gap", &[(1, 5, Some(0), 5), (2, 9, None, 4)]),
        ("a counter that went back", &[(1, 5, Some(0), 5), (1, 2, Some(0), 2)]),
        ("a counter that went back in a gap", &[(1, 5, Some(0), 5), (2, 2, None, 2)]),
    ];
    for (name, reports) in table {
        let mut function = One::default();
        for &(stream, count, base, expected) in *reports {
            let added = function.apply(origin(stream), &total(count, base), at(0.0));
            assert_eq!(added, expected, "{name}");
        }
    }
}

#[test]
fn all_requests_of_a_restarted_interceptor_are_new() {
    let restarted = Origin { is_restarted: true, ..origin(2) };
    assert_eq!(One::default().apply(restarted, &total(2, None), at(0.0)), 2);
}

#[test]
fn active_while_anything_is_open_or_recent() {
    let minute = Duration::from_secs(60);
    // (in flight, held, idle, active)
    for (in_flight, held, idle, active) in [
        (0, 0, 0, true),
        (0, 0, 30, true),
        (0, 0, 33, true),
        (0, 0, 34, false),
        (0, 0, 299, false),
        (1, 0, 4000, true),
        (0, 1, 4000, true),
    ] {
        let mut function = One::default();
        let idle = Duration::from_secs(idle);
        let told = Report { total: 9, in_flight, held, idle, ..Report::default() };
        function.apply(origin(1), &told, at(0.0));
        assert_eq!(function.is_active(CADENCE, at(0.0)), active, "{told:?}");
        assert_eq!(function.is_active(CADENCE, at(0.0) + minute), in_flight + held > 0, "{told:?}");
    }
}

#[test]
fn a_connected_keda_sees_the_idle_time_for_two_polls() {
    let mut function = One::default();
    let told = Report { total: 1, idle: Duration::from_secs(200), ..Report::default() };
    function.apply(origin(1), &told, at(0.0));
    assert!(!function.is_active(CADENCE, at(0.0)));
    function.keda_connected(CADENCE, at(0.0));
    assert!(function.is_active(CADENCE, at(30.0)));
    assert!(function.is_active(CADENCE, at(60.0)));
    assert!(!function.is_active(CADENCE, at(70.0)));
}

#[test]
fn a_first_poll_without_a_stream_counts_as_a_connection() {
    let mut function = One::default();
    let told = Report { total: 1, idle: Duration::from_secs(100), ..Report::default() };
    function.apply(origin(1), &told, at(0.0));
    function.keda_polled(CADENCE, false, at(0.0));
    assert!(function.is_active(CADENCE, at(0.0)));
    // Regular polls do not renew it.
    for poll in 1..4 {
        function.keda_polled(CADENCE, false, at(f64::from(poll) * 30.0));
    }
    assert!(!function.is_active(CADENCE, at(90.0)));
}

#[test]
fn a_steady_rate_reads_steady() {
    let mut function = One::default();
    for tenth in 1..=900_u32 {
        let now = at(f64::from(tenth) / 10.0);
        function.apply(origin(1), &total(u64::from(tenth) * 2, Some(0)), now);
        if tenth > 620 {
            let rate = function.rate(now, LONG);
            assert!((19.0..=21.0).contains(&rate), "{rate} at {tenth}");
        }
    }
}

#[test]
fn a_step_is_seen_within_ten_seconds_and_forgotten_after_a_minute() {
    let mut function = One::default();
    for second in 1..=10_u32 {
        function.apply(origin(1), &total(u64::from(second) * 50, Some(0)), at(f64::from(second)));
    }
    let rate = function.rate(at(10.0), LONG);
    assert!((45.0..=55.0).contains(&rate), "{rate}");
    let rate = function.rate(at(30.0), LONG);
    assert!((8.0..=9.0).contains(&rate), "{rate}");
    assert!(function.rate(at(71.0), LONG) < 1e-9);
}

#[test]
fn means_are_taken_over_what_was_covered() {
    let mut function = One::default();
    function.apply(origin(1), &total(40, Some(0)), at(2.0));
    assert!((function.rate(at(2.0), Duration::from_secs(2)) - 20.0).abs() < 0.01);
    assert!((function.rate(at(2.0), Duration::ZERO) - 40.0).abs() < 0.01);
    // What the last ten seconds show beyond chance.
    assert!((function.rate(at(2.0), LONG) - (4.0 - 2.0 * 0.4_f64.sqrt())).abs() < 0.01);
}

#[test]
fn the_requests_of_a_gap_are_spread_over_it() {
    let mut function = One::default();
    function.apply(origin(1), &total(100, None), at(0.0));
    let after_gap = Origin { heard: Some(at(0.0)), ..origin(2) };
    let added = function.apply(after_gap, &total(400, None), at(29.9));
    assert_eq!(added, 300);
    let rate = function.rate(at(29.9), LONG);
    assert!((7.5..=9.0).contains(&rate), "{rate}: ten each second, less what chance could be");
}

#[test]
fn an_idle_function_keeps_nothing() {
    let mut function = One::default();
    let busy = Report { total: 1, in_flight: 1, base: Some(0), ..Report::default() };
    function.apply(origin(1), &busy, at(0.0));
    function.compact(at(500.0));
    assert_eq!(function.load().in_flight, 1, "a running request is never dropped");
    assert!(!function.is_forgettable(at(10_000.0)));
    function.apply(origin(1), &total(1, Some(1)), at(500.0));
    function.compact(at(621.0));
    assert!(function.window.is_none());
    assert!(!function.is_forgettable(at(621.0)));
    assert!(function.is_forgettable(at(4101.0)));
    // The next report brings the base along, so nothing is counted twice or lost.
    assert_eq!(function.apply(origin(1), &total(4, Some(1)), at(5000.0)), 3);
}

#[test]
fn a_retired_interceptor_takes_its_counts_along() {
    let told = Report { total: 3, in_flight: 2, held: 1, waiting: 1, ..Report::default() };
    let mut function = Function::default();
    let (mut one, mut other) = (Cell::default(), Cell::default());
    function.apply(&mut one, origin(1), &told, at(0.0));
    function.apply(&mut other, origin(2), &told, at(0.0));
    assert_eq!(function.load(), Load { in_flight: 4, held: 2, waiting: 2 });
    function.retire(&one);
    assert_eq!(function.load(), Load { in_flight: 2, held: 1, waiting: 1 });
    function.retire(&other);
    assert_eq!(function.load(), Load::default());
}

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Where the tests' clock starts.
const START: Duration = Duration::from_secs(100_000);
const CADENCE: Cadence =
    Cadence { polling_interval: Duration::from_secs(30), idle_timeout: Duration::from_secs(300) };
const LONG: Duration = Duration::from_secs(3600);

fn at(seconds: f64) -> Duration {
    START + Duration::from_secs_f64(seconds)
}

fn origin(stream: u64, epoch: u64) -> Origin {
    Origin { interceptor: 1, epoch, stream, heard: None }
}

fn total(total: u64, base: Option<u64>) -> Report {
    Report { total, base, ..Report::default() }
}

/// Stream, epoch, total, base; and how much that adds.
type Reading = (u64, u64, u64, Option<u64>, u64);

#[test]
fn only_what_is_new_is_added() {
    let table: &[(&str, &[Reading])] = &[
        ("a snapshot alone says nothing new", &[(1, 7, 50, None, 0)]),
        ("then differences count", &[(1, 7, 50, None, 0), (1, 7, 53, Some(50), 3)]),
        ("a repeated report counts once", &[(1, 7, 3, Some(0), 3), (1, 7, 3, Some(0), 0)]),
        ("not in the snapshot: the base counts", &[(1, 7, 12, Some(10), 2)]),
        ("a new stream tells of the gap", &[(1, 7, 5, Some(0), 5), (2, 7, 9, None, 4)]),
        ("a new epoch starts at zero", &[(1, 7, 5, Some(0), 5), (2, 8, 2, None, 2)]),
        ("an old stream is not heard", &[(2, 7, 5, Some(0), 5), (1, 7, 9, Some(5), 0)]),
        ("a counter that went back", &[(1, 7, 5, Some(0), 5), (1, 7, 2, Some(0), 2)]),
    ];
    for (name, reports) in table {
        let mut function = Function::default();
        for &(stream, epoch, count, base, expected) in *reports {
            let added = function.apply(origin(stream, epoch), &total(count, base), at(0.0));
            assert_eq!(added, expected, "{name}");
        }
    }
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
        let mut function = Function::default();
        let idle = Duration::from_secs(idle);
        let told = Report { total: 9, in_flight, held, idle, ..Report::default() };
        function.apply(origin(1, 7), &told, at(0.0));
        assert_eq!(function.is_active(CADENCE, at(0.0)), active, "{told:?}");
        assert_eq!(function.is_active(CADENCE, at(0.0) + minute), in_flight + held > 0, "{told:?}");
    }
}

#[test]
fn a_connected_keda_sees_the_idle_time_for_two_polls() {
    let mut function = Function::default();
    let told = Report { total: 1, idle: Duration::from_secs(200), ..Report::default() };
    function.apply(origin(1, 7), &told, at(0.0));
    assert!(!function.is_active(CADENCE, at(0.0)));
    function.keda_connected(CADENCE, at(0.0));
    assert!(function.is_active(CADENCE, at(30.0)));
    assert!(function.is_active(CADENCE, at(60.0)));
    assert!(!function.is_active(CADENCE, at(70.0)));
}

#[test]
fn a_first_poll_without_a_stream_counts_as_a_connection() {
    let mut function = Function::default();
    let told = Report { total: 1, idle: Duration::from_secs(100), ..Report::default() };
    function.apply(origin(1, 7), &told, at(0.0));
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
    let mut function = Function::default();
    for tenth in 1..=900_u32 {
        let now = at(f64::from(tenth) / 10.0);
        function.apply(origin(1, 7), &total(u64::from(tenth) * 2, Some(0)), now);
        if tenth > 620 {
            let rate = function.rate(now, LONG);
            assert!((19.0..=21.0).contains(&rate), "{rate} at {tenth}");
        }
    }
}

#[test]
fn a_step_is_seen_within_ten_seconds_and_forgotten_after_a_minute() {
    let mut function = Function::default();
    for second in 1..=10_u32 {
        function.apply(
            origin(1, 7),
            &total(u64::from(second) * 50, Some(0)),
            at(f64::from(second)),
        );
    }
    let rate = function.rate(at(10.0), LONG);
    assert!((45.0..=55.0).contains(&rate), "{rate}");
    let rate = function.rate(at(30.0), LONG);
    assert!((8.0..=9.0).contains(&rate), "{rate}");
    assert!(function.rate(at(71.0), LONG) < 1e-9);
}

#[test]
fn means_are_taken_over_what_was_covered() {
    let mut function = Function::default();
    function.apply(origin(1, 7), &total(40, Some(0)), at(2.0));
    assert!((function.rate(at(2.0), Duration::from_secs(2)) - 20.0).abs() < 0.01);
    assert!((function.rate(at(2.0), Duration::ZERO) - 40.0).abs() < 0.01);
    assert!((function.rate(at(2.0), LONG) - 4.0).abs() < 0.01);
}

#[test]
fn the_requests_of_a_gap_are_spread_over_it() {
    let mut function = Function::default();
    function.apply(origin(1, 7), &total(100, None), at(0.0));
    let after_gap = Origin { heard: Some(at(0.0)), ..origin(2, 7) };
    let added = function.apply(after_gap, &total(400, None), at(29.9));
    assert_eq!(added, 300);
    let rate = function.rate(at(29.9), LONG);
    assert!((9.0..=11.0).contains(&rate), "{rate}");
}

#[test]
fn an_idle_function_keeps_nothing() {
    let mut function = Function::default();
    let busy = Report { total: 1, in_flight: 1, base: Some(0), ..Report::default() };
    function.apply(origin(1, 7), &busy, at(0.0));
    function.compact(at(500.0));
    assert_eq!(function.load().in_flight, 1, "a running request is never dropped");
    assert!(!function.is_forgettable(at(10_000.0)));
    function.apply(origin(1, 7), &total(1, Some(1)), at(500.0));
    function.compact(at(621.0));
    assert!(function.window.is_none());
    assert_eq!(function.cells.capacity(), 0);
    assert!(!function.is_forgettable(at(621.0)));
    assert!(function.is_forgettable(at(4101.0)));
    // The next report brings the base along, so nothing is counted twice or lost.
    assert_eq!(function.apply(origin(1, 7), &total(4, Some(1)), at(5000.0)), 3);
}

#[test]
fn a_retired_interceptor_takes_its_counts_along() {
    let told = Report { total: 3, in_flight: 2, held: 1, waiting: 1, ..Report::default() };
    let mut function = Function::default();
    function.apply(origin(1, 7), &told, at(0.0));
    function.apply(Origin { interceptor: 2, ..origin(2, 9) }, &told, at(0.0));
    assert_eq!(function.load(), Load { in_flight: 4, held: 2, waiting: 2 });
    function.retire(1, Some(1));
    assert_eq!(function.load().in_flight, 4, "reported on this very stream");
    function.retire(1, Some(3));
    assert_eq!(function.load(), Load { in_flight: 2, held: 1, waiting: 1 });
    function.retire(2, None);
    assert_eq!(function.load(), Load::default());
}

/// What may happen between an interceptor and the adapter.
#[derive(Clone, Debug)]
enum Event {
    Accept { interceptor: usize, count: u32 },
    Finish { interceptor: usize },
    Report { interceptor: usize },
    Repeat { interceptor: usize },
    Late { interceptor: usize },
    Reconnect { interceptor: usize },
    Restart { interceptor: usize },
    Forget { interceptor: usize },
    Compact,
    Wait { seconds: u32 },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let interceptor = 0..3_usize;
    let event = prop_oneof![
        4 => (interceptor.clone(), 1..20_u32)
            .prop_map(|(interceptor, count)| Event::Accept { interceptor, count }),
        2 => interceptor.clone().prop_map(|interceptor| Event::Finish { interceptor }),
        4 => interceptor.clone().prop_map(|interceptor| Event::Report { interceptor }),
        1 => interceptor.clone().prop_map(|interceptor| Event::Repeat { interceptor }),
        1 => interceptor.clone().prop_map(|interceptor| Event::Late { interceptor }),
        1 => interceptor.clone().prop_map(|interceptor| Event::Reconnect { interceptor }),
        1 => interceptor.clone().prop_map(|interceptor| Event::Restart { interceptor }),
        1 => interceptor.prop_map(|interceptor| Event::Forget { interceptor }),
        1 => Just(Event::Compact),
        1 => (0..40_u32).prop_map(|seconds| Event::Wait { seconds }),
    ];
    prop::collection::vec(event, 1..120)
}

/// The truth about one interceptor, and what it has reported.
#[derive(Default)]
struct Truth {
    epoch: u64,
    stream: u64,
    total: u64,
    in_flight: u32,
    /// Reported on the present stream, or when it began.
    told: u64,
    told_in_flight: u32,
    /// The adapter has a cell of it.
    known: bool,
    last: Option<(Origin, Report)>,
}

#[derive(Default)]
struct Fleet {
    function: Function,
    interceptors: [Truth; 3],
    streams: u64,
    now: Duration,
    expected: u64,
    counted: u64,
}

impl Fleet {
    fn tell(&mut self, index: usize, is_snapshot: bool) {
        let truth = &mut self.interceptors[index];
        let id = u32::try_from(index).unwrap();
        let origin =
            Origin { interceptor: id, epoch: truth.epoch, stream: truth.stream, heard: None };
        let told = Report {
            total: truth.total,
            in_flight: truth.in_flight,
            base: (!is_snapshot).then_some(truth.told),
            ..Report::default()
        };
        if !is_snapshot || truth.known {
            self.expected += truth.total - truth.told;
        }
        (truth.told, truth.told_in_flight, truth.known) = (truth.total, truth.in_flight, true);
        truth.last = Some((origin, told));
        self.counted += self.function.apply(origin, &told, self.now);
    }

    fn step(&mut self, event: &Event) {
        match *event {
            Event::Accept { interceptor, count } => {
                let truth = &mut self.interceptors[interceptor];
                truth.total += u64::from(count);
                truth.in_flight += count;
            }
            Event::Finish { interceptor } => {
                let in_flight = &mut self.interceptors[interceptor].in_flight;
                *in_flight = in_flight.saturating_sub(3);
            }
            Event::Report { interceptor } => self.tell(interceptor, false),
            Event::Repeat { interceptor } => {
                let truth = &self.interceptors[interceptor];
                if let Some((origin, told)) = truth.last.filter(|_| truth.known) {
                    let added = self.function.apply(origin, &told, self.now);
                    self.counted += added;
                }
            }
            Event::Late { interceptor } => {
                // Said by an older stream, heard only now. (With no cell to compare with, it is
                // the roster that turns it away.)
                let truth = &self.interceptors[interceptor];
                if let Some((origin, told)) = truth.last.filter(|_| truth.known) {
                    let late = Report { total: told.total + 5, ..told };
                    let Some(stream) = origin.stream.checked_sub(1) else {
                        return;
                    };
                    self.counted +=
                        self.function.apply(Origin { stream, ..origin }, &late, self.now);
                }
            }
            Event::Reconnect { interceptor } => {
                self.streams += 1;
                self.interceptors[interceptor].stream = self.streams;
                self.tell(interceptor, true);
            }
            Event::Restart { interceptor } => {
                self.streams += 1;
                let truth = &mut self.interceptors[interceptor];
                *truth = Truth {
                    epoch: truth.epoch + 1,
                    stream: self.streams,
                    known: truth.known,
                    ..Truth::default()
                };
                self.tell(interceptor, true);
            }
            Event::Forget { interceptor } => {
                self.function.retire(u32::try_from(interceptor).unwrap(), None);
                self.streams += 1;
                let truth = &mut self.interceptors[interceptor];
                (truth.known, truth.stream) = (false, self.streams);
                self.tell(interceptor, true);
            }
            Event::Compact => {
                self.function.compact(self.now);
                for (truth, id) in self.interceptors.iter_mut().zip(0..) {
                    truth.known = self.function.cells.iter().any(|cell| cell.interceptor == id);
                }
            }
            Event::Wait { seconds } => self.now += Duration::from_secs(u64::from(seconds)),
        }
    }
}

proptest! {
    /// Every request told is counted once, whatever is repeated, late, reconnected or restarted;
    /// what is open is always the sum of the latest words, and in the end nothing is left.
    #[test]
    fn requests_are_conserved(events in events()) {
        let mut fleet = Fleet { now: START, ..Fleet::default() };
        for index in 0..3 {
            fleet.streams += 1;
            fleet.interceptors[index].stream = fleet.streams;
            fleet.tell(index, true);
        }
        for event in &events {
            fleet.step(event);
            let open: u32 = fleet.interceptors.iter().map(|truth| truth.told_in_flight).sum();
            prop_assert_eq!(fleet.function.load().in_flight, u64::from(open), "after {:?}", event);
            prop_assert_eq!(fleet.counted, fleet.expected, "after {:?}", event);
            prop_assert!(open == 0 || fleet.function.is_active(CADENCE, fleet.now));
        }
        for interceptor in 0..3 {
            fleet.function.retire(interceptor, None);
        }
        fleet.function.compact(fleet.now + LONG * 2);
        prop_assert_eq!(fleet.function.load(), Load::default());
        prop_assert!(fleet.function.is_forgettable(fleet.now + LONG * 2));
    }
}

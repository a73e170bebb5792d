#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;

use super::*;
use crate::aggregate::{Cell, Function, Origin, Report};

const START: Duration = Duration::from_secs(100_000);
/// How often an interceptor reports a function whose counts change.
const REPORT: Duration = Duration::from_millis(200);
const HOUR: u32 = 3600;
/// Interceptors.
const FLEET: usize = 5;

fn requests(rate: f64, concurrency: u32) -> Settings {
    Settings::new(10, Target::Requests { rate, concurrency })
}

/// In requests per second, at five a replica.
fn held_value(burst: &Burst, now: Duration) -> f64 {
    burst.held_value(Target::Requests { rate: 5.0, concurrency: 0 }, now)
}

/// A function, what it is decided by, and the replicas it has.
struct Simulated {
    function: Function,
    /// What each interceptor has said, and its requests.
    cells: [(Cell, u64); FLEET],
    burst: Burst,
    now: Duration,
    replicas: u32,
    asks: u32,
}

impl Simulated {
    fn new(settings: Settings, replicas: u32) -> Self {
        Self {
            function: Function::default(),
            cells: [(Cell::default(), 0); FLEET],
            burst: Burst::new(settings),
            now: START,
            replicas,
            asks: 0,
        }
    }

    fn view(&self) -> View {
        View {
            recent: self.function.recent(self.now),
            load: self.function.load(),
            rate: self.function.rate(self.now, Duration::from_secs(3600)),
            events: 0,
        }
    }

    /// One report of the first interceptor, and what the asker makes of it.
    fn report(&mut self, requests: u64, open: u32) {
        self.now += REPORT;
        self.tell(0, requests, Report { in_flight: open, ..Report::default() });
        self.decide();
    }

    fn tell(&mut self, interceptor: usize, requests: u64, report: Report) {
        let (cell, known) = &mut self.cells[interceptor];
        let base = Some(*known);
        *known += requests;
        let origin = Origin { stream: 1, ..Origin::default() };
        let report = Report { total: *known, base, ..report };
        self.function.apply(cell, origin, &report, self.now);
    }

    fn decide(&mut self) {
        let view = self.view();
        if self.burst.is_calm(view.recent, view.load, 0) {
            return;
        }
        if self.burst.step(&view, self.now) != Step::Look {
            return;
        }
        self.burst.looks(self.now);
        let scale = Scale { wanted: self.replicas, pods: self.replicas };
        if let Verdict::Ask(replicas) = self.burst.saw(scale, &view, self.now) {
            assert!(replicas > self.replicas, "an ask is for more");
            self.burst.asks(replicas, self.now);
            self.burst.asked(Answer::Given, self.now);
            self.replicas = replicas;
            self.asks += 1;
        }
    }

    /// A fleet for which the function is a slow one: each interceptor reports its share once a second, and
    /// all of them in the same moment.
    fn shared_seconds(&mut self, seconds: u32, mut share: impl FnMut() -> u64) {
        let over = REPORT * 4;
        for _ in 0..seconds {
            self.now += REPORT * 5;
            for interceptor in 0..FLEET {
                self.tell(interceptor, share(), Report { over, ..Report::default() });
            }
            self.decide();
        }
    }

    fn seconds(&mut self, seconds: u32, mut requests: impl FnMut() -> u64) {
        for _ in 0..seconds * 5 {
            self.report(requests(), 0);
        }
    }
}

/// How many come in one interval of a Poisson process; normal where there are many.
fn poisson(random: &mut fastrand::Rng, mean: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    if mean > 30.0 {
        let normal = (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (TAU * random.f64()).cos();
        return (mean + mean.sqrt() * normal).round().max(0.0) as u64;
    }
    let (limit, mut product, mut count) = ((-mean).exp(), random.f64(), 0);
    while product > limit {
        product *= random.f64();
        count += 1;
    }
    count
}

#[test]
fn chance_asks_for_nothing() {
    let table: [(f64, f64); 7] = [
        (0.5, 5.0),
        (5.0, 5.0),
        (20.0, 5.0),
        (50.0, 5.0),
        (3.0, 0.3),
        (400.0, 40.0),
        (4000.0, 500.0),
    ];
    for (rate, target) in table {
        let mut random = fastrand::Rng::with_seed(rate.to_bits() ^ 7);
        // As many as there should be, and not one more: at the very edge.
        let mut simulated = Simulated::new(requests(target, 0), whole(rate / target));
        simulated.seconds(6 * HOUR, || poisson(&mut random, rate / 5.0));
        assert_eq!(simulated.asks, 0, "{rate} requests/s over {target} per replica");
    }
}

#[test]
fn a_crowd_that_is_gone_asks_for_nothing() {
    for (first, second) in [(30, 0), (15, 15), (29, 1), (60, 40)] {
        let mut simulated = Simulated::new(requests(5.0, 0), 1);
        simulated.report(first, 0);
        simulated.report(second, 0);
        simulated.seconds(10, || 0);
        assert_eq!(simulated.asks, 0, "{first} and {second}");
    }
}

#[test]
fn a_step_has_its_replicas_within_two_seconds() {
    for (rate, least) in [(25_u32, 2), (50, 5), (100, 10), (1000, 10)] {
        let mut simulated = Simulated::new(requests(5.0, 0), 1);
        simulated.seconds(2, || u64::from(rate) / 5);
        assert!(simulated.replicas >= least, "{rate}/s: {} replicas", simulated.replicas);
        assert!(simulated.replicas <= rate / 5, "{rate}/s: {} replicas", simulated.replicas);
        let asked = simulated.asks;
        simulated.seconds(60, || u64::from(rate) / 5);
        assert!(simulated.asks <= asked + 2, "{rate}/s: {} asks", simulated.asks);
    }
}

/// Twenty requests a second for each interceptor: it tells them once a second.
#[test]
fn a_step_that_a_fleet_shares_is_one_too() {
    let mut random = fastrand::Rng::with_seed(17);
    let mut simulated = Simulated::new(requests(5.0, 0), 4);
    simulated.shared_seconds(6 * HOUR, || poisson(&mut random, 4.0));
    assert_eq!(simulated.asks, 0, "20 requests/s are what four are there for");
    simulated.shared_seconds(3, || 20);
    assert_eq!(simulated.replicas, 10, "after {} asks", simulated.asks);
}

#[test]
fn a_full_function_gets_replicas_when_it_stays_full() {
    let mut simulated = Simulated::new(requests(1000.0, 10), 1);
    simulated.report(40, 40);
    simulated.report(0, 0);
    simulated.seconds(5, || 0);
    assert_eq!(simulated.asks, 0, "40 that were answered at once");
    for _ in 0..4 {
        simulated.report(0, 40);
    }
    assert_eq!(simulated.replicas, 6, "40 over 7 each");
}

#[test]
fn what_waits_unchanged_is_thought_about_again() {
    let mut burst = Burst::new(requests(1000.0, 10));
    let load = Load { in_flight: 40, held: 0, waiting: 0 };
    let view = View { load, ..View::default() };
    let Step::Wait(wait) = burst.step(&view, START) else { panic!("nobody comes back") };
    assert_eq!(wait, PATIENCE);
    assert_eq!(burst.step(&view, START + wait), Step::Look);
}

#[test]
fn what_was_asked_for_is_told_to_the_hpa() {
    let mut burst = Burst::new(requests(5.0, 0));
    assert_eq!(held_value(&burst, START).to_bits(), 0.0_f64.to_bits());
    burst.asks(8, START);
    burst.asked(Answer::Given, START);
    for (seconds, replicas) in [(0, 8), (29, 8), (30, 0)] {
        let value = held_value(&burst, START + Duration::from_secs(seconds));
        assert_eq!(whole(value / 5.0), replicas, "after {seconds} s: {value}");
    }
    // The limit was lowered meanwhile.
    burst.set(Settings { max_replicas: 3, ..requests(5.0, 0) });
    assert_eq!(whole(held_value(&burst, START) / 5.0), 3);
    // Somebody refused more: what was given before stays.
    burst.set(requests(5.0, 0));
    burst.asks(10, START);
    assert_eq!(whole(held_value(&burst, START) / 5.0), 10);
    burst.asked(Answer::Refused, START);
    assert_eq!(whole(held_value(&burst, START) / 5.0), 8);
}

#[test]
fn what_may_have_been_written_is_held_and_looked_at() {
    let mut burst = Burst::new(requests(5.0, 0));
    burst.looks(START);
    burst.asks(8, START);
    burst.asked(Answer::Unknown, START);
    assert_eq!(whole(held_value(&burst, START) / 5.0), 8);
    assert_eq!(burst.step(&View::default(), START), Step::Wait(LOOK_INTERVAL));
    assert_eq!(burst.step(&View::default(), START + LOOK_INTERVAL), Step::Look);
    let looked = |wanted| {
        let mut burst = burst.clone();
        burst.saw(Scale { wanted, pods: wanted }, &View::default(), START + LOOK_INTERVAL);
        whole(held_value(&burst, START + LOOK_INTERVAL) / 5.0)
    };
    assert_eq!((looked(8), looked(1)), (8, 0), "it was written, or not");
}

#[test]
fn who_races_again_and_again_waits_as_all_do() {
    let mut burst = Burst::new(requests(5.0, 0));
    let load = Load { in_flight: 100, held: 0, waiting: 0 };
    let view = View { load, ..View::default() };
    let mut race = |at| {
        burst.looks(at);
        burst.saw(Scale { wanted: 1, pods: 1 }, &view, at);
        burst.asks(8, at);
        burst.asked(Answer::Raced, at);
        burst.looked
    };
    assert_eq!((race(START), race(START + LOOK_INTERVAL)), (None, Some(START + LOOK_INTERVAL)));
}

#[test]
fn replicas_that_were_read_decide() {
    let load = Load { in_flight: 100, held: 0, waiting: 0 };
    let view = View { load, ..View::default() };
    let late = START + PATIENCE + STUCK;
    let check = |wanted, pods, expected| {
        let mut burst = Burst::new(requests(1000.0, 10));
        burst.step(&view, START);
        burst.saw(Scale { wanted, pods }, &view, START + PATIENCE);
        let verdict = burst.saw(Scale { wanted, pods }, &view, late);
        assert_eq!(verdict, expected, "{pods} of {wanted}");
    };
    check(0, 0, Verdict::Asleep);
    check(1, 1, Verdict::Ask(10));
    check(8, 8, Verdict::Ask(10));
    check(9, 9, Verdict::Enough);
    check(30, 30, Verdict::Enough);
    check(4, 5, Verdict::Changing);
    check(4, 3, Verdict::Stuck);
}

#[test]
fn pods_that_come_one_by_one_are_not_stuck() {
    let load = Load { in_flight: 100, held: 0, waiting: 0 };
    let view = View { load, ..View::default() };
    let mut burst = Burst::new(requests(1000.0, 10));
    burst.step(&view, START);
    let mut now = START + PATIENCE;
    let mut check = |after: Duration, pods: u32, expected: Verdict| {
        now += after;
        let verdict = burst.saw(Scale { wanted: 8, pods }, &view, now);
        assert_eq!(verdict, expected, "{pods} pods");
    };
    let part = STUCK * 2 / 3;
    for pods in 1..=7 {
        check(part, pods, Verdict::Ask(10));
    }
    check(part, 7, Verdict::Ask(10));
    check(part, 7, Verdict::Stuck);
    check(STUCK * 3, 7, Verdict::Stuck);
    check(FORGOTTEN, 7, Verdict::Ask(10));
}

#[test]
fn an_ask_is_looked_at_once_more() {
    let mut simulated = Simulated::new(requests(5.0, 0), 1);
    simulated.seconds(1, || 20);
    assert_eq!(simulated.replicas, 10);
    // KEDA wrote its one over it.
    simulated.replicas = 1;
    simulated.seconds(2, || 20);
    assert_eq!(simulated.replicas, 10);
}

#[test]
fn events_ask_when_they_stay() {
    let mut burst = Burst::new(Settings::new(10, Target::Backlog(25.0)));
    let view = |events| View { events, ..View::default() };
    assert!(!burst.is_calm(Recent::default(), Load::default(), 100));
    assert!(burst.is_calm(Recent::default(), Load::default(), 25));
    assert_eq!(burst.step(&view(100), START), Step::Wait(PATIENCE));
    let later = START + PATIENCE;
    assert_eq!(burst.step(&view(100), later), Step::Look);
    let scale = Scale { wanted: 1, pods: 1 };
    assert_eq!(burst.saw(scale, &view(100), later), Verdict::Ask(4));
}

#[test]
fn requests_and_events_of_one_function_ask_for_the_larger() {
    let mut burst = Burst::new(requests(5.0, 8));
    burst.set(Settings::new(10, Target::Backlog(25.0)));
    let view = |in_flight, events| View {
        load: Load { in_flight, ..Load::default() },
        events,
        ..View::default()
    };
    for (view, replicas) in [(view(11, 0), 2), (view(0, 100), 4), (view(11, 100), 4)] {
        assert_eq!(burst.by_waiting(&view), replicas, "{view:?}");
    }
    // Each metric holds what was asked for in its own unit.
    burst.asks(4, START);
    burst.asked(Answer::Given, START);
    assert_eq!(whole(held_value(&burst, START) / 5.0), 4);
    assert_eq!(whole(burst.held_value(Target::Backlog(25.0), START) / 25.0), 4);
}

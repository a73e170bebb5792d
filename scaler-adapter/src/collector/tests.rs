#![allow(clippy::unwrap_used)]

use kipper_counts::MAX_NUMBER;
use prometheus::Registry;
use proptest::prelude::*;

use super::*;
use crate::{aggregate::Load, clock::Clock, functions::FunctionKey};

const FUNCTIONS: usize = 3;
const INTERCEPTORS: usize = 3;

fn functions(limit: usize) -> Arc<Functions> {
    Functions::new(limit, Clock::start(), Metrics::register(&Registry::new()).unwrap())
}

fn key(function: usize) -> FunctionKey {
    FunctionKey::new("shop-prod", format!("fn-{function}"))
}

fn named(function: usize, number: u32) -> FunctionCounts {
    let key = key(function);
    let (namespace, name) = (key.namespace.to_string(), key.name.to_string());
    FunctionCounts { namespace, name, number, ..FunctionCounts::default() }
}

fn numbered(number: u32) -> FunctionCounts {
    FunctionCounts { number, ..FunctionCounts::default() }
}

fn load(functions: &Functions, function: usize) -> Load {
    functions.with(&key(function), |function, _, _| function.load()).unwrap_or_default()
}

/// Takes counts in as one report that is no snapshot.
fn hear(
    functions: &Functions,
    member: &Member,
    counts: FunctionCounts,
) -> Result<Option<u64>, ReportError> {
    let report = Report {
        total: counts.total,
        in_flight: counts.in_flight,
        base: Some(counts.base),
        ..Report::default()
    };
    member.while_current(|current| {
        let origin = current.origin();
        current.table.apply(functions, origin, counts, &report, functions.now())
    })?
}

/// What is said on one stream, and how that ends.
#[test]
fn a_number_is_one_functions() {
    type Said = Result<FunctionCounts, u32>;
    let table: &[(&str, &[Said], Result<(), ReportError>)] = &[
        ("named once", &[Ok(named(0, 1)), Ok(numbered(1)), Ok(numbered(1))], Ok(())),
        ("the same name again", &[Ok(named(0, 1)), Ok(named(0, 1))], Ok(())),
        ("never named", &[Ok(named(0, 1)), Ok(numbered(2))], Err(ReportError::UnknownNumber)),
        ("below a known one", &[Ok(named(0, 3)), Ok(numbered(2))], Err(ReportError::UnknownNumber)),
        ("another function", &[Ok(named(0, 1)), Ok(named(1, 1))], Err(ReportError::NumberTaken)),
        ("freed, then another function", &[Ok(named(0, 1)), Err(1), Ok(named(1, 1))], Ok(())),
        ("freed", &[Ok(named(0, 1)), Err(1), Ok(numbered(1))], Err(ReportError::UnknownNumber)),
        ("freed twice", &[Ok(named(0, 1)), Err(1), Err(1)], Err(ReportError::UnknownNumber)),
        ("freed out of the blue", &[Err(7)], Err(ReportError::UnknownNumber)),
        ("too high", &[Ok(named(0, MAX_NUMBER + 1))], Err(ReportError::BadNumber)),
        ("the highest", &[Ok(named(0, MAX_NUMBER)), Ok(numbered(MAX_NUMBER))], Ok(())),
        ("no function has zero", &[Err(0)], Err(ReportError::BadNumber)),
        ("without a number a name each time", &[Ok(named(0, 0)), Ok(named(0, 0))], Ok(())),
    ];
    for (what, said, expected) in table {
        let (functions, roster) = (functions(10), Roster::default());
        let member = roster.admit("i-1", 7).unwrap();
        let ended = said.iter().try_for_each(|said| match said {
            Ok(counts) => hear(&functions, &member, counts.clone()).map(drop),
            Err(number) => member.while_current(|current| current.free(&[*number]))?,
        });
        assert_eq!(ended, *expected, "{what}");
    }
}

#[test]
fn a_new_stream_names_its_functions_again() {
    let (functions, roster) = (functions(10), Roster::default());
    let member = roster.admit("i-1", 7).unwrap();
    hear(&functions, &member, named(0, 1)).unwrap();
    let member = roster.admit("i-1", 7).unwrap();
    assert_eq!(hear(&functions, &member, numbered(1)), Err(ReportError::UnknownNumber));
}

/// It was read just before the snapshot and is said after it.
#[test]
fn an_older_total_adds_nothing_and_is_not_counted_from() {
    let (functions, roster) = (functions(10), Roster::default());
    let member = roster.admit("i-1", 7).unwrap();
    let heard = |counts| hear(&functions, &member, counts).unwrap();
    assert_eq!(heard(FunctionCounts { total: 1_000_000, base: 1_000_000, ..named(0, 1) }), Some(0));
    assert_eq!(heard(FunctionCounts { total: 999_999, ..numbered(1) }), Some(0));
    assert_eq!(heard(FunctionCounts { total: 1_000_002, ..numbered(1) }), Some(2));
}

#[test]
fn a_refused_function_stays_refused_under_its_number_and_ends_nothing() {
    let (functions, roster) = (functions(1), Roster::default());
    let member = roster.admit("i-1", 7).unwrap();
    let heard = |counts| hear(&functions, &member, counts);
    assert_eq!(heard(FunctionCounts { total: 2, ..named(0, 1) }), Ok(Some(2)));
    assert_eq!(heard(named(1, 2)), Ok(None));
    assert_eq!(heard(numbered(2)), Ok(None));
    assert_eq!(heard(FunctionCounts { name: "n".repeat(1_000), ..named(1, 3) }), Ok(None));
    assert_eq!(heard(numbered(3)), Ok(None));
    assert_eq!(heard(FunctionCounts { total: 3, ..numbered(1) }), Ok(Some(1)));
}

/// What may happen between an interceptor and the adapter.
#[derive(Clone, Debug)]
enum Event {
    Accept { function: usize, count: u32 },
    Finish { function: usize },
    Report { function: usize },
    Repeat { function: usize },
    Late { function: usize },
    Free { function: usize },
    Reconnect,
    Restart,
    Forget,
    Sweep,
}

fn events() -> impl Strategy<Value = Vec<(usize, Event)>> {
    let function = 0..FUNCTIONS;
    let event = prop_oneof![
        4 => (function.clone(), 1..20_u32)
            .prop_map(|(function, count)| Event::Accept { function, count }),
        2 => function.clone().prop_map(|function| Event::Finish { function }),
        4 => function.clone().prop_map(|function| Event::Report { function }),
        1 => function.clone().prop_map(|function| Event::Repeat { function }),
        1 => function.clone().prop_map(|function| Event::Late { function }),
        2 => function.prop_map(|function| Event::Free { function }),
        1 => Just(Event::Reconnect),
        1 => Just(Event::Restart),
        1 => Just(Event::Forget),
        1 => Just(Event::Sweep),
    ];
    prop::collection::vec((0..INTERCEPTORS, event), 1..120)
}

/// The truth about one function at one interceptor, and what was reported of it.
#[derive(Clone, Copy, Default)]
struct Truth {
    total: u64,
    in_flight: u32,
    told: u64,
    told_in_flight: u32,
    /// Named on the present stream.
    is_named: bool,
    /// The adapter has a cell of this process.
    is_known: bool,
}

struct Interceptor {
    name: String,
    epoch: u64,
    /// Reports by number, as opposed to one of the release before.
    has_numbers: bool,
    member: Member,
    former: Option<Member>,
    truth: [Truth; FUNCTIONS],
}

struct Fleet {
    functions: Arc<Functions>,
    roster: Roster,
    interceptors: Vec<Interceptor>,
    expected: u64,
    counted: u64,
}

impl Fleet {
    fn new() -> Self {
        let roster = Roster::default();
        let interceptors = (0..INTERCEPTORS).map(|index| {
            let name = format!("i-{index}");
            let member = roster.admit(&name, 1).unwrap();
            let has_numbers = index > 0;
            let truth = [Truth::default(); FUNCTIONS];
            Interceptor { name, epoch: 1, has_numbers, member, former: None, truth }
        });
        let interceptors = interceptors.collect();
        Self { functions: functions(FUNCTIONS), roster, interceptors, expected: 0, counted: 0 }
    }

    fn tell(&mut self, index: usize, function: usize) {
        let interceptor = &mut self.interceptors[index];
        let truth = &mut interceptor.truth[function];
        let number = u32::try_from(function + 1).unwrap();
        let counts = match (interceptor.has_numbers, truth.is_named) {
            (false, _) => FunctionCounts { base: truth.told, ..named(function, 0) },
            (true, false) => FunctionCounts { base: truth.told, ..named(function, number) },
            (true, true) => numbered(number),
        };
        self.expected += truth.total - truth.told;
        let Truth { total, in_flight, .. } = *truth;
        *truth = Truth {
            told: total,
            told_in_flight: in_flight,
            is_named: true,
            is_known: true,
            ..*truth
        };
        let counts = FunctionCounts { total, in_flight, ..counts };
        let heard = hear(&self.functions, &interceptor.member, counts);
        self.counted += heard.unwrap().unwrap();
    }

    /// A new stream with its snapshot, which leaves out what has had no request.
    fn connect(&mut self, index: usize, is_restarted: bool) {
        let functions = Arc::clone(&self.functions);
        let interceptor = &mut self.interceptors[index];
        let member = self.roster.admit(&interceptor.name, interceptor.epoch).unwrap();
        interceptor.former = Some(std::mem::replace(&mut interceptor.member, member));
        let now = functions.now();
        for (function, truth) in interceptor.truth.iter_mut().enumerate() {
            if truth.total == 0 {
                truth.is_known = false;
                continue;
            }
            self.expected += match (is_restarted, truth.is_known) {
                (true, _) => truth.total,
                (false, true) => truth.total - truth.told,
                (false, false) => 0,
            };
            let number = u32::try_from(function + 1).unwrap();
            let counts = named(function, if interceptor.has_numbers { number } else { 0 });
            let Truth { total, in_flight, .. } = *truth;
            let report = Report { total, in_flight, ..Report::default() };
            let added = interceptor.member.while_current(|current| {
                let origin = current.origin();
                current.table.apply(&functions, origin, counts, &report, now).unwrap().unwrap()
            });
            self.counted += added.unwrap();
            (truth.told, truth.told_in_flight) = (total, in_flight);
            (truth.is_named, truth.is_known) = (true, true);
        }
        interceptor.member.while_current(|current| current.heard(now, true)).unwrap();
    }

    fn step(&mut self, index: usize, event: &Event) {
        let interceptor = &mut self.interceptors[index];
        match *event {
            Event::Accept { function, count } => {
                let truth = &mut interceptor.truth[function];
                truth.total += u64::from(count);
                truth.in_flight += count;
            }
            Event::Finish { function } => {
                let in_flight = &mut interceptor.truth[function].in_flight;
                *in_flight = in_flight.saturating_sub(3);
            }
            Event::Report { function } => self.tell(index, function),
            Event::Repeat { function } => {
                self.tell(index, function);
                self.tell(index, function);
            }
            Event::Late { function } => {
                if let Some(former) = &interceptor.former {
                    let heard = hear(&self.functions, former, named(function, 1));
                    assert_eq!(heard, Err(ReportError::Superseded));
                }
            }
            Event::Free { function } => {
                let truth = &mut interceptor.truth[function];
                if interceptor.has_numbers && truth.is_named && truth.told_in_flight == 0 {
                    let number = u32::try_from(function + 1).unwrap();
                    let freed = interceptor.member.while_current(|current| current.free(&[number]));
                    freed.unwrap().unwrap();
                    (truth.is_named, truth.is_known) = (false, false);
                }
            }
            Event::Reconnect => {
                interceptor.truth.iter_mut().for_each(|truth| truth.is_named = false);
                self.connect(index, false);
            }
            Event::Restart => {
                interceptor.epoch += 1;
                // Some were asked for already when the new process connects.
                let truth = Truth { total: 2, in_flight: 1, ..Truth::default() };
                interceptor.truth = [truth, Truth::default(), Truth::default()];
                self.connect(index, true);
            }
            Event::Forget => {
                assert!(self.roster.remove(&interceptor.member));
                for truth in &mut interceptor.truth {
                    (truth.is_named, truth.is_known) = (false, false);
                }
                self.connect(index, false);
            }
            Event::Sweep => self.functions.sweep(),
        }
    }
}

proptest! {
    /// Every request told is counted once, whatever is repeated, late, freed, reconnected or
    /// restarted; what is open is always the sum of the latest words, and in the end nothing is left.
    #[test]
    fn requests_are_conserved(events in events()) {
        let mut fleet = Fleet::new();
        for (index, event) in &events {
            fleet.step(*index, event);
            for function in 0..FUNCTIONS {
                let told = fleet.interceptors.iter().map(|it| it.truth[function].told_in_flight);
                let open = told.map(u64::from).sum::<u64>();
                let load = load(&fleet.functions, function);
                prop_assert_eq!(load.in_flight, open, "after {:?}", event);
            }
            prop_assert_eq!(fleet.counted, fleet.expected, "after {:?}", event);
        }
        for interceptor in &fleet.interceptors {
            prop_assert!(fleet.roster.remove(&interceptor.member));
        }
        for function in 0..FUNCTIONS {
            prop_assert_eq!(load(&fleet.functions, function), Load::default());
        }
    }
}

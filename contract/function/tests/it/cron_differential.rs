//! The cron rule against the code that CronJobs run: the same schedules accepted, the same firings.

use kipper_function::{Timestamp, cron::Schedule};
use serde_json::{Value, json};

use crate::go;

/// Schedules that are generated; the same ones in every run.
const GENERATED: usize = 6000;
/// Instants per schedule, and firings after each of them.
const INSTANTS: usize = 3;
const FIRINGS: usize = 5;

/// Schedules that are generated for each time zone.
const GENERATED_PER_ZONE: usize = 1200;
/// Time zones whose clocks change twice a year, or never. None changes them at midnight: where they
/// do, robfig/cron loses or moves the day, and nothing here does.
const ZONES: [&str; 6] = [
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Sydney",
    "Asia/Kolkata",
    "Etc/UTC",
];
/// Days of the year about which these zones change their clocks.
const CHANGES: [u64; 6] = [66, 83, 90, 273, 297, 304];

/// What a field of a schedule may be made of, right and wrong.
const PIECES: [&str; 56] = [
    "*",
    "?",
    "*/1",
    "*/2",
    "*/7",
    "*/60",
    "*/99",
    "0",
    "1",
    "2",
    "5",
    "6",
    "7",
    "12",
    "13",
    "23",
    "24",
    "29",
    "30",
    "31",
    "32",
    "59",
    "60",
    "1-5",
    "5-1",
    "0-0",
    "28-31",
    "10-20/3",
    "3/10",
    "0,30",
    "1,15",
    "jan",
    "DEC",
    "feb",
    "mon",
    "sun",
    "SAT",
    "FRI-sat",
    "mon-fri",
    "MoN/2",
    "+3",
    "-0",
    "007",
    "1-2-3",
    "1/2/3",
    "*/0",
    "*-3",
    "/",
    "-",
    ",",
    "*,5",
    "1/-0",
    "1/+2",
    "x",
    "5/9999999999999999999",
    "1-",
];
/// Durations after `@every`, right and wrong.
const DURATIONS: [&str; 34] = [
    "1h",
    "90m",
    "1.5h",
    "-3s",
    "0",
    "+0",
    "",
    "5",
    "5d",
    "1h1h",
    "100ms",
    ".5s",
    "5.s",
    "1.7s",
    ".",
    "10µs",
    "10μs",
    "3000000us1ns",
    "9223372036s",
    "9223372037s",
    "2562047h47m16.854775807s",
    "2562047h47m16.854775808s",
    "-2562047h47m16.854775808s",
    "2562048h",
    "1 h",
    "1H",
    "0.999999999999999999999s",
    "1h30",
    "-",
    "++1s",
    "1e3s",
    " 5m",
    "5m ",
    "1h-1m",
];
/// Whole schedules that are special, or look so.
const WHOLE: [&str; 36] = [
    "",
    " ",
    "@yearly",
    "@annually",
    "@monthly",
    "@weekly",
    "@daily",
    "@midnight",
    "@hourly",
    "@Daily",
    "@daily ",
    " @daily",
    "@reboot",
    "@",
    "@every",
    "@every ",
    "@ every 5m",
    "TZ=UTC * * * * *",
    "CRON_TZ=UTC * * * * *",
    "TZ=UTC",
    "* * * * * TZ",
    "@every 5mTZ",
    " *  * * *\t* ",
    "*\t*\n* *\r*",
    "*\u{a0}* * * *",
    "*\u{2003}* * * *",
    "* * * *",
    "* * * * * *",
    "0 0 30 2 *",
    "0 0 29 2 *",
    "0 0 31 4,6,9,11 *",
    "0 0 */2 * 1",
    "0 0 1 * ?,3",
    "0 0 ?/1 * 5",
    "\u{1F600} * * * *",
    "1\u{661} * * * *",
];

/// SplitMix64: enough for choosing, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// Mostly plausible fields, so that many of the schedules are accepted.
fn generate(random: &mut Random) -> String {
    if random.below(6) == 0 {
        return noise(random);
    }
    let fields: Vec<String> = (0..5)
        .map(|_| {
            let plain = random.pick(&["*", "*", "1", "2", "*/3", "10", "1-5"]);
            let field = if random.below(3) == 0 { random.pick(&PIECES) } else { plain };
            match random.below(10) {
                0 => format!("{field},{}", random.pick(&PIECES)),
                _ => field.to_owned(),
            }
        })
        .collect();
    fields.join(" ")
}

/// Anything of the right alphabet.
fn noise(random: &mut Random) -> String {
    const ALPHABET: &[u8] = b"0123456789*/-,? @adhmsun.+";
    let len = random.below(14);
    let text: String =
        (0..len).map(|_| char::from(ALPHABET[random.below(ALPHABET.len())])).collect();
    match random.below(3) {
        0 => format!("@every {text}"),
        1 => text,
        _ => format!("{text} * * * *"),
    }
}

/// A moment of the next hundred years; every third one is the start of a minute.
fn instant(random: &mut Random, at: usize) -> i64 {
    let seconds = 1_600_000_000 + i64::try_from(random.next() % 3_200_000_000).unwrap();
    if at == 0 {
        return seconds / 60 * 60 * 1_000_000_000;
    }
    seconds * 1_000_000_000 + i64::try_from(random.next() % 1_000_000_000).unwrap()
}

/// A moment in the nine days about a change of the clocks.
fn near_change(random: &mut Random) -> i64 {
    let year = 2021 + random.next() % 60;
    let first: Timestamp = format!("{year}-01-01T00:00:00Z").parse().unwrap();
    let day = CHANGES[random.below(CHANGES.len())] + random.next() % 9;
    let second = day * 86_400 + random.next() % 86_400;
    (first.as_second() + i64::try_from(second).unwrap()) * 1_000_000_000
}

/// A schedule, its time zone, and the instants after which its firings are asked for.
struct Question {
    schedule: String,
    zone: Option<&'static str>,
    after: Vec<i64>,
}

/// Compares all answers; how many schedules were accepted.
fn compare(questions: &[Question]) -> usize {
    let mut input = Vec::new();
    for Question { schedule, zone, after } in questions {
        let zone = zone.unwrap_or_default();
        let line = json!({
            "schedule": schedule, "timeZone": zone, "after": after, "count": FIRINGS,
        });
        input.extend_from_slice(format!("{line}\n").as_bytes());
    }
    let output = String::from_utf8(go::ask("cron-differential", &input)).unwrap();
    assert_eq!(output.lines().count(), questions.len());
    let mut accepted = 0;
    for (Question { schedule, zone, after }, line) in questions.iter().zip(output.lines()) {
        let theirs: Value = serde_json::from_str(line).unwrap();
        let ours = Schedule::parse_in(schedule, *zone);
        assert_eq!(json!(ours.is_ok()), theirs["accepted"], "{schedule:?}: {ours:?}");
        let Ok(ours) = ours else { continue };
        accepted += 1;
        for (after, theirs) in after.iter().zip(theirs["firings"].as_array().unwrap()) {
            let at = Timestamp::from_nanosecond((*after).into()).unwrap();
            let firings: Vec<i64> = ours
                .upcoming(at, FIRINGS)
                .into_iter()
                .inspect(|firing| assert_eq!(firing.subsec_nanosecond(), 0))
                .map(|firing| firing.as_second())
                .collect();
            assert_eq!(json!(firings), *theirs, "{schedule:?} in {zone:?} after {at}");
        }
    }
    accepted
}

#[test]
fn cron_jobs_accept_and_fire_alike() {
    let mut random = Random(20_260_701);
    let mut schedules: Vec<String> = WHOLE.map(str::to_owned).into();
    schedules.extend(DURATIONS.map(|duration| format!("@every {duration}")));
    for piece in PIECES {
        for field in 0..5 {
            let mut fields = ["*"; 5];
            fields[field] = piece;
            schedules.push(fields.join(" "));
        }
    }
    schedules.extend((0..GENERATED).map(|_| generate(&mut random)));
    let question = |schedule| Question {
        schedule,
        zone: None,
        after: (0..INSTANTS).map(|at| instant(&mut random, at)).collect(),
    };
    let questions: Vec<_> = schedules.into_iter().map(question).collect();
    let accepted = compare(&questions);
    // A generator that makes only nonsense, or none, would prove little.
    let refused = questions.len() - accepted;
    assert!(accepted > 1500 && refused > 1500, "{accepted} accepted, {refused} refused");
}

#[test]
fn cron_jobs_fire_alike_in_time_zones() {
    let mut random = Random(20_260_329);
    let mut questions = Vec::new();
    for zone in ZONES {
        // Times about those at which clocks change, and anything else.
        let daily = ["0 2 * * *", "30 2 * * *", "*/20 1-3 * * *", "59 1,2,3 * * *", "0 * * * *"];
        let generated = (0..GENERATED_PER_ZONE).map(|_| generate(&mut random));
        let schedules: Vec<_> = daily.map(str::to_owned).into_iter().chain(generated).collect();
        questions.extend(schedules.into_iter().map(|schedule| Question {
            schedule,
            zone: Some(zone),
            after: (0..INSTANTS).map(|_| near_change(&mut random)).collect(),
        }));
    }
    let accepted = compare(&questions);
    assert!(accepted > 1500, "{accepted} accepted");
}

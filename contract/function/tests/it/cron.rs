//! What a CronJob accepts, when it fires, and how that reads in English.

use kipper_function::{
    Timestamp,
    cron::{CronError, Schedule},
};
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn accepts_what_kubernetes_accepts() {
    let accepted = [
        "* * * * *",
        "*/5 * * * *",
        "0 2 * * *",
        "0 9 * * 1",
        "0 9 * * mon-FRI",
        "0 0 1 JAN ?",
        "? ? ? ? ?",
        "5/15 * * * *",
        "0-30/10,45 * * * *",
        "+5 * * * *",
        "007 * * * *",
        "  0\t2 * *  * ",
        // Oddities of the parser CronJobs use.
        ", * * * *",
        "1,,2 * * * *",
        "*-9 * * * *",
        "*-a-b/2 * * * *",
        "*/9223372036854775807 * * * *",
        "@yearly",
        "@annually",
        "@monthly",
        "@weekly",
        "@daily",
        "@midnight",
        "@hourly",
        "@every 1h30m",
        "@every 1.5s",
        "@every .5h",
        "@every -5m",
        "@every 0",
        "@every 10µs",
        "@every 1h1h",
    ];
    for schedule in accepted {
        assert!(Schedule::parse(schedule).is_ok(), "{schedule:?}: {:?}", Schedule::parse(schedule));
    }
}

#[test]
fn refuses_what_kubernetes_refuses() {
    let refused = [
        "",
        " ",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 0 *",
        "* * * 13 *",
        "* * * * 7",
        "* * * * sunday",
        "mon * * * *",
        "5-1 * * * *",
        "1-2-3 * * * *",
        "1/2/3 * * * *",
        "*/0 * * * *",
        "*/-1 * * * *",
        "/5 * * * *",
        "5/ * * * *",
        "-5 * * * *",
        "1_0 * * * *",
        "9223372036854775808 * * * *",
        "L * * * *",
        "@reboot",
        "@Daily",
        "@daily ",
        " @daily",
        "@every",
        "@every ",
        "@every  5m",
        "@every 5",
        "@every 5d",
        "@every 5m ",
        "@every 1h 30m",
        "@every .",
        "@every 2562048h",
        "TZ=UTC 0 2 * * *",
        "CRON_TZ=Europe/Berlin 0 2 * * *",
    ];
    for schedule in refused {
        assert!(Schedule::parse(schedule).is_err(), "{schedule:?}");
    }
    assert_eq!(Schedule::parse("TZ=UTC * * * * *"), Err(CronError::TimeZone));
    assert_eq!(Schedule::parse("* * *"), Err(CronError::FieldCount(3)));
    let error = Schedule::parse("* 25 * * *").unwrap_err().to_string();
    assert_eq!(error, "hour: \"25\" is not within 0-23");
}

#[test]
fn fires_when_kubernetes_fires() {
    let cases = [
        // The firing after a firing is the next one, never the same.
        ("* * * * *", "2026-01-01T00:00:00Z", Some("2026-01-01T00:01:00Z")),
        ("* * * * *", "2026-01-01T00:00:59.999999999Z", Some("2026-01-01T00:01:00Z")),
        ("0 2 * * *", "2026-01-01T01:59:59.5Z", Some("2026-01-01T02:00:00Z")),
        ("0 2 * * *", "2026-01-01T02:00:00Z", Some("2026-01-02T02:00:00Z")),
        ("59 23 31 12 *", "2026-12-31T23:59:00Z", Some("2027-12-31T23:59:00Z")),
        ("0 9 * * 1", "2026-07-01T00:00:00Z", Some("2026-07-06T09:00:00Z")),
        ("0 0 * * sun", "2026-07-01T00:00:00Z", Some("2026-07-05T00:00:00Z")),
        // Either day field suffices when both are restricted: the 13th, or any Friday.
        ("0 0 13 * 5", "2026-07-11T00:00:00Z", Some("2026-07-13T00:00:00Z")),
        ("0 0 13 * 5", "2026-07-13T00:00:00Z", Some("2026-07-17T00:00:00Z")),
        // A star with a step is a restriction: odd days, or any Monday.
        ("0 0 */2 * 1", "2026-07-03T00:00:00Z", Some("2026-07-05T00:00:00Z")),
        ("0 0 */2 * 1", "2026-07-05T00:00:00Z", Some("2026-07-06T00:00:00Z")),
        // With step 1, or in a list, it stays a star, and both must match.
        ("0 0 */1 * 1", "2026-07-05T00:00:00Z", Some("2026-07-06T00:00:00Z")),
        ("0 0 1 * ?,3", "2026-07-02T00:00:00Z", Some("2026-08-01T00:00:00Z")),
        ("0 0 31 * *", "2026-01-31T00:00:00Z", Some("2026-03-31T00:00:00Z")),
        ("0 0 29 2 *", "2026-01-01T00:00:00Z", Some("2028-02-29T00:00:00Z")),
        // 2100 is no leap year: the next one is more than five years away.
        ("0 0 29 2 *", "2096-02-29T00:00:00Z", None),
        ("0 0 30 2 *", "2026-01-01T00:00:00Z", None),
        (", * * * *", "2026-01-01T00:00:00Z", None),
        ("* * * , *", "2026-01-01T00:00:00Z", None),
        ("20/20 * * * *", "2026-01-01T00:20:00Z", Some("2026-01-01T00:40:00Z")),
        ("@monthly", "2026-01-15T10:00:00Z", Some("2026-02-01T00:00:00Z")),
        ("@every 1h30m", "2026-01-01T00:00:00.7Z", Some("2026-01-01T01:30:00Z")),
        ("@every 100ms", "2026-01-01T00:00:00.7Z", Some("2026-01-01T00:00:01Z")),
        ("@every 2.9s", "2026-01-01T00:00:00Z", Some("2026-01-01T00:00:02Z")),
        ("* * * * *", "9999-12-30T22:00:00.999999999Z", None),
    ];
    for (schedule, after, expected) in cases {
        let next = Schedule::parse(schedule).unwrap().next(at(after));
        assert_eq!(next, expected.map(at), "{schedule} after {after}");
    }
}

/// The clocks of Berlin skip 02:00 to 03:00 on 29 March 2026 and show it twice on 25 October; those
/// of New York change at 02:00 on 8 March and 1 November.
#[test]
fn fires_by_the_clocks_of_its_time_zone() {
    let cases = [
        ("0 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", "2026-01-01T03:30:00Z"),
        ("0 9 * * *", "America/New_York", "2026-03-07T00:00:00Z", "2026-03-07T14:00:00Z"),
        ("0 9 * * *", "America/New_York", "2026-03-07T14:00:00Z", "2026-03-08T13:00:00Z"),
        // A time that is skipped does not fire; those around it do.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"),
        ("30 1-3 * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"),
        ("30 2 29 3 *", "Europe/Berlin", "2026-03-01T00:00:00Z", "2027-03-29T00:30:00Z"),
        // One that is shown twice fires twice.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"),
        ("15 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", "2026-10-25T01:15:00Z"),
        ("30 1 1 11 *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"),
        ("0 2 * * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"),
        // An interval has nothing to do with clocks.
        ("@every 1h", "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"),
    ];
    for (schedule, zone, after, expected) in cases {
        let next = Schedule::parse_in(schedule, Some(zone)).unwrap().next(at(after));
        assert_eq!(next, Some(at(expected)), "{schedule} in {zone} after {after}");
    }
    let never = Schedule::parse_in("0 0 30 2 *", Some("Europe/Berlin")).unwrap();
    assert_eq!(never.next(at("2026-01-01T00:00:00Z")), None);
    let berlin = Schedule::parse_in("0 2 * * *", Some("Europe/Berlin")).unwrap();
    assert_eq!(berlin.describe(), "Every day at 02:00 Europe/Berlin");
    let local = |time: &str| berlin.local(at(time)).strftime("%H:%M %Z").to_string();
    assert_eq!(local("2026-07-01T00:00:00Z"), "02:00 CEST");
    assert_eq!(local("2026-01-01T00:00:00Z"), "01:00 CET");
}

#[test]
fn a_time_zone_has_the_name_that_a_cron_job_takes() {
    for zone in ["UTC", "Etc/UTC", "Europe/Berlin", "US/Eastern", "Asia/Calcutta", "CET"] {
        assert_eq!(Schedule::check_zone(zone), Ok(()), "{zone}");
    }
    let cases = [
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("Europe/Berln", "did you mean Europe/Berlin?"),
        ("Berlin", "did you mean Europe/Berlin?"),
        ("New York", "did you mean America/New_York?"),
        ("+02:00", "it must be an IANA name such as Europe/Berlin"),
        ("", "it must be an IANA name such as Europe/Berlin"),
        ("../etc/passwd", "it must be an IANA name such as Europe/Berlin"),
    ];
    for (zone, expected) in cases {
        let error = Schedule::check_zone(zone).unwrap_err().to_string();
        assert_eq!(error, format!("unknown time zone {zone:?}; {expected}"));
    }
}

#[test]
fn what_never_fires_is_found_out() {
    let fires = |text: &str| Schedule::parse(text).unwrap().check_fires();
    for schedule in ["0 0 29 2 *", "0 0 30 2 1", "0 0 31 1,2 *", "@every 5000h"] {
        assert_eq!(fires(schedule), Ok(()), "{schedule}");
    }
    for schedule in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", ", * * * *"] {
        assert_eq!(fires(schedule), Err(CronError::Never), "{schedule}");
    }
}

#[test]
fn shows_the_next_five() {
    let next = Schedule::parse("0 9 * * 1").unwrap().upcoming(at("2026-07-01T00:00:00Z"), 5);
    let days = ["07-06", "07-13", "07-20", "07-27", "08-03"];
    assert_eq!(next, days.map(|day| at(&format!("2026-{day}T09:00:00Z"))));
    assert!(
        Schedule::parse("0 0 30 2 *").unwrap().upcoming(at("2026-07-01T00:00:00Z"), 5).is_empty()
    );
}

#[test]
fn reads_as_english() {
    let cases = [
        // The presets of the documentation.
        ("* * * * *", "Every minute"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("0 * * * *", "Every hour, on the hour"),
        ("0 0 * * *", "Every day at midnight UTC"),
        ("0 2 * * *", "Every day at 02:00 UTC"),
        ("0 9 * * 1", "Every Monday at 09:00 UTC"),
        // The rest.
        ("@daily", "Every day at midnight UTC"),
        ("@weekly", "Every Sunday at midnight UTC"),
        ("@monthly", "On day 1 of the month at midnight UTC"),
        ("@yearly", "On day 1 of the month at midnight UTC in January"),
        ("@every 1h", "Every hour"),
        ("@every 90m", "Every 1 hour and 30 minutes"),
        ("@every 25h1s", "Every 1 day, 1 hour and 1 second"),
        ("30 9,17 * * mon-fri", "Every Monday to Friday at 09:30 and 17:30 UTC"),
        ("15 * * * *", "Every hour, at minute 15"),
        ("0,30 * * * *", "Every 30 minutes"),
        ("0,20 * * * *", "Every hour, at minutes 0 and 20"),
        ("*/7 * * * *", "Every hour, at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56"),
        ("0 */6 * * *", "Every 6 hours"),
        ("5 */6 * * 6,0", "Every 6 hours, at minute 5 on Sunday and Saturday"),
        ("*/10 9-17 * * *", "Every 10 minutes of the hours 09 to 17 UTC"),
        ("* 3 * * *", "Every minute of the hours 03 UTC"),
        ("0 0 1,15 * *", "On days 1 and 15 of the month at midnight UTC"),
        ("0 0 13 * 5", "On day 13 of the month and every Friday at midnight UTC"),
        ("* * 1-31 * 5", "Every minute"),
        ("0 12 * jun-aug *", "Every day at 12:00 UTC in June to August"),
        (", * * * *", "Never"),
        ("0 0 , * *", "Never"),
    ];
    for (schedule, expected) in cases {
        assert_eq!(Schedule::parse(schedule).unwrap().describe(), expected, "{schedule}");
    }
}

proptest! {
    #[test]
    fn a_firing_is_the_first_one_after_any_earlier_moment(
        fields in (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)),
        start in 1_700_000_000i64..1_900_000_000,
    ) {
        let (minute, hour, day, month, weekday) = fields;
        let schedule = Schedule::parse(&format!("{minute} {hour} {day} {month} {weekday}")).unwrap();
        let start = Timestamp::from_second(start).unwrap();
        let next = schedule.next(start);
        if let Some(next) = next {
            prop_assert!(next > start);
            prop_assert_eq!(next.as_second() % 60, 0);
            // Nothing between: a firing found from later is never earlier than this one.
            let middle = Timestamp::from_second((start.as_second() + next.as_second()) / 2).unwrap();
            prop_assert_eq!(schedule.next(middle), Some(next));
        }
    }

    #[test]
    fn never_panics(text in ".{0,40}|[-0-9*/?,@a-z ]{0,30}") {
        if let Ok(schedule) = Schedule::parse(&text) {
            schedule.next(Timestamp::UNIX_EPOCH);
            prop_assert!(!schedule.describe().is_empty());
        }
    }
}

fn field(min: u8, max: u8) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (min..=max).prop_map(|value| value.to_string()),
        (min..=max, 1u8..20).prop_map(|(from, step)| format!("{from}/{step}")),
        (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
    ]
}

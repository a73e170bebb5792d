//! Schedules in English.
//!
//! The presets of the documentation read as they are printed there; everything else is put
//! together from a time, a day and a month part. A description never claims more than the fields
//! say: what has no short form is listed.

use super::{calendar::Calendar, field::Field};

/// Most clock times that are listed one by one.
const MAX_TIMES: usize = 6;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Describes `@every`.
pub(super) fn every(seconds: i64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, unit) in units {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            parts.push(if count == 1 && seconds == size {
                unit.to_owned()
            } else {
                plural(count, unit)
            });
        }
    }
    format!("Every {}", list(&parts))
}

/// Describes five fields, in the time zone of this name.
pub(super) fn calendar(calendar: &Calendar, zone: &str) -> String {
    let fields = [calendar.minute, calendar.hour, calendar.month];
    let days = Days::of(calendar);
    if fields.iter().any(|field| field.values().next().is_none()) || matches!(days, Days::Never) {
        return "Never".to_owned();
    }
    let months = months(calendar.month);
    let text = match time(calendar, zone) {
        Time::Repeated(text) => match days.phrase() {
            Some(days) => format!("{text} {days}"),
            None => text,
        },
        Time::Clock(text) => format!("{} at {text}", days.subject()),
    };
    format!("{text}{months}")
}

enum Time {
    /// Several times a day, without a clock time of its own.
    Repeated(String),
    /// `02:00 UTC`.
    Clock(String),
}

fn time(calendar: &Calendar, zone: &str) -> Time {
    let (minute, hour) = (values(calendar.minute), values(calendar.hour));
    let every_hour = hour.len() == 24;
    if every_hour && minute.len() == 60 {
        return Time::Repeated("Every minute".to_owned());
    }
    if every_hour && let Some(step) = step(&minute, 60) {
        return Time::Repeated(format!("Every {step} minutes"));
    }
    if every_hour {
        return Time::Repeated(match minute[..] {
            [0] => "Every hour, on the hour".to_owned(),
            _ => format!("Every hour, at {}", minutes(&minute)),
        });
    }
    if minute.len() == 1
        && let Some(step) = step(&hour, 24)
    {
        return Time::Repeated(match minute[0] {
            0 => format!("Every {step} hours"),
            past => format!("Every {step} hours, at minute {past}"),
        });
    }
    if minute.len() * hour.len() <= MAX_TIMES {
        return Time::Clock(clock(&minute, &hour, zone));
    }
    let when = match (minute.len(), step(&minute, 60)) {
        (60, _) => "Every minute".to_owned(),
        (_, Some(step)) => format!("Every {step} minutes"),
        _ => capital(&format!("at {}", minutes(&minute))),
    };
    Time::Repeated(format!(
        "{when} of the hours {} {zone}",
        ranges(&hour, |hour| format!("{hour:02}"))
    ))
}

fn clock(minute: &[i8], hour: &[i8], zone: &str) -> String {
    if minute == [0] && hour == [0] {
        return format!("midnight {zone}");
    }
    let times = hour
        .iter()
        .flat_map(|hour| minute.iter().map(move |minute| format!("{hour:02}:{minute:02}")));
    format!("{} {zone}", list(&times.collect::<Vec<_>>()))
}

fn minutes(minute: &[i8]) -> String {
    let noun = if minute.len() == 1 { "minute" } else { "minutes" };
    format!("{noun} {}", ranges(minute, |minute| minute.to_string()))
}

/// On which days.
enum Days {
    Never,
    Every,
    /// Of the month.
    Dates(Vec<i8>),
    Weekdays(Vec<i8>),
    /// Either suffices.
    Either(Vec<i8>, Vec<i8>),
}

impl Days {
    fn of(calendar: &Calendar) -> Self {
        let (dates, weekdays) = (values(calendar.day), values(calendar.weekday));
        let either = !calendar.day.is_star() && !calendar.weekday.is_star();
        // A starred field selects all its values, so only the other one restricts.
        let (all_dates, all_weekdays) = (dates.len() == 31, weekdays.len() == 7);
        match (either, all_dates, all_weekdays) {
            (false, true, true) => Self::Every,
            (true, true, _) | (true, _, true) => Self::Every,
            (false, true, false) if weekdays.is_empty() => Self::Never,
            (false, true, false) => Self::Weekdays(weekdays),
            (false, false, _) if dates.is_empty() => Self::Never,
            (false, false, _) => Self::Dates(dates),
            (true, false, false) => match (dates.is_empty(), weekdays.is_empty()) {
                (true, true) => Self::Never,
                (true, false) => Self::Weekdays(weekdays),
                (false, true) => Self::Dates(dates),
                (false, false) => Self::Either(dates, weekdays),
            },
        }
    }

    /// The beginning of a sentence about a clock time.
    fn subject(&self) -> String {
        match self {
            Self::Never | Self::Every => "Every day".to_owned(),
            Self::Weekdays(weekdays) => format!("Every {}", weekday_names(weekdays)),
            other => capital(&other.phrase().unwrap_or_default()),
        }
    }

    /// What follows a repetition; `None` when it goes without saying.
    fn phrase(&self) -> Option<String> {
        match self {
            Self::Never | Self::Every => None,
            Self::Dates(dates) => Some(format!("on {} of the month", dates_text(dates))),
            Self::Weekdays(weekdays) => Some(format!("on {}", weekday_names(weekdays))),
            Self::Either(dates, weekdays) => Some(format!(
                "on {} of the month and every {}",
                dates_text(dates),
                weekday_names(weekdays)
            )),
        }
    }
}

fn dates_text(dates: &[i8]) -> String {
    let noun = if dates.len() == 1 { "day" } else { "days" };
    format!("{noun} {}", ranges(dates, |date| date.to_string()))
}

fn weekday_names(weekdays: &[i8]) -> String {
    ranges(weekdays, |weekday| name(&WEEKDAYS, weekday))
}

fn months(month: Field) -> String {
    let months = values(month);
    if months.len() == 12 {
        return String::new();
    }
    format!(" in {}", ranges(&months, |month| name(&MONTHS, month - 1)))
}

fn name(names: &[&str], at: i8) -> String {
    usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default().to_owned()
}

fn values(field: Field) -> Vec<i8> {
    field.values().collect()
}

/// The step of `0, step, 2·step, …` where it divides the whole, so that it goes on evenly.
fn step(values: &[i8], whole: i8) -> Option<i8> {
    let step = *values.get(1)?;
    let even =
        values.iter().zip((0..whole).step_by(usize::try_from(step).ok()?)).all(|(a, b)| *a == b);
    let complete = i8::try_from(values.len()).is_ok_and(|len| len * step == whole);
    (step > 1 && values[0] == 0 && even && complete && whole % step == 0).then_some(step)
}

/// Lists values; three or more in a row become `a to b`.
fn ranges(values: &[i8], show: impl Fn(i8) -> String) -> String {
    let mut parts = Vec::new();
    for run in values.chunk_by(|a, b| a + 1 == *b) {
        match run {
            [first, _, .., last] => parts.push(format!("{} to {}", show(*first), show(*last))),
            short => parts.extend(short.iter().map(|value| show(*value))),
        }
    }
    list(&parts)
}

fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn plural(count: i64, unit: &str) -> String {
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

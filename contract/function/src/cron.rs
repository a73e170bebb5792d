//! Cron schedules, exactly as a Kubernetes CronJob reads them.
//!
//! A CronJob's schedule goes through `ParseStandard` of robfig/cron v3: five fields with names,
//! ranges, steps and lists, `?` as a star, descriptors, and `@every <duration>`. What that parser
//! accepts is accepted here, oddities included, because the schedule is stored in a CronJob in the
//! end; Kubernetes' own validation also refuses `TZ` anywhere. Times are UTC. No clock is read:
//! the caller says after when.

mod describe;
mod field;

use k8s_openapi::jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

use kipper_trigger::duration;

use field::Field;

/// Years after which a schedule that has not fired is taken never to fire.
const SEARCH_YEARS: i16 = 5;

/// Why a schedule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It is empty.
    #[error("schedule is empty")]
    Empty,
    /// It contains `TZ`.
    #[error("schedule must not name a time zone; it is read in UTC")]
    TimeZone,
    /// It has not five fields.
    #[error("schedule must have 5 fields, found {0}")]
    FieldCount(usize),
    /// One field cannot be read.
    #[error("{field}: {problem}")]
    Field {
        /// Which of the five.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// It starts with `@` and is none of the descriptors.
    #[error("unknown descriptor {0:?}")]
    Descriptor(String),
    /// The duration after `@every` cannot be read.
    #[error("{0:?} is not a duration such as 90s, 5m or 1h30m")]
    Duration(String),
}

/// A parsed schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Calendar(Calendar),
    /// Whole seconds between firings; at least one.
    Every(i64),
}

/// The five fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Calendar {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Schedule {
    /// Parses a schedule.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        if text.is_empty() {
            return Err(CronError::Empty);
        }
        if text.contains("TZ") {
            return Err(CronError::TimeZone);
        }
        if text.starts_with('@') {
            return descriptor(text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError::FieldCount(fields.len()));
        };
        Ok(Self(Kind::Calendar(Calendar {
            minute: field::MINUTE.parse(minute)?,
            hour: field::HOUR.parse(hour)?,
            day: field::DAY.parse(day)?,
            month: field::MONTH.parse(month)?,
            weekday: field::WEEKDAY.parse(weekday)?,
        })))
    }

    /// First firing after `after`, in whole seconds. `None` when there is none within five years
    /// (`0 0 30 2 *`).
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let nanosecond = after.subsec_nanosecond();
        let whole = after.checked_sub(SignedDuration::from_nanos(nanosecond.into())).ok()?;
        match &self.0 {
            Kind::Every(seconds) => whole.checked_add(SignedDuration::from_secs(*seconds)).ok(),
            Kind::Calendar(calendar) => {
                let from = whole.checked_add(SignedDuration::from_secs(1)).ok()?;
                let found = calendar.first_at_or_after(TimeZone::UTC.to_datetime(from))?;
                TimeZone::UTC.to_timestamp(found).ok()
            }
        }
    }

    /// The next `count` firings after `after`; fewer when there are no more.
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next(after), |previous| self.next(*previous))
            .take(count)
            .collect()
    }

    /// The schedule in English: `Every day at 02:00 UTC`.
    pub fn describe(&self) -> String {
        match &self.0 {
            Kind::Calendar(calendar) => describe::calendar(calendar),
            Kind::Every(seconds) => describe::every(*seconds),
        }
    }
}

impl std::str::FromStr for Schedule {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        Self::parse(text)
    }
}

fn descriptor(text: &str) -> Result<Schedule, CronError> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let every = text
                .strip_prefix("@every ")
                .ok_or_else(|| CronError::Descriptor(text.to_owned()))?;
            let nanoseconds = duration::nanoseconds(every)
                .ok_or_else(|| CronError::Duration(every.to_owned()))?;
            return Ok(Schedule(Kind::Every((nanoseconds / 1_000_000_000).max(1))));
        }
    };
    Schedule::parse(fields)
}

impl Calendar {
    /// First matching minute whose start is not before `from`. The search ends with the last day
    /// of the fifth year after `from`'s, so it looks at no more than 2,200 days.
    fn first_at_or_after(&self, from: DateTime) -> Option<DateTime> {
        let last_year = from.year().checked_add(SEARCH_YEARS)?;
        let mut date = from.date();
        let mut earliest = (from.hour(), from.minute() + i8::from(from.second() > 0));
        while date.year() <= last_year {
            if !self.month.has(date.month()) {
                date = next_month(date)?;
                earliest = (0, 0);
                continue;
            }
            if self.matches_day(date)
                && let Some((hour, minute)) = self.first_time(earliest)
            {
                return Some(date.at(hour, minute, 0, 0));
            }
            date = date.tomorrow().ok()?;
            earliest = (0, 0);
        }
        None
    }

    /// Both day fields must match when either is a star; any of the two suffices when both are
    /// restricted.
    fn matches_day(&self, date: Date) -> bool {
        let day = self.day.has(date.day());
        let weekday = self.weekday.has(date.weekday().to_sunday_zero_offset());
        if self.day.is_star() || self.weekday.is_star() { day && weekday } else { day || weekday }
    }

    /// First matching hour and minute at or after `earliest`, whose minute may be 60.
    fn first_time(&self, (from_hour, from_minute): (i8, i8)) -> Option<(i8, i8)> {
        self.hour.values().filter(|hour| *hour >= from_hour).find_map(|hour| {
            let from = if hour == from_hour { from_minute } else { 0 };
            self.minute.values().find(|minute| *minute >= from).map(|minute| (hour, minute))
        })
    }
}

fn next_month(date: Date) -> Option<Date> {
    let (year, month) = if date.month() == 12 {
        (date.year().checked_add(1)?, 1)
    } else {
        (date.year(), date.month() + 1)
    };
    Date::new(year, month, 1).ok()
}

//! Cron schedules, exactly as a Kubernetes CronJob reads them.
//!
//! A CronJob's schedule goes through `ParseStandard` of robfig/cron v3: five fields with names,
//! ranges, steps and lists, `?` as a star, descriptors, and `@every <duration>`. What that parser
//! accepts is accepted here, oddities included, because the schedule is stored in a CronJob in the
//! end; Kubernetes' own validation also refuses `TZ` anywhere. Times are UTC. No clock is read:
//! the caller says after when.

mod calendar;
mod describe;
mod error;
mod field;

use k8s_openapi::jiff::{SignedDuration, Timestamp, tz::TimeZone};

use kipper_trigger::duration;

use calendar::Calendar;

pub use error::CronError;

/// A parsed schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Calendar(Calendar),
    /// Whole seconds between firings; at least one.
    Every(i64),
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

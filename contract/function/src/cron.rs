//! Cron schedules, exactly as a Kubernetes CronJob reads them.
//!
//! A CronJob's schedule goes through `ParseStandard` of robfig/cron v3: five fields with names,
//! ranges, steps and lists, `?` as a star, descriptors, and `@every <duration>`. What that parser
//! accepts is accepted here, oddities included, because the schedule is stored in a CronJob in the
//! end; Kubernetes' own validation also refuses `TZ` anywhere. Times are those of the schedule's time
//! zone, UTC where it has none: a time that the clocks skip does not fire, and one that they show twice
//! fires twice. No clock is read: the caller says after when.

mod calendar;
mod describe;
mod error;
mod field;
mod zone;

use k8s_openapi::jiff::{SignedDuration, Timestamp, Zoned};

use kipper_trigger::duration;

use calendar::Calendar;
use zone::Zone;

pub use error::CronError;

/// From when on a schedule is asked whether it fires at all: the next five years have a 29 February.
const BEFORE_ANY: Timestamp = Timestamp::constant(1_704_067_200, 0);

/// A parsed schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    kind: Kind,
    zone: Zone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Calendar(Calendar),
    /// Whole seconds between firings; at least one.
    Every(i64),
}

impl Schedule {
    /// Parses a schedule in UTC.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        Ok(Self { kind: kind(text)?, zone: Zone::utc() })
    }

    /// Parses a schedule in the time zone of this IANA name, or in UTC.
    pub fn parse_in(text: &str, zone: Option<&str>) -> Result<Self, CronError> {
        let zone = zone.map_or_else(|| Ok(Zone::utc()), Zone::parse)?;
        Ok(Self { kind: kind(text)?, zone })
    }

    /// Is there a time zone of this name?
    pub fn check_zone(name: &str) -> Result<(), CronError> {
        Zone::parse(name).map(drop)
    }

    /// Does it fire at all? `0 0 30 2 *` does not, which a CronJob accepts.
    pub fn check_fires(&self) -> Result<(), CronError> {
        self.next(BEFORE_ANY).map(drop).ok_or(CronError::Never)
    }

    /// First firing after `after`, in whole seconds. `None` when there is none within five years
    /// (`0 0 30 2 *`).
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let nanosecond = after.subsec_nanosecond();
        let whole = after.checked_sub(SignedDuration::from_nanos(nanosecond.into())).ok()?;
        match &self.kind {
            Kind::Every(seconds) => whole.checked_add(SignedDuration::from_secs(*seconds)).ok(),
            Kind::Calendar(calendar) => {
                let from = whole.checked_add(SignedDuration::from_secs(1)).ok()?;
                self.zone.first_at_or_after(calendar, from)
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
        match &self.kind {
            Kind::Calendar(calendar) => describe::calendar(calendar, self.zone.name()),
            Kind::Every(seconds) => describe::every(*seconds),
        }
    }

    /// A moment on the clocks of its time zone.
    pub fn local(&self, time: Timestamp) -> Zoned {
        time.to_zoned(self.zone.time_zone())
    }
}

fn kind(text: &str) -> Result<Kind, CronError> {
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
    Ok(Kind::Calendar(Calendar {
        minute: field::MINUTE.parse(minute)?,
        hour: field::HOUR.parse(hour)?,
        day: field::DAY.parse(day)?,
        month: field::MONTH.parse(month)?,
        weekday: field::WEEKDAY.parse(weekday)?,
    }))
}

impl std::str::FromStr for Schedule {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        Self::parse(text)
    }
}

fn descriptor(text: &str) -> Result<Kind, CronError> {
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
            return Ok(Kind::Every((nanoseconds / 1_000_000_000).max(1)));
        }
    };
    kind(fields)
}

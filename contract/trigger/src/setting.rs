//! The settings in a trigger's `config`: which kind has which, their bounds and defaults.

use std::{fmt, ops::RangeInclusive, time::Duration};

use crate::{duration, kind::Kind};

/// What a trigger that does not say otherwise has.
pub mod defaults {
    use std::time::Duration;

    /// Waiting events for which the scaler wants one replica.
    pub const BATCH: u32 = 100;
    /// Events handled at once in one pod.
    pub const CONCURRENCY: u32 = 8;
    /// Events that one poller claims and has not marked yet, at the most. Each is a lock in the
    /// shared table of a PostgreSQL: ten pods of 256 are 40 % of what one with its defaults has
    /// room for.
    pub const MAX_HELD: u32 = 256;
    /// Attempts before an event is dead.
    pub const MAX_ATTEMPTS: u32 = 10;
    /// Pause after a look that found nothing.
    pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
    /// How long the function may take for one event.
    pub const DELIVER_TIMEOUT: Duration = Duration::from_secs(300);
    /// How long a claim lives without being renewed.
    pub const LEASE: Duration = Duration::from_secs(30);
}

/// Longest name of a database, in bytes: MySQL's.
const MAX_DATABASE: usize = 64;

/// A key of an event trigger's `config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Setting {
    /// Service that events come from.
    Source,
    /// Database of that Service, where it is not the one its Secret names.
    Database,
    /// Waiting events for which the scaler wants one replica.
    Batch,
    /// Events handled at once in one pod.
    Concurrency,
    /// Events claimed and not yet marked, in one pod.
    MaxHeld,
    /// Attempts before an event is dead.
    MaxAttempts,
    /// Pause after a look that found nothing.
    PollInterval,
    /// How long the function may take for one event.
    DeliverTimeout,
    /// Query whose rows are the events.
    Query,
    /// Columns that tell rows apart.
    Key,
    /// Statement run after a row was handled.
    MarkDone,
    /// Statement run after a row's last attempt.
    OnFailed,
    /// Redis list whose items are the events.
    List,
    /// End of the list from which items are taken.
    ListEnd,
    /// How long a claim lives without being renewed.
    Lease,
    /// Bucket whose changes are the events.
    Bucket,
    /// Only objects whose names begin so.
    Prefix,
    /// Only objects whose names end so.
    Suffix,
}

/// From which end of a list items are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListEnd {
    /// The head: a queue where items are pushed with RPUSH.
    #[default]
    Left,
    /// The tail: a queue where items are pushed with LPUSH.
    Right,
}

impl ListEnd {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Left, Self::Right];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }

    /// The end of this name.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.as_str() == word)
    }
}

impl fmt::Display for ListEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const POSTGRES_OR_MYSQL: [Setting; 12] = [
    Setting::Source,
    Setting::Database,
    Setting::Batch,
    Setting::Concurrency,
    Setting::MaxHeld,
    Setting::MaxAttempts,
    Setting::PollInterval,
    Setting::DeliverTimeout,
    Setting::Query,
    Setting::Key,
    Setting::MarkDone,
    Setting::OnFailed,
];
const REDIS: [Setting; 10] = [
    Setting::Source,
    Setting::Batch,
    Setting::Concurrency,
    Setting::MaxHeld,
    Setting::MaxAttempts,
    Setting::PollInterval,
    Setting::DeliverTimeout,
    Setting::List,
    Setting::ListEnd,
    Setting::Lease,
];
const MINIO: [Setting; 11] = [
    Setting::Source,
    Setting::Batch,
    Setting::Concurrency,
    Setting::MaxHeld,
    Setting::MaxAttempts,
    Setting::PollInterval,
    Setting::DeliverTimeout,
    Setting::Bucket,
    Setting::Prefix,
    Setting::Suffix,
    Setting::Lease,
];

impl Setting {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Source,
        Self::Database,
        Self::Batch,
        Self::Concurrency,
        Self::MaxHeld,
        Self::MaxAttempts,
        Self::PollInterval,
        Self::DeliverTimeout,
        Self::Query,
        Self::Key,
        Self::MarkDone,
        Self::OnFailed,
        Self::List,
        Self::ListEnd,
        Self::Lease,
        Self::Bucket,
        Self::Prefix,
        Self::Suffix,
    ];

    /// Its key in `config`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Database => "database",
            Self::Batch => "batch",
            Self::Concurrency => "concurrency",
            Self::MaxHeld => "maxHeld",
            Self::MaxAttempts => "maxAttempts",
            Self::PollInterval => "pollInterval",
            Self::DeliverTimeout => "deliverTimeout",
            Self::Query => "query",
            Self::Key => "key",
            Self::MarkDone => "markDone",
            Self::OnFailed => "onFailed",
            Self::List => "list",
            Self::ListEnd => "listEnd",
            Self::Lease => "lease",
            Self::Bucket => "bucket",
            Self::Prefix => "prefix",
            Self::Suffix => "suffix",
        }
    }

    /// The setting with this key.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }

    /// What a trigger of this kind may say.
    pub const fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Postgres | Kind::Mysql => &POSTGRES_OR_MYSQL,
            Kind::Redis => &REDIS,
            Kind::Minio => &MINIO,
        }
    }

    /// What a trigger of this kind must say.
    pub const fn required(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Postgres | Kind::Mysql => &[Self::Source, Self::Query],
            Kind::Redis => &[Self::Source, Self::List],
            Kind::Minio => &[Self::Source, Self::Bucket],
        }
    }

    /// Bounds of a whole number; `None` for a setting that is something else.
    pub const fn numbers(self) -> Option<RangeInclusive<u32>> {
        Some(match self {
            Self::Batch => 1..=1_000_000,
            Self::Concurrency | Self::MaxAttempts => 1..=1000,
            Self::MaxHeld => 1..=10_000,
            _ => return None,
        })
    }

    /// Bounds of a duration; `None` for a setting that is something else.
    pub const fn durations(self) -> Option<RangeInclusive<Duration>> {
        // A node that is being drained waits for a delivery.
        const LONGEST: Duration = Duration::from_secs(3600);
        Some(match self {
            Self::PollInterval => Duration::from_millis(10)..=LONGEST,
            Self::DeliverTimeout => Duration::from_secs(1)..=LONGEST,
            // Pollers renew every 5 s. Leases that ran out between two renewals would be taken over
            // from pods that are well.
            Self::Lease => Duration::from_secs(10)..=LONGEST,
            _ => return None,
        })
    }

    /// The default as it would be written, where there is one.
    pub const fn default(self) -> Option<&'static str> {
        Some(match self {
            Self::Batch => "100",
            Self::Concurrency => "8",
            Self::MaxHeld => "256",
            Self::MaxAttempts => "10",
            Self::PollInterval => "1s",
            Self::DeliverTimeout => "300s",
            Self::Lease => "30s",
            Self::ListEnd => ListEnd::Left.as_str(),
            _ => return None,
        })
    }

    /// Reads a whole number.
    ///
    /// # Errors
    /// What the value must be.
    pub fn number(self, text: &str) -> Result<u32, String> {
        let Some(bounds) = self.numbers() else { return Err("is not a number".to_owned()) };
        let value = text.parse().ok().filter(|value| bounds.contains(value));
        let expected =
            || format!("must be a whole number from {} to {}", bounds.start(), bounds.end());
        value.ok_or_else(expected)
    }

    /// Reads a duration.
    ///
    /// # Errors
    /// What the value must be.
    pub fn duration(self, text: &str) -> Result<Duration, String> {
        let Some(bounds) = self.durations() else { return Err("is not a duration".to_owned()) };
        let value = duration::parse(text).filter(|value| bounds.contains(value));
        let expected = || {
            let (min, max) = (bounds.start(), bounds.end());
            format!("must be a duration such as 30s or 5m, from {min:?} to {max:?}")
        };
        value.ok_or_else(expected)
    }

    /// What is wrong with a value, if anything is. What a statement or a query says is not looked
    /// at.
    pub(crate) fn problem(self, value: &str) -> Option<String> {
        if self.numbers().is_some() {
            return self.number(value).err();
        }
        if self.durations().is_some() {
            return self.duration(value).err();
        }
        let message = match self {
            Self::ListEnd if ListEnd::parse(value).is_none() => "must be left or right",
            Self::Key if value.split(',').any(|column| column.trim().is_empty()) => {
                "must be columns separated by commas"
            }
            Self::Database if value.len() > MAX_DATABASE || value.contains(char::is_control) => {
                "must be the name of a database: at most 64 bytes, without control characters"
            }
            _ if value.contains('\0') => "must not contain a null character",
            _ => return None,
        };
        Some(message.to_owned())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_written_as_they_are_read() {
        for (setting, expected) in [
            (Setting::Batch, defaults::BATCH),
            (Setting::Concurrency, defaults::CONCURRENCY),
            (Setting::MaxHeld, defaults::MAX_HELD),
            (Setting::MaxAttempts, defaults::MAX_ATTEMPTS),
        ] {
            assert_eq!(setting.default().map(|text| setting.number(text)), Some(Ok(expected)));
        }
        for (setting, expected) in [
            (Setting::PollInterval, defaults::POLL_INTERVAL),
            (Setting::DeliverTimeout, defaults::DELIVER_TIMEOUT),
            (Setting::Lease, defaults::LEASE),
        ] {
            assert_eq!(setting.default().map(|text| setting.duration(text)), Some(Ok(expected)));
        }
        let end = Setting::ListEnd.default().and_then(ListEnd::parse);
        assert_eq!(end, Some(ListEnd::default()));
        for setting in Setting::ALL {
            assert!(setting.default().is_none_or(|text| setting.problem(text).is_none()));
        }
    }

    #[test]
    fn a_database_has_a_name_that_a_server_can_hold() {
        let longest = "d".repeat(MAX_DATABASE);
        for (name, is_good) in
            [("shop", true), ("My Shop/1", true), (&longest, true), ("a\nb", false), ("a\0", false)]
        {
            assert_eq!(Setting::Database.problem(name).is_none(), is_good, "{name:?}");
        }
        assert!(Setting::Database.problem(&(longest.clone() + "d")).is_some());
    }

    #[test]
    fn every_setting_is_one_of_a_kind() {
        for setting in Setting::ALL {
            assert_eq!(Setting::parse(setting.name()), Some(setting));
            assert!(Kind::ALL.iter().any(|kind| Setting::of(*kind).contains(&setting)));
        }
        for kind in Kind::ALL {
            let all = Setting::of(kind);
            assert!(Setting::required(kind).iter().all(|setting| all.contains(setting)));
        }
    }
}

//! Why a schedule is refused.

/// Why a schedule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It is empty.
    #[error("schedule is empty")]
    Empty,
    /// It contains `TZ`.
    #[error("a schedule must not name a time zone; set timeZone (--time-zone) instead")]
    TimeZone,
    /// There is no such time zone.
    #[error("unknown time zone {name:?}; {}", suggestion(meant.as_deref()))]
    UnknownZone {
        /// What was given.
        name: String,
        /// What it may have been meant to be.
        meant: Option<String>,
    },
    /// No date matches it.
    #[error("no date matches this schedule, so it would never run")]
    Never,
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

fn suggestion(meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("did you mean {meant}?"),
        None => "it must be an IANA name such as Europe/Berlin".to_owned(),
    }
}

//! What Kipper's own programs log, for the user.
//!
//! A poller logs a line for every failed delivery, dead letter and lost connection, a bucket watcher
//! for every bucket that it watches or cannot watch. Here those logs are what the user watches, so the
//! lines go to the console in words. All others are shown as far as the filter of `kip`'s own log
//! wants them.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};
use tracing::{Level, level_filters::LevelFilter};

use super::program::Program;

/// Fields of a line that are part of its form.
const FORM: [&str; 6] = ["timestamp", "level", "target", "span", "spans", "message"];
/// Fields that the message repeats, or of which there is only one here.
const OMITTED: [&str; 5] = ["condition", "call", "bucket", "namespace", "function"];

/// The filter of `kip`'s log: what of the programs' logs is wanted beside what is for the user.
#[derive(Clone, Debug)]
pub(crate) struct LogFilter(String);

impl LogFilter {
    pub(crate) fn new(filter: &str) -> Self {
        Self(filter.to_owned())
    }

    /// The filter for a program: this one, and at least `INFO` of its own lines, which include those
    /// that are for the user and for `kip`.
    pub(crate) fn of(&self, program: Program) -> String {
        let level = self.level(program).max(LevelFilter::INFO);
        format!("{},{}={level}", self.0, program.target())
    }

    /// The level from which on lines of the program are wanted.
    fn level(&self, program: Program) -> LevelFilter {
        let of = |directive: &str| {
            let (target, level) = directive.rsplit_once('=').unwrap_or(("", directive));
            let is_about = target.is_empty() || program.target().starts_with(target.trim());
            is_about.then(|| level.trim().parse().ok()).flatten()
        };
        self.0.split(',').filter_map(of).max().unwrap_or(LevelFilter::OFF)
    }

    /// Where a line of the program goes.
    pub(crate) fn reader(&self, program: Program, record: &Record) -> Reader {
        let is_own = record.target.starts_with(program.target());
        if is_own && record.level <= program.level() {
            Reader::User
        } else if !is_own || record.level <= self.level(program) {
            Reader::Log
        } else {
            Reader::None
        }
    }
}

/// Who wants to read a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// It tells of the function's events.
    User,
    /// It was asked for with `--log-level`.
    Log,
    /// It was not.
    None,
}

/// A line of a program's log. Prints as words: `event 42, attempt 3: delivery failed: 500, next try in
/// 4.1 s`.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) message: String,
    fields: Map<String, Value>,
}

impl Record {
    /// Reads a line of a JSON log; `None` for anything else.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut fields: Map<String, Value> = serde_json::from_str(line).ok()?;
        let level = fields.get("level")?.as_str()?.parse().ok()?;
        let target = fields.get("target")?.as_str()?.to_owned();
        let message = text(fields.get("message")?);
        fields.retain(|name, _| !FORM.contains(&name.as_str()));
        Some(Self { level, target, message, fields })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut others = String::new();
        for (name, value) in &self.fields {
            if !OMITTED.contains(&name.as_str())
                && !matches!(name.as_str(), "key" | "attempt" | "pause_ms")
            {
                write!(others, ", {name} {}", text(value))?;
            }
        }
        if let Some(key) = self.fields.get("key") {
            write!(f, "event {}", text(key))?;
            if let Some(attempt) = self.fields.get("attempt") {
                write!(f, ", attempt {}", text(attempt))?;
            }
            f.write_str(": ")?;
        }
        write!(f, "{}{others}", self.message)?;
        let pause = self.fields.get("pause_ms").and_then(|pause| text(pause).parse::<u64>().ok());
        match pause {
            Some(pause) => write!(f, ", next try in {}.{} s", pause / 1000, pause % 1000 / 100),
            None => Ok(()),
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn record(level: &str, target: &str, fields: Value) -> Record {
        let mut line =
            json!({ "timestamp": "2026-01-01T00:00:00Z", "level": level, "target": target });
        line.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Record::parse(&line.to_string()).unwrap()
    }

    #[test]
    fn lines_are_sentences() {
        for (fields, expected) in [
            (
                json!({ "key": "42", "attempt": 3, "pause_ms": "4100", "message": "delivery failed: 500" }),
                "event 42, attempt 3: delivery failed: 500, next try in 4.1 s",
            ),
            (
                json!({ "key": "42", "attempt": 10, "message": "event is dead: 400: no" }),
                "event 42, attempt 10: event is dead: 400: no",
            ),
            (
                json!({ "call": "claim", "message": "no connection to the source: x" }),
                "no connection to the source: x",
            ),
            (json!({ "held": 1, "unmarked": 2, "message": "ended" }), "ended, held 1, unmarked 2"),
            (
                json!({ "namespace": "local", "function": "f", "bucket": "b", "objects": 3, "message": "watching" }),
                "watching, objects 3",
            ),
        ] {
            assert_eq!(record("WARN", "kipper_poller", fields).to_string(), expected);
        }
        assert!(Record::parse("error: no such file").is_none());
        assert!(Record::parse("{}").is_none());
    }

    #[test]
    fn the_user_reads_what_went_wrong_and_the_rest_where_it_was_asked_for() {
        let reader = |filter: &str, level: &str, target: &str| {
            let record = record(level, target, json!({ "message": "x" }));
            LogFilter::new(filter).reader(Program::Poller, &record)
        };
        assert_eq!(reader("warn", "WARN", "kipper_poller::poller"), Reader::User);
        assert_eq!(reader("off", "ERROR", "kipper_poller"), Reader::User);
        assert_eq!(reader("warn", "INFO", "kipper_poller"), Reader::None);
        assert_eq!(reader("info", "INFO", "kipper_poller"), Reader::Log);
        assert_eq!(reader("warn,kipper_poller=debug", "DEBUG", "kipper_poller"), Reader::Log);
        assert_eq!(reader("warn,fred=debug", "DEBUG", "fred"), Reader::Log);
        let of = |filter: &str| LogFilter::new(filter).of(Program::Poller);
        assert_eq!(of("warn"), "warn,kipper_poller=info");
        assert_eq!(of("debug"), "debug,kipper_poller=debug");
        assert_eq!(of("warn,kipper_poller=trace"), "warn,kipper_poller=trace,kipper_poller=trace");
        let watching = record("INFO", "kipper_bucket_watcher::watch", json!({ "message": "x" }));
        let filter = LogFilter::new("warn");
        assert_eq!(filter.reader(Program::BucketWatcher, &watching), Reader::User);
    }
}

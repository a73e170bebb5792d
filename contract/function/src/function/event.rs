//! Settings of an event trigger: what its string map means, with every default applied.
//!
//! The one place that knows which kind has which settings, and their defaults. A value that cannot
//! be read counts as absent here, as in [`super::effective`]; [`problems`] says what is wrong with
//! it. What a statement or a query says is not looked at.

use std::time::Duration;

use super::{FunctionSpec, Trigger, TriggerKind};
use crate::{cron, service::ServiceKind};

/// Events handled at once in one pod.
pub const DEFAULT_CONCURRENCY: u32 = 8;
/// Waiting events for which the scaler wants one replica.
pub const DEFAULT_BATCH: u32 = 100;
/// How long the function may take for one event.
pub const DEFAULT_DELIVER_TIMEOUT: Duration = Duration::from_secs(300);
/// Events that one poller claims and has not marked yet, at the most.
pub const DEFAULT_MAX_HELD: u32 = 256;

/// Settings that every kind has.
const COMMON: [&str; 7] =
    ["source", "batch", "concurrency", "maxHeld", "maxAttempts", "pollInterval", "deliverTimeout"];
const SQL: [&str; 4] = ["query", "key", "markDone", "onFailed"];
const REDIS: [&str; 3] = ["list", "listEnd", "lease"];
const MINIO: [&str; 4] = ["bucket", "prefix", "suffix", "lease"];

/// Whole numbers and their bounds.
const NUMBERS: [(&str, u32, u32); 4] = [
    ("batch", 1, 1_000_000),
    ("concurrency", 1, 1000),
    ("maxHeld", 1, 10_000),
    ("maxAttempts", 1, 1000),
];
/// Durations and their bounds. A node that is being drained waits for a delivery.
const DURATIONS: [(&str, Duration, Duration); 3] = [
    ("pollInterval", Duration::from_millis(10), Duration::from_secs(3600)),
    ("deliverTimeout", Duration::from_secs(1), Duration::from_secs(3600)),
    ("lease", Duration::from_secs(1), Duration::from_secs(3600)),
];

/// The event trigger of a function.
#[derive(Clone, Copy, Debug)]
pub struct EventTrigger<'a> {
    /// Its kind: not http, not cron.
    pub kind: TriggerKind,
    trigger: &'a Trigger,
}

impl FunctionSpec {
    /// The event trigger, ready to be asked for its settings.
    pub fn event(&self) -> Option<EventTrigger<'_>> {
        let trigger = self.event_trigger()?;
        Some(EventTrigger { kind: trigger.kind()?, trigger })
    }

    /// Fewest and most replicas. Rows that nothing marks are known to be handled only by the
    /// process that handled them, so there may be no second one.
    pub fn replica_limits(&self) -> (u32, u32) {
        let single = self.event().is_some_and(|event| event.leaves_no_mark());
        let max = if single { 1 } else { self.max_replicas() };
        (self.min_replicas().min(max), max)
    }
}

impl<'a> EventTrigger<'a> {
    /// A setting as it stands; empty counts as absent.
    pub fn setting(&self, key: &str) -> Option<&'a str> {
        self.trigger.setting(key)
    }

    /// Name of the Service that events come from.
    pub fn source(&self) -> &'a str {
        self.setting("source").unwrap_or_default()
    }

    /// The kind of Service this trigger needs; `None` for http and cron.
    pub const fn service_kind(&self) -> Option<ServiceKind> {
        match self.kind {
            TriggerKind::Http | TriggerKind::Cron => None,
            TriggerKind::Postgres => Some(ServiceKind::Postgres),
            TriggerKind::Mysql => Some(ServiceKind::Mysql),
            TriggerKind::Redis => Some(ServiceKind::Redis),
            TriggerKind::Minio => Some(ServiceKind::Minio),
        }
    }

    /// True where events are rows of a query.
    pub const fn is_sql(&self) -> bool {
        matches!(self.kind, TriggerKind::Postgres | TriggerKind::Mysql)
    }

    /// True where nothing in the source says that a row was handled.
    pub fn leaves_no_mark(&self) -> bool {
        self.is_sql() && self.setting("markDone").is_none()
    }

    /// Waiting events for which the scaler wants one replica.
    pub fn batch(&self) -> u32 {
        self.number("batch").unwrap_or(DEFAULT_BATCH)
    }

    /// Events handled at once in one pod.
    pub fn concurrency(&self) -> u32 {
        self.number("concurrency").unwrap_or(DEFAULT_CONCURRENCY)
    }

    /// Events claimed and not yet marked, if the trigger says how many.
    pub fn max_held(&self) -> Option<u32> {
        self.number("maxHeld")
    }

    /// Attempts before an event is dead, if the trigger says so.
    pub fn max_attempts(&self) -> Option<u32> {
        self.number("maxAttempts")
    }

    /// Pause after a look that found nothing, if the trigger says so.
    pub fn poll_interval(&self) -> Option<Duration> {
        self.duration("pollInterval")
    }

    /// How long the function may take for one event.
    pub fn deliver_timeout(&self) -> Duration {
        self.duration("deliverTimeout").unwrap_or(DEFAULT_DELIVER_TIMEOUT)
    }

    /// How long a claim lives without being renewed, if the trigger says so.
    pub fn lease(&self) -> Option<Duration> {
        self.duration("lease")
    }

    fn number(&self, key: &str) -> Option<u32> {
        let (_, min, max) = NUMBERS.iter().find(|(name, ..)| *name == key)?;
        number(self.setting(key)?, *min, *max)
    }

    fn duration(&self, key: &str) -> Option<Duration> {
        let (_, min, max) = DURATIONS.iter().find(|(name, ..)| *name == key)?;
        duration(self.setting(key)?, *min, *max)
    }
}

fn number(text: &str, min: u32, max: u32) -> Option<u32> {
    text.parse().ok().filter(|value| (min..=max).contains(value))
}

fn duration(text: &str, min: Duration, max: Duration) -> Option<Duration> {
    let value = cron::duration(text)?;
    (min..=max).contains(&value).then_some(value)
}

/// Settings that a kind of trigger has.
pub fn settings(kind: TriggerKind) -> impl Iterator<Item = &'static str> {
    let (common, own): (&[&str], &[&str]) = match kind {
        TriggerKind::Http | TriggerKind::Cron => (&[], &[]),
        TriggerKind::Postgres | TriggerKind::Mysql => (&COMMON, &SQL),
        TriggerKind::Redis => (&COMMON, &REDIS),
        TriggerKind::Minio => (&COMMON, &MINIO),
    };
    common.iter().chain(own).copied()
}

/// What is wrong with the settings that are there: key and message, in the order of the keys.
pub(super) fn problems(trigger: &Trigger, kind: TriggerKind) -> Vec<(&str, String)> {
    let mut problems = Vec::new();
    for (key, value) in &trigger.config {
        if !settings(kind).any(|known| known == key) {
            let known: Vec<_> = settings(kind).collect();
            let known = known.join(", ");
            problems.push((key.as_str(), format!("a {kind} trigger has no such setting: {known}")));
        } else if !value.is_empty()
            && let Some(problem) = problem(key, value)
        {
            problems.push((key.as_str(), problem));
        }
    }
    let event = EventTrigger { kind, trigger };
    if event.max_held().is_some_and(|held| held < event.concurrency()) {
        problems.push(("maxHeld", "must be at least concurrency".to_owned()));
    }
    problems
}

fn problem(key: &str, value: &str) -> Option<String> {
    if let Some((_, min, max)) = NUMBERS.iter().find(|(name, ..)| *name == key) {
        let message = || format!("must be a whole number from {min} to {max}");
        return number(value, *min, *max).is_none().then(message);
    }
    if let Some((_, min, max)) = DURATIONS.iter().find(|(name, ..)| *name == key) {
        let message = || format!("must be a duration such as 30s or 5m, from {min:?} to {max:?}");
        return duration(value, *min, *max).is_none().then(message);
    }
    let message = match key {
        "listEnd" if !matches!(value, "left" | "right") => "must be left or right",
        "key" if value.split(',').any(|column| column.trim().is_empty()) => {
            "must be columns, with commas between them"
        }
        _ if value.contains('\0') => "must not contain a null character",
        _ => return None,
    };
    Some(message.to_owned())
}

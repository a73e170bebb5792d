//! An event trigger: what its map of texts means, with every default applied.
//!
//! A value that cannot be read counts as absent here, because an older cluster may have stored it;
//! [`EventTrigger::problems`] says what is wrong with it.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    kind::Kind,
    setting::{ListEnd, Setting, defaults},
    variable::Variable,
};

/// The event trigger of a function.
#[derive(Clone, Copy, Debug)]
pub struct EventTrigger<'a> {
    /// Where its events come from.
    pub kind: Kind,
    config: &'a BTreeMap<String, String>,
}

/// One problem of a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key in `config`.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.message)
    }
}

impl<'a> EventTrigger<'a> {
    /// Of this kind, with this `config`.
    pub const fn new(kind: Kind, config: &'a BTreeMap<String, String>) -> Self {
        Self { kind, config }
    }

    /// A setting as it stands; empty counts as absent.
    pub fn setting(&self, setting: Setting) -> Option<&'a str> {
        self.config.get(setting.name()).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Name of the Service that events come from.
    pub fn source(&self) -> &'a str {
        self.setting(Setting::Source).unwrap_or_default()
    }

    /// Database of that Service; `None` for the one that its Secret names, and for a source without
    /// databases.
    pub fn database(&self) -> Option<&'a str> {
        self.kind.is_sql().then(|| self.setting(Setting::Database)).flatten()
    }

    /// True where nothing in the source says that a row was handled.
    pub fn leaves_no_mark(&self) -> bool {
        self.kind.is_sql() && self.setting(Setting::MarkDone).is_none()
    }

    /// True where an event that has failed too often is put aside.
    pub fn has_dead_letters(&self) -> bool {
        !self.kind.is_sql() || self.setting(Setting::OnFailed).is_some()
    }

    /// Waiting events for which the scaler wants one replica.
    pub fn batch(&self) -> u32 {
        self.number(Setting::Batch).unwrap_or(defaults::BATCH)
    }

    /// Events handled at once in one pod.
    pub fn concurrency(&self) -> u32 {
        self.number(Setting::Concurrency).unwrap_or(defaults::CONCURRENCY)
    }

    /// Events claimed and not yet marked, if the trigger says how many.
    pub fn max_held(&self) -> Option<u32> {
        self.number(Setting::MaxHeld)
    }

    /// Attempts before an event is dead, if the trigger says so.
    pub fn max_attempts(&self) -> Option<u32> {
        self.number(Setting::MaxAttempts)
    }

    /// Pause after a look that found nothing, if the trigger says so.
    pub fn poll_interval(&self) -> Option<Duration> {
        self.duration(Setting::PollInterval)
    }

    /// How long the function may take for one event.
    pub fn deliver_timeout(&self) -> Duration {
        self.duration(Setting::DeliverTimeout).unwrap_or(defaults::DELIVER_TIMEOUT)
    }

    /// How long a claim lives without being renewed, if the trigger says so.
    pub fn lease(&self) -> Option<Duration> {
        self.duration(Setting::Lease)
    }

    /// From which end of a list items are taken, if the trigger says so.
    pub fn list_end(&self) -> Option<ListEnd> {
        self.setting(Setting::ListEnd).and_then(ListEnd::parse)
    }

    /// Columns that tell rows apart; none where it is the primary key.
    pub fn key(&self) -> Vec<&'a str> {
        let columns = self.setting(Setting::Key).into_iter().flat_map(|key| key.split(','));
        columns.map(str::trim).collect()
    }

    fn number(&self, setting: Setting) -> Option<u32> {
        setting.number(self.setting(setting)?).ok()
    }

    fn duration(&self, setting: Setting) -> Option<Duration> {
        setting.duration(self.setting(setting)?).ok()
    }

    /// What the trigger must say and does not.
    pub fn missing(&self) -> impl Iterator<Item = Setting> {
        let required = Setting::required(self.kind).iter().copied();
        required.filter(|setting| self.setting(*setting).is_none())
    }

    /// Everything wrong with it: what is missing first, then the rest in the order of the keys.
    pub fn problems(&self) -> Vec<Problem> {
        let problem = |key: &str, message| Problem { key: key.to_owned(), message };
        let required = format!("is required for a {} trigger", self.kind);
        let missing = self.missing().map(|setting| problem(setting.name(), required.clone()));
        let mut problems: Vec<_> = missing.collect();
        for (key, value) in self.config {
            let known = Setting::parse(key).filter(|it| Setting::of(self.kind).contains(it));
            let message = match known {
                None => Some(self.unknown()),
                Some(_) if value.is_empty() => None,
                Some(setting) => setting.problem(value),
            };
            problems.extend(message.map(|message| problem(key, message)));
        }
        if self.max_held().is_some_and(|held| held < self.concurrency()) {
            let message = "must be at least concurrency".to_owned();
            problems.push(problem(Setting::MaxHeld.name(), message));
        }
        problems
    }

    fn unknown(&self) -> String {
        let known: Vec<_> = Setting::of(self.kind).iter().map(|setting| setting.name()).collect();
        format!("is not a setting of a {} trigger, which has {}", self.kind, known.join(", "))
    }

    /// The settings as a poller is told them, but for [`Variable::MaxHeld`], which depends on the
    /// server too. What the trigger does not say is left to the poller.
    pub fn variables(&self) -> Vec<(Variable, String)> {
        let text = |setting| self.setting(setting).map(str::to_owned);
        let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
        let key = Some(self.key().join(",")).filter(|key| !key.is_empty());
        let all = [
            (Variable::Query, text(Setting::Query)),
            (Variable::MarkDone, text(Setting::MarkDone)),
            (Variable::OnFailed, text(Setting::OnFailed)),
            (Variable::List, text(Setting::List)),
            (Variable::ListEnd, self.list_end().map(|end| end.to_string())),
            (Variable::Bucket, text(Setting::Bucket)),
            (Variable::KeyColumns, key),
            (Variable::Concurrency, Some(self.concurrency().to_string())),
            (Variable::MaxAttempts, self.max_attempts().map(|attempts| attempts.to_string())),
            (Variable::PollInterval, self.poll_interval().map(milliseconds)),
            (Variable::DeliverTimeout, Some(milliseconds(self.deliver_timeout()))),
            (Variable::Lease, self.lease().map(milliseconds)),
        ];
        all.into_iter().filter_map(|(variable, value)| Some((variable, value?))).collect()
    }
}

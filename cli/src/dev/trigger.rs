//! Event triggers: from what a Function and the command line say to what a poller needs, and of a
//! bucket its watcher.
//!
//! `config.source` is a URL, or the name of a Service, which is looked up among the `--source`
//! flags and then in the environment. Connects to nothing: whether the source is there, and whether
//! the trigger works on it, is found out by those who use it.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use clap::{CommandFactory as _, FromArgMatches as _, builder::Resettable};
use kipper_bucket_watcher::BucketTrigger;
use kipper_function::function::{Trigger, TriggerKind};
use kipper_poller::{Config, config::Secret, target::TargetUrlError};
use kipper_process::exit::UsageError;

use super::{
    args::TriggerArgs,
    load::{Code, LocalFunction},
};

/// Events that one replica is expected to take, as the controller has it.
const DEFAULT_BATCH: u64 = 100;
/// Variables that name a source: this and the name in capitals.
const VARIABLE_PREFIX: &str = "KIPPER_SOURCE_";
/// Settings of a trigger and the poller's flags for them.
const SETTINGS: [(&str, &str); 13] = [
    ("query", "--query"),
    ("markDone", "--mark-done"),
    ("onFailed", "--on-failed"),
    ("key", "--key"),
    ("maxAttempts", "--max-attempts"),
    ("concurrency", "--concurrency"),
    ("maxHeld", "--max-held"),
    ("pollInterval", "--poll-interval"),
    ("deliverTimeout", "--deliver-timeout"),
    ("list", "--list"),
    ("listEnd", "--list-end"),
    ("lease", "--lease"),
    ("bucket", "--bucket"),
];

/// Where sources are.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    /// By the names of their Services.
    pub(super) urls: BTreeMap<String, Secret>,
    /// Files with their certificate authorities; a source that is a URL itself has the empty name.
    pub(super) authorities: BTreeMap<String, PathBuf>,
}

impl Sources {
    fn find(&self, source: &str) -> Option<Secret> {
        if is_url(source) {
            return Some(source.into());
        }
        let in_environment = || std::env::var(variable(source)).ok().map(Secret);
        self.urls.get(source).cloned().or_else(in_environment)
    }

    fn authority(&self, source: &str) -> Option<&Path> {
        let name = if is_url(source) { "" } else { source };
        self.authorities.get(name).map(PathBuf::as_path)
    }
}

fn is_url(source: &str) -> bool {
    source.contains("://")
}

/// `KIPPER_SOURCE_ORDERS_DB` for `orders-db`.
fn variable(source: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = source.chars().map(fits).collect();
    format!("{VARIABLE_PREFIX}{name}")
}

/// Why the events of a function are not handled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("needs --source {source_name}=<url> or {}", variable(source_name))]
    NoSource { source_name: String },
    #[error("{0}")]
    Setting(String),
}

/// An event trigger whose source is known.
#[derive(Clone)]
pub(super) struct EventTrigger {
    pub(super) kind: TriggerKind,
    /// What the poller was configured from.
    flags: Vec<String>,
    config: Config,
    /// Events that one replica is expected to take.
    pub(super) batch: u64,
    /// Handled events leave the source, so that several replicas may share it.
    pub(super) is_marked: bool,
    /// What is to be watched, where events come from a bucket.
    pub(super) bucket: Option<BucketTrigger>,
}

impl EventTrigger {
    /// The trigger of `function`; `None` where it has none.
    pub(super) fn of(
        function: &LocalFunction,
        sources: &Sources,
    ) -> Option<Result<Self, Unavailable>> {
        let trigger = function.spec.event_trigger()?;
        Some(Self::resolve(function, trigger, sources))
    }

    fn resolve(
        function: &LocalFunction,
        trigger: &Trigger,
        sources: &Sources,
    ) -> Result<Self, Unavailable> {
        // Validated when it was loaded.
        let kind = trigger.kind().unwrap_or(TriggerKind::Http);
        let source_name = trigger.setting("source").unwrap_or_default().to_owned();
        let authority = sources.authority(&source_name);
        let url = sources.find(&source_name).ok_or(Unavailable::NoSource { source_name })?;
        let mut flags = vec![
            "kipper-poll".to_owned(),
            format!("--trigger={kind}"),
            format!("--namespace={}", super::function::NAMESPACE),
            format!("--function={}", function.name),
            format!("--source-url={}", url.0),
        ];
        let given = |(key, flag)| Some(format!("{flag}={}", trigger.setting(key)?));
        flags.extend(SETTINGS.into_iter().filter_map(given));
        flags.extend(authority.map(|file| format!("--source-ca={}", file.display())));
        let config = parse(&flags).map_err(Unavailable::Setting)?;
        let is_sql = matches!(kind, TriggerKind::Postgres | TriggerKind::Mysql);
        let is_marked = !is_sql || trigger.setting("markDone").is_some();
        let bucket = bucket(kind, trigger, &config)?;
        Ok(Self { kind, flags, config, batch: batch(trigger)?, is_marked, bucket })
    }

    /// How its source is reached and read.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The same for a poller that delivers to this loopback port.
    pub(super) fn config_for(&self, port: u16) -> Result<Config, TargetUrlError> {
        let target_url = format!("http://127.0.0.1:{port}/event").parse()?;
        Ok(Config { target_url, ..self.config.clone() })
    }

    /// What its events are, for the user: `1 row`, `3 rows`.
    pub(super) fn events(&self, count: u64) -> String {
        let noun = match self.kind {
            TriggerKind::Postgres | TriggerKind::Mysql => "row",
            TriggerKind::Redis => "item",
            TriggerKind::Minio | TriggerKind::Http | TriggerKind::Cron => "event",
        };
        if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
    }
}

impl PartialEq for EventTrigger {
    fn eq(&self, other: &Self) -> bool {
        self.flags == other.flags && self.batch == other.batch && self.bucket == other.bucket
    }
}

impl Eq for EventTrigger {}

impl fmt::Debug for EventTrigger {
    /// Without its flags, which have the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventTrigger").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Reads the poller's flags as the poller does, but without its environment, which is another
/// process's.
fn parse(flags: &[String]) -> Result<Config, String> {
    let command = Config::command().mut_args(|arg| arg.env(Resettable::Reset));
    let matches = command.try_get_matches_from(flags);
    let config = matches.and_then(|matches| Config::from_arg_matches(&matches));
    config.map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    })
}

/// What the bucket watcher is to look at, as the controller would tell it.
fn bucket(
    kind: TriggerKind,
    trigger: &Trigger,
    config: &Config,
) -> Result<Option<BucketTrigger>, Unavailable> {
    if kind != TriggerKind::Minio {
        return Ok(None);
    }
    let source = config.minio().map_err(|error| Unavailable::Setting(error.to_string()))?;
    let setting = |key| trigger.setting(key).unwrap_or_default().to_owned();
    Ok(Some(BucketTrigger {
        namespace: source.namespace,
        function: source.function,
        endpoint: source.endpoint,
        bucket: setting("bucket"),
        prefix: setting("prefix"),
        suffix: setting("suffix"),
    }))
}

fn batch(trigger: &Trigger) -> Result<u64, Unavailable> {
    let Some(text) = trigger.setting("batch") else {
        return Ok(DEFAULT_BATCH);
    };
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| Unavailable::Setting("batch must be a number above 0".to_owned()))
}

/// Gives the one code file the trigger that the flags describe.
pub(super) fn declare(args: &TriggerArgs, functions: &mut [LocalFunction]) -> anyhow::Result<()> {
    let Some(kind) = args.trigger else {
        return match args.given() {
            Some(flag) => Err(UsageError::new(format!("{flag} needs --trigger")).into()),
            None => Ok(()),
        };
    };
    let [function] = functions else {
        return Err(UsageError::new("--trigger needs exactly one function").into());
    };
    if function.code == Code::Inline {
        return Err(UsageError::new("--trigger is for code files; a Function has its own").into());
    }
    if let Some(flag) = args.missing(kind) {
        return Err(UsageError::new(format!("a {kind} trigger needs {flag}")).into());
    }
    function.spec.triggers = vec![Trigger {
        type_: kind.as_str().to_owned(),
        schedule: args.schedule.clone(),
        config: args.config(),
    }];
    Ok(())
}

#[cfg(test)]
mod tests;

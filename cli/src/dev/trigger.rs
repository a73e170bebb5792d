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

use kipper_function::function::Trigger;
use kipper_poller::{Config, config::Secret, target::TargetUrlError};
use kipper_process::exit::UsageError;
use kipper_scaler_adapter::bucket_watcher::BucketTrigger;
use kipper_trigger::{self as contract, Kind, Setting, Variable};

use super::{
    args::TriggerArgs,
    load::{Code, LocalFunction},
};

/// Variables that name a source: this and the name in capitals.
const VARIABLE_PREFIX: &str = "KIPPER_SOURCE_";
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
    pub(super) kind: Kind,
    /// What the poller is configured with.
    variables: Vec<(Variable, String)>,
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
        let trigger = function.spec.event()?;
        Some(Self::resolve(function, &trigger, sources))
    }

    fn resolve(
        function: &LocalFunction,
        trigger: &contract::EventTrigger<'_>,
        sources: &Sources,
    ) -> Result<Self, Unavailable> {
        if let Some(problem) = trigger.problems().first() {
            return Err(Unavailable::Setting(problem.to_string()));
        }
        let source_name = trigger.source().to_owned();
        let authority = sources.authority(&source_name);
        let url = sources.find(&source_name).ok_or(Unavailable::NoSource { source_name })?;
        let mut variables = trigger.variables();
        variables.extend([
            (Variable::Trigger, trigger.kind.to_string()),
            (Variable::Namespace, super::function::NAMESPACE.to_owned()),
            (Variable::Function, function.name.clone()),
            (Variable::SourceUrl, url.0),
        ]);
        variables.extend(trigger.max_held().map(|held| (Variable::MaxHeld, held.to_string())));
        variables.extend(authority.map(|file| (Variable::SourceCa, file.display().to_string())));
        let config = Config::from_variables(variables.clone())
            .map_err(|error| Unavailable::Setting(error.to_string()))?;
        let bucket = bucket(trigger, &config)?;
        let (batch, is_marked) = (trigger.batch().into(), !trigger.leaves_no_mark());
        Ok(Self { kind: trigger.kind, variables, config, batch, is_marked, bucket })
    }

    /// How its source is reached and read.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The same for a poller that delivers to this loopback port.
    pub(super) fn config_for(&self, port: u16) -> Result<Config, TargetUrlError> {
        let target_url = contract::target_url(port).parse()?;
        Ok(Config { target_url, ..self.config.clone() })
    }

    /// What its events are, for the user: `1 row`, `3 rows`.
    pub(super) fn events(&self, count: u64) -> String {
        let noun = match self.kind {
            Kind::Postgres | Kind::Mysql => "row",
            Kind::Redis => "item",
            Kind::Minio => "event",
        };
        if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
    }
}

impl PartialEq for EventTrigger {
    fn eq(&self, other: &Self) -> bool {
        self.variables == other.variables
            && self.batch == other.batch
            && self.bucket == other.bucket
    }
}

impl Eq for EventTrigger {}

impl fmt::Debug for EventTrigger {
    /// Without its variables, which have the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventTrigger").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What the bucket watcher is to look at, as the controller would tell it.
fn bucket(
    trigger: &contract::EventTrigger<'_>,
    config: &Config,
) -> Result<Option<BucketTrigger>, Unavailable> {
    if trigger.kind != Kind::Minio {
        return Ok(None);
    }
    let source = config.minio().map_err(|error| Unavailable::Setting(error.to_string()))?;
    let setting = |key| trigger.setting(key).unwrap_or_default().to_owned();
    Ok(Some(BucketTrigger {
        namespace: source.namespace,
        function: source.function,
        endpoint: source.endpoint,
        bucket: setting(Setting::Bucket),
        prefix: setting(Setting::Prefix),
        suffix: setting(Setting::Suffix),
        state_bucket: source.state_bucket,
    }))
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

//! Event triggers: from what a Function and the command line say to what Kipper's programs are
//! started with.
//!
//! `config.source` is a URL, or the name of a Service, which is looked up among the `--source`
//! flags and then in the environment. Starts nothing: whether the source is there, and whether the
//! trigger works on it, is found out by those who do.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use kipper_function::function::Trigger;
use kipper_process::exit::UsageError;
use kipper_trigger::{self as contract, Kind, Setting, Variable};

use crate::trigger_flags;

use super::{
    super::{
        args::{SourceUrl, TriggerArgs},
        load::{Code, LocalFunction, NAMESPACE},
    },
    companion::Invocation,
    program::Program,
};

/// Variables that name a source: this and the name in capitals.
const VARIABLE_PREFIX: &str = "KIPPER_SOURCE_";
/// Settings that the bucket watcher has flags for.
const BUCKET_SETTINGS: [Setting; 3] = [Setting::Bucket, Setting::Prefix, Setting::Suffix];

/// Where sources are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// By the names of their Services.
    pub(crate) urls: BTreeMap<String, SourceUrl>,
    /// Files with their certificate authorities; a source that is a URL itself has the empty name.
    pub(crate) authorities: BTreeMap<String, PathBuf>,
    /// What proves a delivery to be the poller's; one per run of `kip dev`.
    pub(crate) event_token: String,
}

impl Sources {
    fn find(&self, source: &str) -> Option<SourceUrl> {
        if is_url(source) {
            return Some(SourceUrl::from(source));
        }
        let in_environment = || std::env::var(variable(source)).ok().map(SourceUrl);
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
pub(crate) enum Unavailable {
    #[error("needs --source {source_name}=<url> or {}", variable(source_name))]
    NoSource { source_name: String },
    #[error("{0}")]
    Setting(contract::Problem),
    /// A program that handles its events is not installed.
    #[error("{0}")]
    Program(String),
}

/// An event trigger whose source is known.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EventTrigger {
    pub(crate) kind: Kind,
    function: String,
    /// What the poller is configured with.
    variables: Vec<(Variable, String)>,
    /// Flags of the bucket watcher.
    bucket: Vec<String>,
    /// Events that one replica is expected to take.
    pub(crate) batch: u64,
    /// Handled events leave the source, so that several replicas may share it.
    pub(crate) is_marked: bool,
    /// Of the poller and the function.
    pub(crate) event_token: String,
}

impl EventTrigger {
    /// The trigger of `function`; `None` where it has none.
    ///
    /// # Errors
    /// When its source is not known, or a setting is wrong.
    pub(crate) fn of(
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
        if let Some(problem) = trigger.problems().into_iter().next() {
            return Err(Unavailable::Setting(problem));
        }
        let source_name = trigger.source().to_owned();
        let authority = sources.authority(&source_name);
        let url = sources.find(&source_name).ok_or(Unavailable::NoSource { source_name })?.0;
        let url = match trigger.database() {
            Some(database) => contract::url::with_database(&url, database),
            None => url,
        };
        let mut variables = vec![
            (Variable::Trigger, trigger.kind.to_string()),
            (Variable::Namespace, NAMESPACE.to_owned()),
            (Variable::Function, function.name.clone()),
            (Variable::SourceUrl, url),
        ];
        variables.extend(authority.map(|file| (Variable::SourceCa, file.display().to_string())));
        variables.extend(trigger.max_held().map(|held| (Variable::MaxHeld, held.to_string())));
        variables.extend(trigger.variables());
        let flag = |setting: Setting| {
            let value = trigger.setting(setting)?;
            Some(format!("--{}={value}", setting.name()))
        };
        Ok(Self {
            kind: trigger.kind,
            function: function.name.clone(),
            variables,
            bucket: BUCKET_SETTINGS.into_iter().filter_map(flag).collect(),
            batch: trigger.batch().into(),
            is_marked: !trigger.leaves_no_mark(),
            event_token: sources.event_token.clone(),
        })
    }

    /// The programs without which its events are not handled.
    pub(crate) const fn programs(&self) -> &'static [Program] {
        match self.kind {
            Kind::Minio => &[Program::Poller, Program::BucketWatcher],
            Kind::Postgres | Kind::Mysql | Kind::Redis => &[Program::Poller],
        }
    }

    /// The check of the trigger against its source.
    pub(crate) fn check(&self) -> Invocation {
        self.poll(["check".to_owned()], [])
    }

    /// The count of what waits.
    pub(crate) fn counter(&self, bound: u64, interval: Duration) -> Invocation {
        let interval = humantime::format_duration(interval);
        let arguments = [format!("--bound={bound}"), format!("--interval={interval}")];
        self.poll(["count".to_owned()].into_iter().chain(arguments), [])
    }

    /// The poller that delivers to this loopback port.
    pub(crate) fn poller(&self, port: u16) -> Invocation {
        let own = [
            (Variable::TargetUrl, contract::target_url(port)),
            (Variable::AdminListen, "127.0.0.1:0".to_owned()),
        ];
        let event_token = Some(self.event_token.clone());
        Invocation { event_token, ..self.poll([], own) }
    }

    fn poll<const N: usize>(
        &self,
        arguments: impl IntoIterator<Item = String>,
        more: [(Variable, String); N],
    ) -> Invocation {
        let variables = self.variables.iter().cloned().chain(more).collect();
        Invocation {
            program: Program::Poller,
            arguments: arguments.into_iter().collect(),
            variables,
            event_token: None,
        }
    }

    /// The watcher of its bucket; `None` where its events come from elsewhere.
    pub(crate) fn bucket_watcher(&self, list_interval: Duration) -> Option<Invocation> {
        if self.kind != Kind::Minio {
            return None;
        }
        let interval = humantime::format_duration(list_interval);
        let function =
            [format!("--namespace={NAMESPACE}"), format!("--function={}", self.function)];
        let own = [format!("--list-interval={interval}")];
        let source = [Variable::SourceUrl, Variable::SourceCa];
        let variables = self.variables.iter().filter(|(name, _)| source.contains(name));
        Some(Invocation {
            program: Program::BucketWatcher,
            arguments: function.into_iter().chain(self.bucket.iter().cloned()).chain(own).collect(),
            variables: variables.cloned().collect(),
            event_token: None,
        })
    }

    /// What its events are, for the user: `1 row`, `3 rows`.
    pub(crate) fn events(&self, count: u64) -> String {
        let noun = match self.kind {
            Kind::Postgres | Kind::Mysql => "row",
            Kind::Redis => "item",
            Kind::Minio => "event",
        };
        if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
    }
}

impl fmt::Debug for EventTrigger {
    /// Without its secrets: the token, and its variables, one of which has the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("EventTrigger");
        debug.field("kind", &self.kind).field("function", &self.function).finish_non_exhaustive()
    }
}

/// Gives the one code file the trigger that the flags describe.
pub(crate) fn declare(args: &TriggerArgs, functions: &mut [LocalFunction]) -> anyhow::Result<()> {
    let Some(kind) = args.trigger else {
        return match args.given() {
            Some((flag, setting)) => {
                Err(UsageError::new(trigger_flags::needs_trigger(flag, setting)).into())
            }
            None => Ok(()),
        };
    };
    let [function] = functions else {
        return Err(UsageError::new("--trigger needs exactly one function").into());
    };
    if function.code == Code::Inline {
        return Err(UsageError::new(
            "--trigger is for code files; a Function defines its own trigger",
        )
        .into());
    }
    args.fit(kind).map_err(UsageError::new)?;
    if let Some(flag) = args.missing(kind) {
        return Err(UsageError::new(format!("a {kind} trigger needs {flag}")).into());
    }
    let mut trigger =
        Trigger { type_: kind.as_str().to_owned(), config: args.config(), ..Trigger::default() };
    args.cron.apply(&mut trigger);
    function.spec.triggers = vec![trigger];
    Ok(())
}

#[cfg(test)]
mod tests;

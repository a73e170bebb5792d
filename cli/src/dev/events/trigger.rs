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

use kipper_function::function::{Trigger, TriggerKind};
use kipper_process::exit::UsageError;

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
/// The same of the bucket watcher.
const BUCKET_SETTINGS: [(&str, &str); 3] =
    [("bucket", "--bucket"), ("prefix", "--prefix"), ("suffix", "--suffix")];

/// Where sources are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// By the names of their Services.
    pub(crate) urls: BTreeMap<String, SourceUrl>,
    /// Files with their certificate authorities; a source that is a URL itself has the empty name.
    pub(crate) authorities: BTreeMap<String, PathBuf>,
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

/// The source of a trigger is not known, so the events of its function are not handled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("needs --source {source_name}=<url> or {}", variable(source_name))]
pub(crate) struct UnknownSource {
    source_name: String,
}

/// An event trigger whose source is known.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EventTrigger {
    pub(crate) kind: TriggerKind,
    function: String,
    /// The trigger's `config`.
    settings: BTreeMap<String, String>,
    source_url: SourceUrl,
    authority: Option<PathBuf>,
    /// Events that one replica is expected to take.
    pub(crate) batch: u64,
    /// Handled events leave the source, so that several replicas may share it.
    pub(crate) is_marked: bool,
}

impl EventTrigger {
    /// The trigger of `function`; `None` where it has none.
    ///
    /// # Errors
    /// When its source is not known.
    pub(crate) fn of(
        function: &LocalFunction,
        sources: &Sources,
    ) -> Option<Result<Self, UnknownSource>> {
        // Its settings were validated when it was loaded.
        let event = function.spec.event()?;
        let trigger = function.spec.event_trigger()?;
        let source_name = event.source().to_owned();
        let Some(source_url) = sources.find(&source_name) else {
            return Some(Err(UnknownSource { source_name }));
        };
        Some(Ok(Self {
            kind: event.kind,
            function: function.name.clone(),
            settings: trigger.config.clone(),
            source_url,
            authority: sources.authority(&source_name).map(Path::to_owned),
            batch: event.batch().into(),
            is_marked: !event.leaves_no_mark(),
        }))
    }

    /// The programs without which its events are not handled.
    pub(crate) const fn programs(&self) -> &'static [Program] {
        match self.kind {
            TriggerKind::Minio => &[Program::Poller, Program::BucketWatcher],
            _ => &[Program::Poller],
        }
    }

    /// The check of the trigger against its source.
    pub(crate) fn check(&self) -> Invocation {
        self.poll(["check".to_owned()])
    }

    /// The count of what waits.
    pub(crate) fn counter(&self, bound: u64, interval: Duration) -> Invocation {
        let interval = humantime::format_duration(interval);
        self.poll([
            "count".to_owned(),
            format!("--bound={bound}"),
            format!("--interval={interval}"),
        ])
    }

    /// The poller that delivers to this loopback port.
    pub(crate) fn poller(&self, port: u16) -> Invocation {
        self.poll([
            format!("--target-url=http://127.0.0.1:{port}/event"),
            "--admin-listen=127.0.0.1:0".to_owned(),
        ])
    }

    fn poll(&self, more: impl IntoIterator<Item = String>) -> Invocation {
        let kind = [format!("--trigger={}", self.kind)];
        let arguments = kind.into_iter().chain(self.arguments(&SETTINGS)).chain(more).collect();
        self.invocation(Program::Poller, arguments)
    }

    /// The watcher of its bucket; `None` where its events come from elsewhere.
    pub(crate) fn bucket_watcher(&self, list_interval: Duration) -> Option<Invocation> {
        let interval = humantime::format_duration(list_interval);
        let more = [format!("--list-interval={interval}")];
        let arguments = self.arguments(&BUCKET_SETTINGS).chain(more).collect();
        let is_bucket = self.kind == TriggerKind::Minio;
        is_bucket.then(|| self.invocation(Program::BucketWatcher, arguments))
    }

    /// What both programs are started with, and the settings that are given.
    fn arguments<'a>(
        &'a self,
        settings: &'a [(&str, &str)],
    ) -> impl Iterator<Item = String> + use<'a> {
        let fixed = [format!("--namespace={NAMESPACE}"), format!("--function={}", self.function)];
        let authority = self.authority.as_deref();
        let authority = authority.map(|file| format!("--source-ca={}", file.display()));
        let given = settings.iter().filter_map(|(key, flag)| {
            let value = self.settings.get(*key).filter(|value| !value.is_empty())?;
            Some(format!("{flag}={value}"))
        });
        fixed.into_iter().chain(authority).chain(given)
    }

    fn invocation(&self, program: Program, arguments: Vec<String>) -> Invocation {
        Invocation { program, arguments, source_url: self.source_url.clone() }
    }

    /// What its events are, for the user: `1 row`, `3 rows`.
    pub(crate) fn events(&self, count: u64) -> String {
        let noun = match self.kind {
            TriggerKind::Postgres | TriggerKind::Mysql => "row",
            TriggerKind::Redis => "item",
            TriggerKind::Minio | TriggerKind::Http | TriggerKind::Cron => "event",
        };
        if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
    }
}

impl fmt::Debug for EventTrigger {
    /// Without its settings: the source may be a URL with a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("EventTrigger");
        debug.field("kind", &self.kind).field("function", &self.function).finish_non_exhaustive()
    }
}

/// Gives the one code file the trigger that the flags describe.
pub(crate) fn declare(args: &TriggerArgs, functions: &mut [LocalFunction]) -> anyhow::Result<()> {
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
        return Err(UsageError::new(
            "--trigger is for code files; a Function defines its own trigger",
        )
        .into());
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

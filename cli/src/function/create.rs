//! `kip function create`: a Function from flags, checked before anything is written.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args as ClapArgs, ValueEnum};
use humantime::parse_duration;
use kipper_client::{
    ApiError, check,
    functions::{self, Apply, Written},
    hosts::{self, Taken},
    namespaces,
    secrets::{self, SecretValue, Secrets},
    services::Services,
};
use kipper_function::Function;
use kipper_process::exit::UsageError;
use kube::ResourceExt as _;

use crate::{
    interrupt,
    output::{self, Format, OutputArgs},
    prompt,
    settings::ScopeArgs,
};

use super::{RESOURCE, Session, report, spec_args::SpecArgs};

/// Create a function, or make one that is there be as the flags say.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// What it is.
    #[command(flatten)]
    pub spec: SpecArgs,

    /// Key of a secret, whose value is asked for, or read from stdin (may be repeated)
    #[arg(long, value_name = "KEY")]
    pub secret: Vec<String>,

    /// Secret whose value is in a file (may be repeated)
    #[arg(long, value_name = "KEY=PATH", value_parser = secret_file)]
    pub secret_file: Vec<(String, PathBuf)>,

    /// Make the namespace if it does not exist
    #[arg(long)]
    pub create_namespace: bool,

    /// How it is written.
    #[command(flatten)]
    pub write: WriteArgs,

    /// How it is waited for.
    #[command(flatten)]
    pub wait: WaitArgs,

    /// Form of the output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How a Function is written.
#[derive(Clone, Copy, Debug, Default, ClapArgs)]
pub struct WriteArgs {
    /// Write nothing: `client` asks no cluster, `server` asks whether it could be written
    #[arg(long, value_enum, value_name = "WHERE")]
    pub dry_run: Option<DryRun>,

    /// Take over fields that others set
    #[arg(long)]
    pub force_conflicts: bool,
}

/// Where a dry run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// Before any cluster is asked
    Client,
    /// At the cluster, which keeps nothing
    Server,
}

impl WriteArgs {
    pub(super) fn apply(self) -> Apply {
        let dry_run = self.dry_run == Some(DryRun::Server);
        Apply { dry_run, force: self.force_conflicts }
    }
}

/// How a Function is waited for.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub struct WaitArgs {
    /// Wait until it is ready and has answered a request
    #[arg(long)]
    pub wait: bool,

    /// How long to wait
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "2m")]
    pub timeout: Duration,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let mut function = Function::new(&args.name, args.spec.read()?.create()?);
    refuse(&function)?;
    let keys = args.secret_keys()?;
    if args.write.dry_run == Some(DryRun::Client) {
        function.metadata.namespace = scope.settings()?.target.namespace;
        return shown(args.output.output, &function, "would be created (no cluster was asked)");
    }
    let session = Session::open(scope).await?;
    if args.create_namespace && args.write.dry_run.is_none() {
        namespaces::ensure(&session.connection, session.settings.place.as_ref()).await?;
    }
    serves(&session, &function).await?;
    if let Some(taken) = host_taken(&session, &function).await? {
        return Err(taken.into());
    }
    if args.write.dry_run.is_some() {
        let written = session.functions.apply(&function, args.write.apply()).await?;
        return shown(args.output.output, &written.function, "would be accepted by the cluster");
    }
    let written = write(args, &session, &function, &keys).await?;
    report::after(&session, written, args.wait, args.output.output).await
}

/// Prints what was not written.
fn shown(format: Option<Format>, function: &Function, what: &str) -> anyhow::Result<()> {
    match format {
        Some(format) => output::object(format, RESOURCE, function),
        None => output::line(format!("function {} {what}", function.name_any())),
    }
}

/// Secrets first, so that the first pod has them, but not before the cluster takes the Function.
async fn write(
    args: &Args,
    session: &Session,
    function: &Function,
    keys: &[Key],
) -> anyhow::Result<Written> {
    if keys.is_empty() {
        return Ok(session.functions.apply(function, args.write.apply()).await?);
    }
    let dry = Apply { dry_run: true, ..args.write.apply() };
    session.functions.apply(function, dry).await?;
    let mut values = BTreeMap::new();
    for key in keys {
        values.insert(key.name.clone(), key.value()?);
    }
    interrupt::whole(async {
        let secrets = Secrets::new(&session.connection);
        secrets.set(&args.name, &values).await?;
        let written = session.functions.apply(function, args.write.apply()).await?;
        secrets.adopt(&written.function).await?;
        Ok(written)
    })
    .await?
}

/// Refuses what cannot work, in the words of the resource.
pub(super) fn refuse(function: &Function) -> Result<(), UsageError> {
    let problems = check::function(function);
    if problems.is_empty() {
        return Ok(());
    }
    let name = function.name_any();
    Err(UsageError::new(format!("function {name}: {}", functions::join(&problems))))
}

/// Whether the services it names are there and fit. Who may not look at services is not held up.
pub(super) async fn serves(session: &Session, function: &Function) -> anyhow::Result<()> {
    if function.spec.service_bindings.is_empty() && function.spec.event_trigger().is_none() {
        return Ok(());
    }
    let services = match Services::read(&session.connection).await {
        Ok(services) => services,
        Err(ApiError::Forbidden(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let Some(problem) = services.problems(&function.spec).into_iter().next() else {
        return Ok(());
    };
    if namespaces::exists(&session.connection).await == Some(false) {
        return Err(ApiError::NoNamespace(session.namespace().to_owned()).into());
    }
    Err(problem.into())
}

/// Who has the host of the function already, if anybody.
pub(super) async fn host_taken(
    session: &Session,
    function: &Function,
) -> Result<Option<Taken>, ApiError> {
    if !function.spec.is_http() {
        return Ok(None);
    }
    let cluster = session.cluster().await?;
    hosts::taken(&session.connection, cluster.as_ref(), &function.name_any()).await
}

/// A secret that is to be set, and where its value comes from.
struct Key {
    name: String,
    from: Origin,
}

enum Origin {
    Prompt,
    Stdin,
    File(PathBuf),
}

impl Key {
    fn value(&self) -> anyhow::Result<SecretValue> {
        match &self.from {
            Origin::Prompt => prompted(&self.name),
            Origin::Stdin => from_stdin(),
            Origin::File(path) => from_file(path),
        }
    }
}

impl Args {
    fn secret_keys(&self) -> anyhow::Result<Vec<Key>> {
        let asks = prompt::is_possible();
        if self.secret.len() > 1 && !asks {
            let message = "stdin is one value: give the other secrets with --secret-file";
            return Err(UsageError::new(message).into());
        }
        let asked = self.secret.iter().map(|name| {
            let from = if asks { Origin::Prompt } else { Origin::Stdin };
            Key { name: name.clone(), from }
        });
        let files = self.secret_file.iter();
        let files =
            files.map(|(name, path)| Key { name: name.clone(), from: Origin::File(path.clone()) });
        let keys: Vec<Key> = asked.chain(files).collect();
        for key in &keys {
            secrets::check_key(&key.name).map_err(UsageError::new)?;
        }
        Ok(keys)
    }
}

/// A value typed at the terminal.
pub(super) fn prompted(key: &str) -> anyhow::Result<SecretValue> {
    let value = prompt::hidden(&format!("Value of {key}"))?;
    anyhow::ensure!(!value.is_empty(), "no value was typed, nothing was changed");
    Ok(SecretValue::new(value)?)
}

/// All of stdin, without the line's end that `echo` adds.
pub(super) fn from_stdin() -> anyhow::Result<SecretValue> {
    let mut text = std::io::read_to_string(std::io::stdin().lock())?;
    if text.ends_with('\n') {
        text.truncate(text.len() - if text.ends_with("\r\n") { 2 } else { 1 });
    }
    anyhow::ensure!(!text.is_empty(), "there is no value on stdin, nothing was changed");
    Ok(SecretValue::new(text)?)
}

/// A file as it is.
pub(super) fn from_file(path: &PathBuf) -> anyhow::Result<SecretValue> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(SecretValue::new(text)?)
}

fn secret_file(text: &str) -> Result<(String, PathBuf), String> {
    let (key, path) = text.split_once('=').ok_or("is not KEY=PATH")?;
    Ok((key.to_owned(), PathBuf::from(path)))
}

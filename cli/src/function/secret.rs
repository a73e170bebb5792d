//! `kip function secret`: values are typed, piped or read from a file, and never shown.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, Subcommand};
use kipper_client::{
    secrets::{self, Secrets},
    wait,
};
use kipper_function::Function;
use kipper_process::exit::UsageError;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    interrupt,
    output::{self, Format, OutputArgs},
    prompt,
    secret_value::{from_file, from_stdin, prompted},
    session::Session,
    settings::ScopeArgs,
    write::WaitArgs,
};

use super::{overridden, report};

/// How long the controller is waited for to take note: it does at once.
const LOOK: Duration = Duration::from_secs(10);

/// Secrets.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Set the value of a secret, typed at a prompt or read from stdin
    Set {
        /// Name of the function
        name: String,
        /// Name of the secret, and of the variable it becomes
        key: String,
        /// Read the value from this file, without the newline at its end
        #[arg(long, value_name = "PATH")]
        from_file: Option<PathBuf>,
        /// How it is waited for.
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// List the secrets: their names, and whether they had another value before
    List {
        /// Name of the function
        name: String,
        /// Output format.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Delete secrets
    #[command(visible_alias = "unset")]
    Delete {
        /// Name of the function
        name: String,
        /// Names of secrets
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        /// How it is waited for.
        #[command(flatten)]
        wait: WaitArgs,
    },
}

pub(super) async fn run(args: Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Set { name, key, from_file, wait } => {
            set(scope, &name, &key, from_file, wait).await
        }
        Command::List { name, output } => list(scope, &name, output.output).await,
        Command::Delete { name, keys, wait } => delete(scope, &name, &keys, wait).await,
    }
}

async fn set(
    scope: &ScopeArgs,
    name: &str,
    key: &str,
    file: Option<PathBuf>,
    wait: WaitArgs,
) -> anyhow::Result<()> {
    if let Some((key, _)) = key.split_once('=') {
        return Err(UsageError::new(format!(
            "give the name alone, {key}: a value on the command line stays in the shell's history"
        ))
        .into());
    }
    if let Some(removed) = key.strip_suffix('-').filter(|removed| !removed.is_empty()) {
        return Err(UsageError::new(format!(
            "{key} is not the name of a variable; to remove {removed}: kip function secret delete \
             {name} {removed}{}",
            scope.flags()
        ))
        .into());
    }
    secrets::check_key(key).map_err(UsageError::new)?;
    let of_file = file.map(|path| from_file(&path)).transpose()?;
    let session = Session::open(scope).await?;
    // Nobody types a value for a function that is not there.
    let function = session.functions.get(name).await?;
    let value = match of_file {
        Some(value) => value,
        None if prompt::is_possible() => prompted(key)?,
        None => from_stdin()?,
    };
    let written = interrupt::whole(async {
        let secrets = Secrets::new(&session.connection);
        let stored = secrets.set(name, &BTreeMap::from([(key.to_owned(), value)])).await?;
        secrets.adopt(&function).await?;
        anyhow::Ok(stored)
    });
    let stored = written.await??;
    let has_it = |function: &Function| {
        let keys = function.status.iter().flat_map(|status| &status.secret_keys);
        let reported: BTreeMap<_, _> = keys.map(|key| (&key.name, &key.rotated_at)).collect();
        stored.iter().all(|(key, rotated_at)| reported.get(key) == Some(&rotated_at))
    };
    taken_note(&session, name, wait, has_it).await?;
    output::line(format!("secret {key} of function {name} set"))?;
    overridden::warn_of_secrets(&function, [key], &session.settings.flags);
    report::settle(&session, &function, wait).await
}

async fn delete(
    scope: &ScopeArgs,
    name: &str,
    keys: &[String],
    wait: WaitArgs,
) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let function = session.functions.get(name).await?;
    Secrets::new(&session.connection).delete(name, keys).await?;
    let has_none = |function: &Function| {
        let mut reported = function.status.iter().flat_map(|status| &status.secret_keys);
        reported.all(|key| !keys.contains(&key.name))
    };
    taken_note(&session, name, wait, has_none).await?;
    for key in keys {
        output::line(format!("secret {key} of function {name} deleted"))?;
    }
    report::settle(&session, &function, wait).await
}

/// Waits until the controller has seen the change, and says so if it does not. Whoever waits for pods
/// with it has to know: those of before are ready, too.
async fn taken_note(
    session: &Session,
    name: &str,
    wait: WaitArgs,
    holds: impl Fn(&Function) -> bool,
) -> anyhow::Result<()> {
    let patience = if wait.wait { wait.timeout } else { LOOK };
    let deadline = Instant::now() + patience;
    if !wait::told_by_status(&session.functions, name, deadline, holds).await? {
        anyhow::ensure!(
            !wait.wait,
            "the controller has not processed the change within {}",
            humantime::format_duration(patience)
        );
        output::note(
            "warning: the controller has not processed the change yet; pods keep the old values \
             until it has",
        );
    }
    Ok(())
}

async fn list(scope: &ScopeArgs, name: &str, format: Option<Format>) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let status = session.functions.get(name).await?.status.unwrap_or_default();
    let keys = status.secret_keys;
    match format {
        None if keys.is_empty() => {
            output::note(format!("no secrets found in function {name}"));
            Ok(())
        }
        None => {
            let rows: Vec<_> = keys
                .into_iter()
                .map(|key| vec![key.name, key.rotated_at.unwrap_or_else(|| "no".to_owned())])
                .collect();
            output::print(output::table(&["NAME", "HAS PREVIOUS"], &rows))
        }
        Some(Format::Name) => keys.iter().try_for_each(|key| output::line(&key.name)),
        Some(format) => {
            let keys = keys.iter().map(|key| {
                json!({
                    "name": key.name,
                    "has_previous": key.rotated_at.is_some(),
                    "rotated_at": key.rotated_at,
                })
            });
            output::value(format, &keys.collect::<Vec<_>>())
        }
    }
}

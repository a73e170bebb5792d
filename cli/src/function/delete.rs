//! `kip function delete`.

use std::time::Duration;

use clap::Args as ClapArgs;
use kipper_client::{ApiError, wait};
use kube::ResourceExt as _;
use tokio::time::Instant;

use crate::{
    duration, failure, output, progress::Progress, prompt, session::Session, settings::ScopeArgs,
};

/// Delete functions.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Names of functions
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,

    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,

    /// Do not wait until they are deleted
    #[arg(long)]
    pub no_wait: bool,

    /// How long to wait
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1m")]
    pub timeout: Duration,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let mut names = args.names.clone();
    names.sort();
    names.dedup();
    if !args.yes {
        let what = if names.len() == 1 { "function" } else { "functions" };
        let (list, namespace) = (names.join(", "), session.namespace());
        prompt::before_deleting(&format!("Delete {what} {list} in namespace {namespace}?"))?;
    }
    let mut failures: Vec<anyhow::Error> = Vec::new();
    let mut going = Vec::new();
    for name in &names {
        match begin(&session, name).await {
            Ok(uid) => going.push((name, uid)),
            Err(error) => failures.push(error.into()),
        }
    }
    let deadline = Instant::now() + args.timeout;
    for (name, uid) in going {
        match gone(&session, name, &uid, args, deadline).await {
            Ok(()) => output::line(format!("function {name} deleted"))?,
            Err(error) => failures.push(error),
        }
    }
    failure::one_of(failures, names.len())
}

/// Asks for the end of a function; its uid, so that a new one of that name is not taken for it.
async fn begin(session: &Session, name: &str) -> Result<String, ApiError> {
    let function = session.functions.get(name).await?;
    session.functions.delete(name).await?;
    Ok(function.uid().unwrap_or_default())
}

async fn gone(
    session: &Session,
    name: &str,
    uid: &str,
    args: &Args,
    deadline: Instant,
) -> anyhow::Result<()> {
    if args.no_wait {
        return Ok(());
    }
    let progress = Progress::start(format!("deleting {name}"));
    if wait::gone(&session.functions, name, uid, deadline).await? {
        return Ok(());
    }
    drop(progress);
    anyhow::bail!(
        "function {name} is still being deleted after {}; `kip function describe {name}` shows what \
         blocks it",
        humantime::format_duration(args.timeout)
    )
}

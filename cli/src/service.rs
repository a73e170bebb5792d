//! `kip service`: databases, caches and bucket stores that functions bind or take events from.
//!
//! `details` and `url` are the flags that say where a server is; `create`, `show`, `change` and
//! `check` are the commands. Values of the Secret go in and are never shown.

mod change;
mod check;
mod create;
mod details;
mod show;
mod url;

use clap::{Args as ClapArgs, Subcommand};
use kipper_client::connect;

use crate::settings::ScopeArgs;

/// Services that functions use.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Which cluster, and where in it.
    #[command(flatten)]
    pub scope: ScopeArgs,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Create a service: say where a server is and how to log in; nothing is installed
    Create(Box<create::Args>),
    /// List services
    #[command(visible_alias = "ls")]
    List(show::ListArgs),
    /// Show the details of a service, without its credentials
    Describe(show::DescribeArgs),
    /// Change the given details of a service, for example its password
    Update(Box<change::UpdateArgs>),
    /// Check in the cluster that functions can take events from a service
    Test(check::TestArgs),
    /// Delete services and their credentials; the servers and the data on them stay
    Delete(change::DeleteArgs),
}

/// Runs the command on this thread.
///
/// # Errors
/// Whatever ends it.
pub fn main(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    // What makes no sense is refused before a cluster is looked for.
    match &args.command {
        Command::Create(create) => {
            create.check()?;
            create.details.check_files()?;
        }
        Command::Update(update) => {
            update.check()?;
            update.details.check_files()?;
        }
        _ => {}
    }
    let settings = args.scope.settings()?;
    let connection = connect::connect(&settings.target).await?;
    match &args.command {
        Command::Create(args) => create::run(args, &connection).await,
        Command::List(args) => show::list(args, &connection).await,
        Command::Describe(args) => show::describe(args, &connection).await,
        Command::Update(args) => change::update(args, &connection).await,
        Command::Test(args) => check::test(args, &connection, &settings.system_namespace).await,
        Command::Delete(args) => change::delete(args, &connection).await,
    }
}

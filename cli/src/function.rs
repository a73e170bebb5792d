//! `kip function`: what a user does with the functions of a cluster.
//!
//! One module per group of commands. `spec_args`, `trigger_args` and `entry` are the flags
//! that make or change a Function, `report` says what a write did. Everything that talks to the cluster is in
//! `kipper-client`; here are flags, words and exit codes.

mod apply;
mod ask;
mod bind;
mod create;
mod delete;
mod deps;
mod describe;
mod diff;
mod edit;
mod entry;
mod env;
mod history;
mod invoke;
mod list;
mod logs;
mod overridden;
mod report;
mod restart;
mod rollback;
mod secret;
mod spec_args;
mod test;
mod trigger_args;
mod update;

use clap::Subcommand;

use crate::settings::ScopeArgs;

/// Manage the functions of a cluster.
#[derive(Clone, Debug, clap::Args)]
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
    /// Create a function, or change an existing one to match the flags
    Create(Box<create::Args>),
    /// Create or change functions to match files
    Apply(apply::Args),
    /// Show what `apply` would change, or what has changed since a revision
    Diff(diff::Args),
    /// Change the given fields of a function, and nothing else
    Update(Box<update::Args>),
    /// Edit a function as YAML in an editor: KUBE_EDITOR, EDITOR, or vi
    Edit(edit::Args),
    /// List functions
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Show functions by name
    Get(list::GetArgs),
    /// Show the details of a function
    Describe(describe::Args),
    /// List the revisions of a function, or show one
    History(history::Args),
    /// Give a function the spec of an earlier revision again
    Rollback(rollback::Args),
    /// Replace the pods of a function
    Restart(restart::Args),
    /// Delete functions
    Delete(delete::Args),
    /// Send a function a request
    Invoke(invoke::Args),
    /// Ask the assistant about a function, and apply the code of its reply
    Ask(Box<ask::Args>),
    /// Run a cron function once, now, and follow its logs
    Test(test::Args),
    /// Print the logs of a function
    Logs(logs::Args),
    /// Bind a service: its connection details become environment variables
    Bind(bind::BindArgs),
    /// Remove the binding of a service
    Unbind(bind::UnbindArgs),
    /// Manage environment variables
    Env(env::Args),
    /// Manage secrets: environment variables whose values are never shown
    Secret(secret::Args),
    /// Manage packages of inline code
    Deps(deps::Args),
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
    let scope = &args.scope;
    match args.command {
        Command::Create(args) => Box::pin(create::run(&args, scope)).await,
        Command::Apply(args) => apply::run(&args, scope).await,
        Command::Diff(args) => diff::run(&args, scope).await,
        Command::Update(args) => update::run(&args, scope).await,
        Command::Edit(args) => edit::run(&args, scope).await,
        Command::List(args) => list::list(&args, scope).await,
        Command::Get(args) => list::get(&args, scope).await,
        Command::Describe(args) => describe::run(&args, scope).await,
        Command::History(args) => history::run(&args, scope).await,
        Command::Rollback(args) => rollback::run(&args, scope).await,
        Command::Restart(args) => restart::run(&args, scope).await,
        Command::Delete(args) => delete::run(&args, scope).await,
        Command::Invoke(args) => invoke::run(&args, scope).await,
        Command::Ask(args) => Box::pin(ask::run(&args, scope)).await,
        Command::Test(args) => test::run(&args, scope).await,
        Command::Logs(args) => logs::run(&args, scope).await,
        Command::Bind(args) => bind::bind(&args, scope).await,
        Command::Unbind(args) => bind::unbind(&args, scope).await,
        Command::Env(args) => env::run(args, scope).await,
        Command::Secret(args) => secret::run(args, scope).await,
        Command::Deps(args) => deps::run(args, scope).await,
    }
}

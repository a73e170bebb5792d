//! `kip function env`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use kipper_client::edits;
use kube::ResourceExt as _;

use crate::{
    env_file,
    output::{self, Format, OutputArgs},
    session::Session,
    settings::ScopeArgs,
    write::{self, WaitArgs},
};

use super::{
    entry::{Entry, change_env, variable},
    overridden, report,
};

/// Environment variables.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Set variables, or remove those that are given as KEY-
    Set {
        /// Name of the function
        name: String,
        /// The variables; KEY- removes one
        #[arg(
            required_unless_present = "env_file",
            value_name = "KEY=VALUE",
            value_parser = variable
        )]
        variables: Vec<Entry<(String, String)>>,
        /// File with variables, a line KEY=VALUE each; those above override it (may be repeated)
        #[arg(long, value_name = "PATH")]
        env_file: Vec<PathBuf>,
        /// How it is waited for.
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// List the variables
    List {
        /// Name of the function
        name: String,
        /// Output format.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Delete variables
    #[command(visible_alias = "unset")]
    Delete {
        /// Name of the function
        name: String,
        /// Names of variables
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        /// How it is waited for.
        #[command(flatten)]
        wait: WaitArgs,
    },
}

pub(super) async fn run(args: Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let (written, wait, session) = match args.command {
        Command::List { name, output } => {
            return list(&Session::open(scope).await?, &name, output.output).await;
        }
        Command::Set { name, variables, env_file, wait } => {
            let of_files = env_file::read_all(&env_file)?.into_iter().map(Entry::Add);
            let all: Vec<_> = of_files.chain(variables).collect();
            let session = Session::open(scope).await?;
            let set = |spec: &mut _| change_env(spec, &all);
            let written = session.functions.edit(&name, set).await?;
            let added = all.iter().filter_map(Entry::added).map(|(name, _)| name.as_str());
            overridden::warn_of_env(&written.function, added, &session.settings.flags);
            (written, wait, session)
        }
        Command::Delete { name, keys, wait } => {
            let session = Session::open(scope).await?;
            let delete = |spec: &mut _| edits::delete_env(spec, &keys);
            (session.functions.edit(&name, delete).await?, wait, session)
        }
    };
    output::line(write::outcome(&written.function.name_any(), written.outcome))?;
    report::settle(&session, &written.function, wait).await
}

async fn list(session: &Session, name: &str, format: Option<Format>) -> anyhow::Result<()> {
    let env = session.functions.get(name).await?.spec.env;
    output::pairs(format, ["NAME", "VALUE"], ["name", "value"], env, || {
        format!("no environment variables found in function {name}")
    })
}

//! `kip function env`.

use clap::{Args as ClapArgs, Subcommand};
use kipper_client::edits;

use crate::{
    env_flag::variable,
    output::{self, Format, OutputArgs},
    session::Session,
    settings::ScopeArgs,
    write,
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
    /// Set variables
    Set {
        /// Name of the function
        name: String,
        /// The variables
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = variable)]
        variables: Vec<(String, String)>,
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
    Delete {
        /// Name of the function
        name: String,
        /// Names of variables
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
}

pub(super) async fn run(args: Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let (name, written) = match args.command {
        Command::List { name, output } => return list(&session, &name, output.output).await,
        Command::Set { name, variables } => {
            let set = |spec: &mut _| {
                edits::set_env(spec, &variables);
                Ok(())
            };
            let written = session.functions.edit(&name, set).await?;
            (name, written)
        }
        Command::Delete { name, keys } => {
            let delete = |spec: &mut _| edits::delete_env(spec, &keys);
            let written = session.functions.edit(&name, delete).await?;
            (name, written)
        }
    };
    output::line(write::outcome(&name, written.outcome))
}

async fn list(session: &Session, name: &str, format: Option<Format>) -> anyhow::Result<()> {
    let env = session.functions.get(name).await?.spec.env;
    output::pairs(format, ["NAME", "VALUE"], ["name", "value"], env)
}

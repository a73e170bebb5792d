//! `kip function deps`.

use std::collections::BTreeMap;

use clap::{Args as ClapArgs, Subcommand};
use kipper_client::edits;
use kipper_function::{code, function::effective::Workload};
use kube::ResourceExt as _;

use crate::{
    output::{self, OutputArgs},
    session::Session,
    settings::ScopeArgs,
    write::{self, WaitArgs},
};

use super::{entry::dependency, report};

/// Packages of inline code.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Add packages, or change their versions
    Add {
        /// Name of the function
        name: String,
        /// The packages
        #[arg(required = true, value_name = "NAME@VERSION", value_parser = dependency)]
        packages: Vec<(String, String)>,
        /// How it is waited for.
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Remove packages
    Remove {
        /// Name of the function
        name: String,
        /// Names of packages
        #[arg(required = true, value_name = "NAME")]
        packages: Vec<String>,
        /// How it is waited for.
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// List the packages
    List {
        /// Name of the function
        name: String,
        /// Output format.
        #[command(flatten)]
        output: OutputArgs,
    },
}

pub(super) async fn run(args: Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let (written, wait) = match args.command {
        Command::List { name, output } => {
            let spec = session.functions.get(&name).await?.spec;
            let packages = match spec.workload() {
                Some(Workload::Inline(runtime, source)) => code::packages(runtime, source),
                Some(Workload::Image(_)) | None => BTreeMap::new(),
            };
            let headings = ["NAME", "VERSION"];
            let keys = ["name", "version"];
            return output::pairs(output.output, headings, keys, packages, || {
                format!("no packages found in function {name}")
            });
        }
        Command::Add { name, packages, wait } => {
            let add = |spec: &mut _| edits::add_dependencies(spec, &packages);
            (session.functions.edit(&name, add).await?, wait)
        }
        Command::Remove { name, packages, wait } => {
            let remove = |spec: &mut _| edits::remove_dependencies(spec, &packages);
            (session.functions.edit(&name, remove).await?, wait)
        }
    };
    output::line(write::outcome(&written.function.name_any(), written.outcome))?;
    report::settle(&session, &written.function, wait).await
}

//! The command line of the scenarios.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod command {
    //! The subcommands: scenarios, and the processes they start from this same binary.
    use clap::{Parser, Subcommand};
    use kipper_loadtest::{
        cluster::{self, ClusterArgs},
        run::RunArgs,
        scenarios::{self, Scenario},
        serve,
    };

    /// Scenarios against a running Kipper data plane
    #[derive(Debug, Parser)]
    #[command(version)]
    struct Cli {
        #[command(flatten)]
        run: RunArgs,
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Debug, Subcommand)]
    enum Command {
        /// Run every scenario, one after the other
        All,
        /// Run scenarios against the cluster that KUBECONFIG names
        Cluster(ClusterArgs),
        #[command(flatten)]
        One(Scenario),
        #[command(flatten)]
        Serve(Box<serve::Role>),
    }

    /// Parses the command line and runs what it names.
    pub(crate) fn run() -> Result<(), anyhow::Error> {
        let Cli { run, command } = kipper_process::exit::parse();
        match command {
            Command::All => scenarios::run(&run, Scenario::ALL),
            Command::Cluster(what) => cluster::run(&run, &what),
            Command::One(scenario) => scenarios::run(&run, &[scenario]),
            Command::Serve(role) => serve::run(*role),
        }
    }
}

// The interceptor runs with this allocator, and its memory is one of the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    let result = command::run();
    #[cfg(not(target_os = "linux"))]
    let result = Err(anyhow::anyhow!("the scenarios read /proc and need Linux"));
    kipper_process::exit::main_result(result)
}

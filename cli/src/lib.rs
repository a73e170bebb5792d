//! What the `kip` command does: one module per subcommand.
//!
//! `dev` runs functions on this machine. Subcommands share nothing but [`Cli`]'s global flags; each
//! has its own arguments and its own `run`.

pub mod dev;

use clap::{Parser, Subcommand};
use kipper_process::{
    exit::UsageError,
    telemetry::{self, LogArgs, LogFormat},
};

/// Kipper Functions from the command line.
#[derive(Debug, Parser)]
#[command(name = "kip", version)]
pub struct Cli {
    /// What to log on stderr: a level, or `target=level` directives separated by commas
    #[arg(long, global = true, env = "KIPPER_LOG", value_name = "FILTER", default_value = "warn")]
    pub log_level: String,

    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run functions on this machine, as a cluster would: from zero, up, and back to zero
    Dev(dev::Args),
}

/// Runs the subcommand to its end.
///
/// # Errors
/// Whatever ends the command; `main` prints it as one line.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    let log = LogArgs { log_level: cli.log_level, log_format: LogFormat::Text };
    telemetry::init(&log)
        .map_err(|error| UsageError::new(format!("invalid value for '--log-level': {error}")))?;
    match cli.command {
        Command::Dev(args) => dev::main(args),
    }
}

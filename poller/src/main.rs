//! The `kipper-poll` process.

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use kipper_poller::{Bound, Config, Error, Looks, bound, check, count, run};
use kipper_process::{exit, signals, telemetry};

/// The command line: the poller's flags, and what to do with them instead of polling.
#[derive(Debug, Parser)]
#[command(name = "kipper-poll", version, about = "Delivers events of a source to a function")]
struct Cli {
    #[command(flatten)]
    config: Config,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Check the trigger against its source; exits 64 if it cannot work as configured
    Check,
    /// Check the trigger, then print how many events wait until a signal: one JSON object per line
    Count {
        /// Where counting stops
        #[arg(long, value_name = "COUNT")]
        bound: u64,

        /// Pause between two counts
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        interval: Duration,
    },
}

/// What needs no trigger, and so none of the poller's flags.
#[derive(Debug, Parser)]
#[command(name = "kipper-poll", version)]
enum Alone {
    /// Log in to the server of a binding with the binding's variables; exits 64 if it refuses them
    Bound(Bound),
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == "bound") {
        let Alone::Bound(binding) = exit::parse();
        return exit::main_result(try_binding(&binding));
    }
    let cli: Cli = exit::parse();
    exit::main_result(start(cli))
}

fn try_binding(binding: &Bound) -> anyhow::Result<()> {
    // Fails only if a provider was installed before, and nothing before this could have.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(bound(binding, |name| std::env::var(name).ok())).map_err(classified)
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let Cli { config, command } = cli;
    telemetry::init(&config.log)?;
    // Fails only if a provider was installed before, and nothing before this could have.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread: the loop, the handlers' connections and the source's take turns, and no wake-up
    // crosses cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = signals::shutdown_token()?;
        match command {
            None => run(config, shutdown).await.map_err(classified),
            Some(Command::Check) => check(&config).await.map_err(classified),
            Some(Command::Count { bound, interval }) => {
                count(&config, Looks { bound, interval }, shutdown, std::io::stdout()).await;
                Ok(())
            }
        }
    })
}

/// A configuration that cannot work ends the process with the exit code for usage errors.
fn classified(error: Error) -> anyhow::Error {
    let is_usage = error.is_usage();
    let error = anyhow::Error::new(error);
    if is_usage { exit::UsageError::new(format!("{error:#}")).into() } else { error }
}

//! The `kipper-poll` process.

use std::process::ExitCode;

use kipper_poller::{Config, Error, run};
use kipper_process::{exit, signals, telemetry};

fn main() -> ExitCode {
    let config: Config = exit::parse();
    exit::main_result(start(config))
}

fn start(config: Config) -> anyhow::Result<()> {
    telemetry::init(&config.log)?;
    // Fails only if a provider was installed before, and nothing before this could have.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread: the loop, the handlers' connections and the source's take turns, and no wake-up
    // crosses cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = signals::shutdown_token()?;
        run(config, shutdown).await.map_err(classified)
    })
}

/// A configuration that cannot work ends the process with the exit code for usage errors.
fn classified(error: Error) -> anyhow::Error {
    let is_usage = error.is_usage();
    let error = anyhow::Error::new(error);
    if is_usage { exit::UsageError::new(format!("{error:#}")).into() } else { error }
}

//! The `kipper-scaler-adapter` process.

use std::process::ExitCode;

use kipper_process::{exit, signals, telemetry};
use kipper_scaler_adapter::{Config, Error, run};

fn main() -> ExitCode {
    let config: Config = exit::parse();
    exit::main_result(start(config))
}

fn start(config: Config) -> anyhow::Result<()> {
    telemetry::init(&config.log)?;
    // Fails only if a provider was installed before, and nothing before this could have.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
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

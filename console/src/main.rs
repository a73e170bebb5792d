//! The `kipper-console` process: the web console of a cluster.

use std::process::ExitCode;

use kipper_console::{config::Config, process};
use kipper_process::{exit, signals, telemetry};

fn main() -> ExitCode {
    let config: Config = exit::parse();
    exit::main_result(start(config))
}

fn start(config: Config) -> anyhow::Result<()> {
    telemetry::init(&config.log)?;
    // Fails only if a provider was installed before, and nothing before this could have.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { process::run(config, signals::shutdown_token()?).await })
}

//! The controller as a process.

use std::process::ExitCode;

use kipper_controller::{
    config::{Cli, Command},
    process, release,
};
use kipper_process::{exit, signals, telemetry};

fn main() -> ExitCode {
    let cli: Cli = exit::parse();
    exit::main_result(run(cli.command))
}

fn run(command: Command) -> anyhow::Result<()> {
    // Fails only if a provider was installed before, and nothing before this could have.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread: the work is waiting for the API server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Run(config) => {
                config.check()?;
                telemetry::init(&config.log)?;
                process::run(*config, signals::shutdown_token()?).await
            }
            Command::Release(config) => {
                telemetry::init(&config.log)?;
                release::release(config).await
            }
        }
    })
}

//! The interceptor as a process.

use std::process::ExitCode;

use kipper_interceptor::config::Config;
use kipper_process::{exit, signals, telemetry};

// Requests allocate small, short-lived buffers on every core; measured against the system's
// allocator by `kipper-bench proxy`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let config: Config = exit::parse();
    exit::main_result(run(config))
}

fn run(config: Config) -> anyhow::Result<()> {
    telemetry::init(&config.log)?;
    // The workers are threads of their own; this runtime accepts, watches and reports.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = signals::shutdown_token()?;
        kipper_interceptor::process::run(config, shutdown).await
    })
}

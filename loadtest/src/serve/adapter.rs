//! The scaler-adapter, as its own binary runs it.

use kipper_process::{signals, telemetry};
use kipper_scaler_adapter::Config;

/// Runs the adapter until a signal.
///
/// # Errors
/// When it cannot start, or a server fails by itself.
pub fn run(config: Config) -> Result<(), anyhow::Error> {
    telemetry::init(&config.log)?;
    // Fails only if a provider was installed before, and nothing before this could have.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = signals::shutdown_token()?;
        Ok(kipper_scaler_adapter::run(config, shutdown).await?)
    })
}

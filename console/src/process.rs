//! The console of a cluster as a process: admin port, sessions, drain.

use std::sync::Arc;

use anyhow::Context as _;
use kipper_client::{Server, invoke::Gateway};
use kipper_process::{
    admin::AdminServer, exit::UsageError, metrics as process_metrics, readiness::Readiness,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Access, Console, Provider, SessionKey, Sessions, assistant::Mounted, backend::cluster::Place,
    config::Config,
};

/// Runs until `shutdown`.
///
/// # Errors
/// Without a session key, a cluster or a port, and with an identity provider that cannot be used.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let key = key(&config)?;
    let provider = Provider::new(&config.oidc, &config.public_url).map_err(UsageError::new)?;
    let readiness = Readiness::new();
    let listening = readiness.block("listener");
    let registry = process_metrics::registry("console", env!("CARGO_PKG_VERSION"))?;
    let admin = AdminServer::bind(config.admin_listen, readiness.clone(), registry).await?;
    let admin_stop = CancellationToken::new();
    let admin = tokio::spawn(admin.serve(admin_stop.clone()));
    let gateway = Gateway { interceptor: config.interceptor };
    let sessions = Sessions::new(Server::of_pod()?, key, &config.system_namespace, gateway)
        .with_provider(provider);
    let sessions = match config.assistant_settings_file {
        None => sessions,
        Some(path) => sessions.with_assistant(Place::Mounted {
            file: Arc::new(Mounted::new(path)),
            allow_private: config.assistant_allow_private_addresses,
        }),
    };
    let console = Console::new(Access::sessions(sessions)).under(config.public_url);
    let bound = console.bind(config.listen).await;
    let bound = bound.with_context(|| format!("bind {}", config.listen))?;
    tracing::info!(listen = %bound.address(), admin = %config.admin_listen, "console started");
    let stop = CancellationToken::new();
    let serving = tokio::spawn(bound.serve(stop.clone()));
    listening.ready();
    shutdown.cancelled().await;
    readiness.set_draining();
    tokio::time::sleep(config.drain_delay).await;
    stop.cancel();
    serving.await?;
    admin_stop.cancel();
    admin.await?;
    Ok(())
}

fn key(config: &Config) -> anyhow::Result<SessionKey> {
    let Some(path) = &config.session_key_file else {
        tracing::warn!("no session key file: sessions end with this process, and are its own");
        return Ok(SessionKey::random()?);
    };
    SessionKey::read(path).map_err(|error| UsageError::new(error).into())
}

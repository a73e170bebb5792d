//! Kipper's poller: events of a source in, `POST /event` to the function of the same pod out.
//!
//! The flow is claim → deliver → complete, and the modules stand in that order. `retry`, `pace` and
//! `template` are pure; `dispatcher`, `completer` and `rescuer` decide and do nothing; `poller` is
//! the loop that carries their decisions out. Nothing is stored: what a pod does not finish is
//! claimed by another one.

pub mod config;
pub mod error;
mod metrics;

pub mod source;
pub mod template;

mod dispatcher;
mod pace;
mod retry;

pub mod target;

mod completer;
mod rescuer;

pub mod drain;
mod identity;
mod poller;

use std::{future::Future, sync::Arc};

use kipper_process::{admin::AdminServer, readiness::Readiness};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use error::Error;
pub use identity::Identity;
pub use metrics::Metrics;
pub use poller::{Poller, Settings};

use crate::{
    config::Trigger,
    drain::{DrainRequest, DrainServer},
    rescuer::Reconnect,
    source::{Source, SourceError, minio::Minio, postgres::Postgres},
    target::{Target, TargetConfig},
};

/// Drains asked for at once; one kubelet asks for one.
const MAX_DRAINS: usize = 16;

/// Runs the process until `shutdown` and the drain after it.
///
/// # Errors
/// When the trigger cannot work, or a port cannot be bound. A source that is away is waited for.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    tracing::info!(?config, "starting");
    config.check()?;
    let registry = kipper_process::metrics::registry("poll", env!("CARGO_PKG_VERSION"))?;
    let metrics = Metrics::register(&registry)?;
    let readiness = Readiness::new();
    let connecting = readiness.block("source");
    let admin = AdminServer::bind(config.admin_listen, readiness.clone(), registry).await?;
    let (drain_requests, drains) = mpsc::channel(MAX_DRAINS);
    let drain = match &config.drain_token {
        Some(token) => Some(DrainServer::bind(config.drain_listen, token.clone()).await?),
        None => None,
    };
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let admin = tokio::spawn(admin.serve(stop.clone()));
    let drain = drain.map(|server| tokio::spawn(server.serve(drain_requests.clone(), stop)));

    let result = match config.trigger {
        Trigger::Postgres => {
            let source = config.postgres()?;
            let open = || Postgres::open(source.clone());
            serve(open, &config, metrics, connecting, shutdown, drains).await
        }
        Trigger::Minio => {
            let source = config.minio()?;
            let open = || Minio::open(source.clone());
            serve(open, &config, metrics, connecting, shutdown, drains).await
        }
    };
    drop(_stop);
    // Both end without an error of their own; a panic there was logged already.
    let _ = admin.await;
    if let Some(drain) = drain {
        let _ = drain.await;
    }
    result
}

/// Waits for the source, then polls it.
async fn serve<S: Source, F: Future<Output = Result<S, SourceError>>>(
    open: impl Fn() -> F,
    config: &Config,
    metrics: Metrics,
    connecting: kipper_process::readiness::ReadyBlock,
    shutdown: CancellationToken,
    drains: mpsc::Receiver<DrainRequest>,
) -> Result<(), Error> {
    let mut reconnect = Reconnect::default();
    let source = loop {
        let opened = tokio::select! {
            opened = open() => opened,
            () = shutdown.cancelled() => return Ok(()),
        };
        match opened {
            Ok(source) => break source,
            Err(error @ SourceError::Invalid(_)) => return Err(error.into()),
            Err(error) => tracing::warn!("the source is not to be had: {error}"),
        }
        tokio::select! {
            () = tokio::time::sleep(reconnect.pause()) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    };
    connecting.ready();
    let target = Arc::new(Target::new(TargetConfig {
        url: config.target_url.clone(),
        deliver_timeout: config.deliver_timeout,
        health_path: config.health_path.clone(),
        ..TargetConfig::default()
    }));
    let identity = config.identity();
    Poller::new(Arc::new(source), target, identity, config.settings(), metrics)
        .run(shutdown, drains)
        .await;
    Ok(())
}

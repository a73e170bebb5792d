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
pub use kipper_statement as template;

mod dispatcher;
mod pace;
mod retry;

pub mod target;

mod completer;
mod rescuer;

pub mod drain;
mod identity;
mod poller;

mod backlog;
mod count;

use std::{future::Future, sync::Arc};

use kipper_process::{admin::AdminServer, readiness::Readiness};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use backlog::{Backlog, check};
pub use config::Config;
pub use count::{Looks, count};
pub use error::Error;
pub use identity::Identity;
pub use metrics::Metrics;
pub use poller::{Poller, Settings};

use crate::{
    config::Trigger,
    drain::{DrainRequest, DrainServer},
    rescuer::Reconnect,
    source::{Source, SourceError, minio::Minio, mysql::Mysql, postgres::Postgres, redis::Redis},
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
        Some(token) => {
            let server = DrainServer::bind(config.drain_listen, token.clone()).await?;
            Some(server.answering_after(config.drain_delay))
        }
        None => None,
    };
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let admin = tokio::spawn(admin.serve(stop.clone()));
    let drain = drain.map(|server| tokio::spawn(server.serve(drain_requests.clone(), stop)));

    let result = poll(&config, metrics, || connecting.ready(), shutdown, drains).await;
    drop(_stop);
    // Both end without an error of their own; a panic there was logged already.
    let _ = admin.await;
    if let Some(drain) = drain {
        let _ = drain.await;
    }
    result
}

/// Runs a poller without ports, and with the metrics of the caller, until `shutdown` and the drain
/// after it. Dropping the future gives up what it holds, as the end of its process would.
///
/// # Errors
/// When the trigger cannot work. A source that is away is waited for.
pub async fn run_embedded(
    config: &Config,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    config.check()?;
    // Without the port there is nobody to ask for a drain.
    let (_, drains) = mpsc::channel(1);
    poll(config, metrics, || {}, shutdown, drains).await
}

/// Polls the source of the configured kind; `connected` is called once it is there.
async fn poll(
    config: &Config,
    metrics: Metrics,
    connected: impl FnOnce(),
    shutdown: CancellationToken,
    drains: mpsc::Receiver<DrainRequest>,
) -> Result<(), Error> {
    match config.trigger {
        Trigger::Postgres => {
            let source = config.postgres()?;
            let open = || Postgres::open(source.clone());
            serve(open, config, metrics, connected, shutdown, drains).await
        }
        Trigger::Mysql => {
            let source = config.mysql()?;
            let open = || Mysql::open(source.clone());
            serve(open, config, metrics, connected, shutdown, drains).await
        }
        Trigger::Redis => {
            let source = config.redis()?;
            let open = || Redis::open(source.clone());
            serve(open, config, metrics, connected, shutdown, drains).await
        }
        Trigger::Minio => {
            let source = config.minio()?;
            let open = || Minio::open(source.clone());
            serve(open, config, metrics, connected, shutdown, drains).await
        }
    }
}

/// Waits for the source, then polls it.
async fn serve<S: Source, F: Future<Output = Result<S, SourceError>>>(
    open: impl Fn() -> F,
    config: &Config,
    metrics: Metrics,
    connected: impl FnOnce(),
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
    connected();
    // `kip dev` waits for this line.
    tracing::info!("{}", kipper_trigger::CONNECTED);
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

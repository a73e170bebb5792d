//! The process: ports, the source of the configured kind, and the poller on it.
//!
//! Futures are boxed where the crate ends: unboxed, each crate that polls one would compile the
//! poller with all its drivers again.

use std::{future::Future, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use kipper_process::{admin::AdminServer, readiness::Readiness};
use kipper_trigger::Kind;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    drain::{DrainRequest, DrainServer},
    error::Error,
    metrics::Metrics,
    poller::Poller,
    rescuer::RECONNECT,
    source::{Source, SourceError, minio::Minio, mysql::Mysql, postgres::Postgres, redis::Redis},
    target::{Target, TargetConfig},
};

/// Called once the source is there.
pub(crate) type Connected<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Drains asked for at once; one kubelet asks for one.
const MAX_DRAINS: usize = 16;

/// Runs the process until `shutdown` and the drain after it.
///
/// # Errors
/// When the trigger cannot work, or a port cannot be bound. A source that is away is waited for.
pub fn run(config: Config, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), Error>> {
    run_with_ports(config, shutdown).boxed()
}

async fn run_with_ports(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
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

    let connected = Box::new(|| connecting.ready());
    let result = poll(&config, metrics, connected, shutdown, drains).await;
    drop(_stop);
    // Both end without an error of their own; a panic there was logged already.
    let _ = admin.await;
    if let Some(drain) = drain {
        let _ = drain.await;
    }
    result
}

/// Polls the source of the configured kind; `connected` is called once it is there.
pub(crate) async fn poll(
    config: &Config,
    metrics: Metrics,
    connected: Connected<'_>,
    shutdown: CancellationToken,
    drains: mpsc::Receiver<DrainRequest>,
) -> Result<(), Error> {
    // Boxed, so that each driver's future is made and compiled here alone.
    macro_rules! serve {
        ($source:ty, $settings:expr) => {{
            let settings = $settings?;
            let open = || <$source>::open(settings.clone());
            serve(open, config, metrics, connected, shutdown, drains).boxed().await
        }};
    }
    match config.trigger {
        Kind::Postgres => serve!(Postgres, config.postgres()),
        Kind::Mysql => serve!(Mysql, config.mysql()),
        Kind::Redis => serve!(Redis, config.redis()),
        Kind::Minio => serve!(Minio, config.minio()),
    }
}

/// Waits for the source, then polls it.
async fn serve<S: Source, F: Future<Output = Result<S, SourceError>>>(
    open: impl Fn() -> F,
    config: &Config,
    metrics: Metrics,
    connected: Connected<'_>,
    shutdown: CancellationToken,
    drains: mpsc::Receiver<DrainRequest>,
) -> Result<(), Error> {
    let mut reconnect = RECONNECT;
    let source = loop {
        let opened = tokio::select! {
            opened = open() => opened,
            () = shutdown.cancelled() => return Ok(()),
        };
        match opened {
            Ok(source) => break source,
            Err(error @ SourceError::Invalid(_)) => return Err(error.into()),
            Err(error) => tracing::warn!("source unavailable, trying again: {error}"),
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

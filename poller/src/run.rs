//! The process: ports, the source of the configured kind, and the poller on it.
//!
//! Futures are boxed where the crate ends: unboxed, each crate that polls one would compile the
//! poller with all its drivers again.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, OptionFuture},
};
use kipper_process::{
    admin::AdminServer, backoff::Backoff, readiness::Readiness, supervise::caught,
};
use kipper_trigger::Kind;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    drain::{DrainRequest, DrainServer},
    error::Error,
    metrics::Metrics,
    poller::Poller,
    reach::Reach,
    reporter::Reporter,
    rescuer::RECONNECT,
    source::{Source, SourceError, minio::Minio, mysql::Mysql, postgres::Postgres, redis::Redis},
    summary::Summary,
    target::{Target, TargetConfig},
};

/// Called whenever the source is there: once, unless the trigger had to begin anew.
pub(crate) type Connected<'a> = Box<dyn FnMut() + Send + 'a>;
/// Pauses after a panic.
const PANIC_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

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
    tracing::info!("{}", Summary(&config));
    tracing::debug!(?config, "configured");
    config.check()?;
    let registry = kipper_process::metrics::registry("poll", env!("CARGO_PKG_VERSION"))?;
    let metrics = Metrics::register(&registry)?;
    let readiness = Readiness::new();
    let reach = Reach::new(Some(readiness.clone()), metrics.clone());
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

    let result = poll(&config, metrics, reach, Box::new(|| ()), shutdown, drains).await;
    drop(_stop);
    // Both end without an error of their own; a panic there was logged already.
    let _ = admin.await;
    if let Some(drain) = drain {
        let _ = drain.await;
    }
    result
}

/// Polls the source of the configured kind; `connected` is called once it is there. After a panic the
/// trigger begins anew: what it held is free with its connections, or when its leases run out.
pub(crate) async fn poll(
    config: &Config,
    metrics: Metrics,
    reach: Reach,
    mut connected: Connected<'_>,
    shutdown: CancellationToken,
    mut drains: mpsc::Receiver<DrainRequest>,
) -> Result<(), Error> {
    let mut backoff = PANIC_BACKOFF;
    loop {
        let mut trigger = Trigger {
            config,
            metrics: &metrics,
            reach: &reach,
            connected: &mut connected,
            shutdown: &shutdown,
            drains: &mut drains,
        };
        match caught(trigger.poll().boxed()).await {
            Ok(ended) => return ended,
            Err(words) => tracing::error!("panicked, the trigger begins anew: {words}"),
        }
        metrics.panics.inc();
        let pause = tokio::time::sleep(backoff.pause());
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return Ok(());
        }
    }
}

/// What one trigger is polled with.
struct Trigger<'a, 'c> {
    config: &'a Config,
    metrics: &'a Metrics,
    reach: &'a Reach,
    connected: &'a mut Connected<'c>,
    shutdown: &'a CancellationToken,
    drains: &'a mut mpsc::Receiver<DrainRequest>,
}

impl Trigger<'_, '_> {
    async fn poll(&mut self) -> Result<(), Error> {
        // Boxed, so that each driver's future is made and compiled here alone.
        macro_rules! serve {
            ($source:ty, $settings:expr) => {{
                let settings = $settings?;
                let open = || <$source>::open(settings.clone());
                self.serve(open).boxed().await
            }};
        }
        match self.config.trigger {
            Kind::Postgres => serve!(Postgres, self.config.postgres()),
            Kind::Mysql => serve!(Mysql, self.config.mysql()),
            Kind::Redis => serve!(Redis, self.config.redis()),
            Kind::Minio => serve!(Minio, self.config.minio()),
        }
    }

    /// Waits for the source, then polls it.
    async fn serve<S: Source, F: Future<Output = Result<S, SourceError>> + Send>(
        &mut self,
        open: impl Fn() -> F + Send + Sync,
    ) -> Result<(), Error> {
        let reporter = Reporter::new(self.config)?;
        let opened = opened(open, self.reach, self.shutdown).await?;
        let Some(source) = opened else { return Ok(()) };
        (self.connected)();
        self.reach.saw(true);
        // `kip dev` waits for this line.
        tracing::info!("{}", kipper_trigger::CONNECTED);
        let config = self.config;
        let target = Arc::new(Target::new(TargetConfig {
            url: config.target_url.clone(),
            deliver_timeout: config.deliver_timeout,
            health_path: config.health_path.clone(),
            token: config.event_token.clone(),
            ..TargetConfig::default()
        }));
        let (metrics, reach) = (self.metrics.clone(), self.reach.clone());
        let (source, identity) = (Arc::new(source), config.identity());
        let (settings, overload) = (config.settings(), Arc::<Notify>::default());
        let told = Arc::clone(&overload);
        let poller = Poller::new(source, target, identity, settings, metrics, reach, told)
            .run(self.shutdown.clone(), self.drains);
        let reports = OptionFuture::from(reporter.map(|reporter| reporter.run(overload)));
        tokio::select! {
            () = poller => {}
            // Never: it does not end.
            Some(()) = reports => {}
        }
        Ok(())
    }
}

/// The source once it is there; `None` after the signal.
async fn opened<S: Source, F: Future<Output = Result<S, SourceError>> + Send>(
    open: impl Fn() -> F + Send + Sync,
    reach: &Reach,
    shutdown: &CancellationToken,
) -> Result<Option<S>, Error> {
    let mut reconnect = RECONNECT;
    loop {
        match shutdown.run_until_cancelled(open()).await {
            None => return Ok(None),
            Some(Ok(source)) => return Ok(Some(source)),
            Some(Err(error @ SourceError::Invalid(_))) => return Err(error.into()),
            Some(Err(error)) => {
                tracing::warn!("source unavailable, trying again: {error}");
                reach.saw(false);
            }
        }
        let pause = tokio::time::sleep(reconnect.pause());
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return Ok(None);
        }
    }
}

//! Kipper's data plane: an HTTP proxy that holds requests for functions without a pod, wakes them,
//! and forwards when they can answer.
//!
//! The modules stand in the order in which a request meets them: `server` accepts, `http1` and
//! `http2` frame (on `wire`, into `message`), and `request` is the life of each request: `admission`
//! and `router` find its `destination`, `queue` holds it, `probe` finds out when a pod can answer,
//! `fleet` says which pods are this interceptor's, `balancer` picks one, `upstream` connects,
//! `headers` rewrites, `inflight` counts and `reporter` reports to the scaler-adapters. `source`
//! feeds routes, endpoints and the fleet from the side, and `observe` tells of requests that are
//! over. `Interceptor::assemble` puts all of it together. The map is in `ARCHITECTURE.md`.

mod clock;
pub mod config;
mod limits;
mod wire;
mod worker;

pub mod server;
pub mod tls;

mod http1;
mod http2;
pub mod message;

mod request;

mod admission;
pub mod router;

pub mod balancer;
pub mod destination;
pub mod fleet;
pub mod headers;
mod probe;
pub mod queue;
pub mod upstream;

pub mod inflight;
pub mod observe;
pub mod reporter;
pub mod source;
pub mod wake_fallback;

pub mod error;
pub mod metrics;
pub mod process;

/// What reads bytes of strangers and is private otherwise, for `fuzz/`.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::{admission::may_be_event, http2::view as http2_head};
}

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use kipper_process::drain::{Drain, DrainTrigger};
use prometheus::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    config::ProxyConfig,
    destination::DestinationContext,
    inflight::Changes,
    metrics::{HeldGauges, Metrics},
    observe::{ObserveError, Observers, Observing},
    queue::Held,
    reporter::{ReporterConfig, ReporterError, ReporterMetrics},
    router::Router,
    server::{Port, Workers},
    source::{SourceError, Sources},
    tls::{Certificates, TlsError},
    wire::budget::Budget,
    worker::WorkerContext,
};

/// Why the data plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be bound.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Certificates(#[from] TlsError),
    /// rustls refuses the settings.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The access log or traces cannot go where they shall.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A metric family exists twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A thread cannot be started.
    #[error("cannot start a worker: {0}")]
    Worker(#[source] io::Error),
}

/// Why the data plane ended without being shut down.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// rustls refuses the settings.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Routes or endpoints cannot be followed any more; what is known must not age silently.
    #[error("routes or endpoints: {0}")]
    Source(#[from] SourceError),
    /// Counts cannot be reported.
    #[error("reporter: {0}")]
    Reporter(#[from] ReporterError),
}

/// The data plane with its ports bound, its sources and its reporter. All of it works once
/// [`Interceptor::serve`] runs.
pub struct Interceptor {
    workers: Workers,
    context: Arc<WorkerContext>,
    drain: DrainTrigger,
    port: Port,
    tls: Option<(Port, Arc<Certificates>)>,
    sources: Sources,
    reporter: (ReporterConfig, ReporterMetrics),
    observing: Observing,
}

impl Interceptor {
    /// Binds the ports and starts the workers. Without adapters in `reporter` nothing is reported.
    pub fn assemble(
        config: &ProxyConfig,
        registry: &Registry,
        mut sources: Sources,
        reporter: ReporterConfig,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new(registry, config.observe.function_metrics)?);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = config.workers.map_or(cores, std::num::NonZero::get);
        let held = Arc::new(Held::new(config.hold()));
        registry.register(Box::new(HeldGauges::new(&held)?))?;
        let context = Arc::new(DestinationContext {
            held,
            changes: Changes::default(),
            metrics: Arc::clone(&metrics),
            workers: count,
            fleet: Default::default(),
        });
        let name = reporter.name.as_deref();
        let (observers, observing) = Observers::new(&config.observe, name, &metrics)?;
        let (drain, watch) = Drain::new();
        let buffers = Budget::new(metrics.buffered.clone(), config.max_buffered_bytes.get());
        let context = Arc::new(WorkerContext {
            router: Arc::new(Router::new(context, config.path_routes)),
            metrics,
            observers,
            limits: config.limits(),
            h2: config.http2(),
            trusted_proxies: config.trusted_proxies.clone(),
            pods: config.pods(),
            buffers,
            wake_fallback: sources.wake_fallback.take(),
            max_connections: server::connection_cap(config.max_connections.get()),
            drain: watch,
            open: Default::default(),
        });
        let workers = Workers::start(&context, count).map_err(StartError::Worker)?;
        let bind = |at| Port::bind(at, &workers).map_err(|e| StartError::Listen(at, e));
        let tls = match (&config.tls_listen, &config.tls_cert_dir) {
            (Some(at), Some(directory)) => Some((bind(*at)?, Certificates::load(directory)?)),
            _ => None,
        };
        Ok(Self {
            port: bind(config.listen)?,
            tls,
            workers,
            context,
            drain,
            sources,
            reporter: (reporter, ReporterMetrics::register(registry)?),
            observing,
        })
    }

    /// Where it listens for HTTP.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.port.address()
    }

    /// Where it listens for TLS.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().and_then(|(port, _)| port.address().ok())
    }

    /// The routes: a sink for sources, and what admin and reporter read.
    pub fn router(&self) -> Arc<Router> {
        Arc::clone(&self.context.router)
    }

    /// Serves until `shutdown`; then accepts for `delay` more, and lets what is held or running
    /// finish for at most `deadline`. Returns how many connections were cut. A source or a reporter
    /// that gives up shuts down, too, and is the error then.
    pub async fn serve(
        self,
        shutdown: CancellationToken,
        delay: Duration,
        deadline: Duration,
    ) -> Result<usize, ServeError> {
        let mut tasks = JoinSet::new();
        let observing = tokio::spawn(self.observing.run());
        if let Some((port, certificates)) = self.tls {
            let config = certificates.server_config()?;
            tasks.spawn(certificates.reload());
            tasks.spawn(server::accept(port, Some(config), self.workers.list()));
        }
        tasks.spawn(server::accept(self.port, None, self.workers.list()));
        let mut sides = JoinSet::new();
        let (router, stop) = (Arc::clone(&self.context.router), shutdown.clone());
        let sources = self.sources;
        let feeding = sides.spawn(async move {
            let Err(error) = feed(router, sources).await else { return Ok(()) };
            tracing::error!(%error, "routes or endpoints cannot be followed, shutting down");
            stop.cancel();
            Err(ServeError::Source(error))
        });
        // Reports go on through the drain: what is still held or running must not look finished.
        let stop_reporter = CancellationToken::new();
        let (config, metrics) = self.reporter;
        if !config.adapters.is_empty() {
            let (router, stop) = (Arc::clone(&self.context.router), shutdown.clone());
            let reporting = reporter::run(config, router, metrics, stop_reporter.clone());
            sides.spawn(async move {
                let Err(error) = reporting.await else { return Ok(()) };
                stop.cancel();
                Err(ServeError::Reporter(error))
            });
        }
        shutdown.cancelled().await;
        self.drain.start(delay, deadline);
        let cut = self.drain.finished().await;
        drop(tasks);
        // Joining the threads ends every connection that is left.
        let _ = tokio::task::spawn_blocking(move || drop(self.workers)).await;
        // With the last of those who tell of requests goes what they told.
        drop(self.context);
        observe::flush(observing).await;
        stop_reporter.cancel();
        // The sources have no end of their own; an error that they ended with stays.
        feeding.abort();
        while let Some(ended) = sides.join_next().await {
            ended.unwrap_or(Ok(()))?;
        }
        Ok(cut)
    }
}

/// Feeds the router from all sources until one of them gives up.
async fn feed(router: Arc<Router>, sources: Sources) -> Result<(), SourceError> {
    let fleet = async {
        match sources.fleet {
            Some(fleet) => fleet.run(Arc::clone(&router) as _).await,
            None => Ok(()),
        }
    };
    let routes = sources.routes.run(Arc::clone(&router) as _);
    let endpoints = sources.endpoints.run(Arc::clone(&router) as _);
    tokio::try_join!(routes, endpoints, fleet).map(|_| ())
}

//! Kipper's data plane: an HTTP proxy that holds requests for functions without a pod, wakes them,
//! and forwards when they can answer.
//!
//! The modules stand in the order in which a request meets them: `server` accepts, `http1` and
//! `http2` read heads, `admission` and `router` find the function, `queue` holds, `probe` finds out
//! when a pod can answer, `balancer` picks one, `upstream` connects, `headers` rewrites, `inflight`
//! counts and `reporter` tells the scaler-adapters. `source` feeds routes and endpoints from the
//! side. The map is in `ARCHITECTURE.md`.

mod clock;
pub mod config;
mod limits;
mod wire;
mod worker;

pub mod server;
pub mod tls;

pub mod http1;
pub mod http2;
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
pub mod reporter;
pub mod source;
pub mod wake_fallback;

pub mod error;
pub mod metrics;
pub mod process;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use kipper_process::drain::{Drain, DrainTrigger};
use prometheus::Registry;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    config::ProxyConfig,
    destination::Shared,
    inflight::Changes,
    metrics::Metrics,
    queue::Held,
    router::Router,
    server::Workers,
    source::{EndpointSource, RouteSource, SourceError, WakeFallback},
    tls::{Certificates, TlsError},
    worker::Plane,
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
    /// A metric family exists twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A thread cannot be started.
    #[error("cannot start a worker: {0}")]
    Worker(#[source] io::Error),
}

/// The data plane with its ports bound. It serves once [`Interceptor::serve`] runs.
pub struct Interceptor {
    workers: Workers,
    plane: Arc<Plane>,
    drain: DrainTrigger,
    listener: TcpListener,
    tls: Option<(TcpListener, Arc<Certificates>)>,
}

impl Interceptor {
    /// Binds the ports and starts the workers. `wake_fallback` is the second wake path and how
    /// long a request waits before it is taken.
    pub fn bind(
        config: &ProxyConfig,
        registry: &Registry,
        wake_fallback: Option<(Arc<dyn WakeFallback>, Duration)>,
    ) -> Result<Self, StartError> {
        let bind = |at| server::listen(at).map_err(|e| StartError::Listen(at, e));
        let metrics = Arc::new(Metrics::new(registry)?);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = config.workers.map_or(cores, std::num::NonZero::get);
        let shared = Arc::new(Shared {
            held: Arc::new(Held::new(config.hold())),
            changes: Changes::default(),
            metrics: Arc::clone(&metrics),
            workers: count,
            fleet: Default::default(),
        });
        let (drain, watch) = Drain::new();
        let plane = Arc::new(Plane {
            router: Arc::new(Router::new(shared, config.path_routes)),
            metrics,
            limits: config.limits(),
            h2: config.http2(),
            trusted_proxies: config.trusted_proxies.clone(),
            connect_timeout: config.connect_timeout,
            wake_fallback,
            max_connections: server::connection_cap(config.max_connections.get()),
            drain: watch,
            open: Default::default(),
        });
        let tls = match (&config.tls_listen, &config.tls_cert_dir) {
            (Some(at), Some(directory)) => Some((bind(*at)?, Certificates::load(directory)?)),
            _ => None,
        };
        Ok(Self {
            listener: bind(config.listen)?,
            tls,
            workers: Workers::start(&plane, count).map_err(StartError::Worker)?,
            plane,
            drain,
        })
    }

    /// Where it listens for HTTP.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where it listens for TLS.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// The routes: a sink for sources, and what admin and reporter read.
    pub fn router(&self) -> Arc<Router> {
        Arc::clone(&self.plane.router)
    }

    /// Serves until `shutdown`; then accepts for `delay` more, and lets what is held or running
    /// finish for at most `deadline`. Returns how many connections were cut.
    pub async fn serve(
        self,
        shutdown: CancellationToken,
        delay: Duration,
        deadline: Duration,
    ) -> Result<usize, StartError> {
        let mut tasks = JoinSet::new();
        if let Some((listener, certificates)) = self.tls {
            let config = certificates.server_config()?;
            tasks.spawn(certificates.reload());
            tasks.spawn(server::accept(listener, Some(config), self.workers.list()));
        }
        tasks.spawn(server::accept(self.listener, None, self.workers.list()));
        shutdown.cancelled().await;
        self.drain.start(delay, deadline);
        let cut = self.drain.finished().await;
        drop(tasks);
        // Joining the threads ends every connection that is left.
        let _ = tokio::task::spawn_blocking(move || drop(self.workers)).await;
        Ok(cut)
    }
}

/// Feeds the router from both sources until one of them gives up.
pub async fn feed(
    router: Arc<Router>,
    routes: Box<dyn RouteSource>,
    endpoints: Box<dyn EndpointSource>,
) -> Result<(), SourceError> {
    tokio::try_join!(routes.run(Arc::clone(&router) as _), endpoints.run(router)).map(|_| ())
}

//! Kipper's scaler-adapter: the interceptors' counts in, KEDA's external scaler out.
//!
//! The flow is collect → aggregate → serve, and the modules stand in that order; `burst` asks for
//! replicas beside it, ahead of the HPA, and `pollers` takes in what waits for those. `aggregate`, `metadata` and what `burst` decides are pure; `functions` is the one shared state; nothing is stored, because interceptors
//! report everything again when they reconnect. Bucket events are counted by a [`Backlog`]: with the
//! feature `bucket-watcher` (on by default) the watcher of that crate, beside the servers.

pub mod config;
pub mod error;
mod metrics;

pub mod aggregate;
mod asker;
mod backlog;
mod burst;
mod clock;
mod collector;
pub mod external_scaler;
mod functions;
mod metadata;
mod pollers;
mod server;
mod warmup;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, OptionFuture, try_join};
use kipper_externalscaler::external_scaler_server::ExternalScalerServer;
use kipper_process::{admin::AdminServer, readiness::Readiness};
use kipper_trigger::token::BacklogKey;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::Router;
use tonic_health::server::HealthReporter;

pub use asker::{Deployments, Replicas};
pub use backlog::Backlog;

pub use config::Config;
pub use error::Error;
pub use warmup::Expected;

use crate::{
    asker::Asker, clock::Clock, collector::Collector, external_scaler::Scaler,
    functions::Functions, metrics::Metrics, pollers::Pollers, warmup::Warmup,
};

/// How often idle functions are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// How long connections may take to end after their streams were ended; then they are cut.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// An adapter whose ports are bound; it answers once [`Adapter::serve`] runs.
pub struct Adapter {
    grpc: TcpListener,
    grpc_addr: SocketAddr,
    counts: TcpListener,
    counts_addr: SocketAddr,
    backlog: Option<(TcpListener, SocketAddr)>,
    registry: Registry,
    stages: Stages,
    /// What runs beside the servers, until its token is cancelled.
    beside: Option<Beside>,
    webhook_addr: Option<SocketAddr>,
}

type Beside = Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, Result<(), Error>> + Send>;

/// The wired stages.
struct Stages {
    external_scaler: Router,
    counts: Router,
    health: HealthReporter,
    functions: Arc<Functions>,
    warmup: Arc<Warmup>,
    expected: Expected,
    metrics: Metrics,
    /// Takes backlogs in, where pollers may report them.
    pollers: Option<Pollers>,
    /// Asks for replicas, if anybody may.
    asker: Option<Asker>,
    /// Ends every stream with OK.
    end_streams: CancellationToken,
}

impl Adapter {
    /// Reads the TLS files, wires the stages and binds both gRPC ports. The admin port is
    /// [`run`]'s.
    ///
    /// # Errors
    /// When a file cannot be read or a port cannot be bound.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        #[cfg(feature = "bucket-watcher")]
        return Self::bind_with_buckets(config, None).await;
        #[cfg(not(feature = "bucket-watcher"))]
        return Self::bind_with_backlog(config, None).await;
    }

    /// The same, with the caller's count of events that wait; without one, KEDA gets no answer about
    /// triggers on buckets.
    ///
    /// # Errors
    /// As [`Adapter::bind`].
    pub async fn bind_with_backlog(
        config: &Config,
        backlog: Option<Arc<dyn Backlog>>,
    ) -> Result<Self, Error> {
        Self::assemble(config, registry()?, backlog).await
    }

    /// The same, with triggers on buckets from the caller, who also says which adapter watches them;
    /// without them, those of Kubernetes if the configuration names a namespace.
    ///
    /// # Errors
    /// As [`Adapter::bind`].
    #[cfg(feature = "bucket-watcher")]
    pub async fn bind_with_buckets(
        config: &Config,
        sources: Option<kipper_bucket_watcher::BucketSources>,
    ) -> Result<Self, Error> {
        let registry = registry()?;
        if sources.is_none() && config.bucket.bucket_namespace.is_none() {
            return Self::assemble(config, registry, None).await;
        }
        let watcher =
            kipper_bucket_watcher::BucketWatcher::bind(&config.bucket, sources, &registry).await?;
        let webhook_addr = watcher.webhook_addr();
        let adapter = Self::assemble(config, registry, Some(watcher.pending())).await?;
        let beside: Beside = Box::new(|shutdown| {
            Box::pin(async move { watcher.serve(shutdown).await.map_err(Error::from) })
        });
        Ok(Self { beside: Some(beside), webhook_addr, ..adapter })
    }

    async fn assemble(
        config: &Config,
        registry: Registry,
        backlog: Option<Arc<dyn Backlog>>,
    ) -> Result<Self, Error> {
        let stages = build(config, &registry, backlog)?;
        let (grpc, grpc_addr) = listen("grpc", config.grpc_listen).await?;
        let (counts, counts_addr) = listen("counts", config.counts_listen).await?;
        let backlog = match config.backlog_listen {
            Some(addr) => Some(listen("backlog", addr).await?),
            None => None,
        };
        Ok(Self {
            grpc,
            grpc_addr,
            counts,
            counts_addr,
            backlog,
            registry,
            stages,
            beside: None,
            webhook_addr: None,
        })
    }

    /// Scales functions ahead of the HPA, wherever `replicas` has them.
    #[must_use]
    pub fn with_replicas(mut self, replicas: Arc<dyn Replicas>) -> Self {
        let Stages { functions, warmup, metrics, .. } = &self.stages;
        functions.set_asker();
        let (functions, warmup) = (Arc::clone(functions), Arc::clone(warmup));
        self.stages.asker = Some(Asker::new(functions, warmup, replicas, metrics.clone()));
        self
    }

    /// Where KEDA's calls are served.
    pub fn external_scaler_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where interceptors report.
    pub fn counts_addr(&self) -> SocketAddr {
        self.counts_addr
    }

    /// Where pollers report backlogs, if anywhere.
    pub fn backlog_addr(&self) -> Option<SocketAddr> {
        self.backlog.as_ref().map(|(_, addr)| *addr)
    }

    /// Where notifications of buckets are taken, if anywhere.
    pub fn webhook_addr(&self) -> Option<SocketAddr> {
        self.webhook_addr
    }

    /// The metrics of this adapter and of its process.
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// Serves until `shutdown`, then ends every stream with OK and waits a little for the
    /// connections to close. Dropping the future ends all of it at once.
    ///
    /// # Errors
    /// When a server fails by itself.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Stages {
            external_scaler,
            counts,
            health,
            functions,
            warmup,
            expected,
            pollers,
            asker,
            end_streams,
            metrics: _,
        } = self.stages;
        let _end: DropGuard = end_streams.clone().drop_guard();
        let stopping = end_streams.clone();
        // Each of KEDA's streams waits for its function alone.
        let (ended, listened) = (end_streams.clone(), Arc::clone(&functions));
        tokio::spawn(async move {
            ended.cancelled().await;
            listened.wake_streams();
        });
        let servers = async {
            tokio::try_join!(
                server::serve(external_scaler, self.grpc, "grpc", end_streams.cancelled()),
                server::serve(counts, self.counts, "counts", end_streams.cancelled()),
            )
        };
        let beside = OptionFuture::from(self.beside.map(|beside| beside(end_streams.clone())));
        let beside = async { beside.await.unwrap_or(Ok(())) };
        // Neither ends by itself but for an error; after a signal both do.
        let work = try_join(servers, beside);
        let upkeep = async {
            let asking = OptionFuture::from(asker.map(Asker::run));
            let told = pollers.zip(self.backlog);
            let told = told.map(|(pollers, (port, _))| pollers.serve(port, end_streams.clone()));
            let told = OptionFuture::from(told);
            tokio::join!(warmup.watch(&expected), sweep(&functions), asking, told);
        };
        let stop = async {
            shutdown.cancelled().await;
            health.set_not_serving::<ExternalScalerServer<Scaler>>().await;
            health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
            stopping.cancel();
            tokio::time::sleep(CLOSE_TIMEOUT).await;
        };
        tokio::select! {
            served = work => served.map(|_| ()),
            () = upkeep => Ok(()),
            () = stop => Ok(()),
        }
    }
}

/// Runs the process: the adapter and its admin port, until `shutdown` and the drain after it.
///
/// # Errors
/// When something cannot be bound or read, or a server fails by itself.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    tracing::info!(?config, "starting");
    let mut adapter = Adapter::bind(&config).await?;
    if let Some(foreign) = config.burst.clone() {
        let client = kipper_kubernetes::client().await.map_err(Error::Kubernetes)?;
        adapter = adapter.with_replicas(Arc::new(Deployments::new(client, foreign)));
    }
    let readiness = Readiness::new();
    let admin =
        AdminServer::bind(config.admin_listen, readiness.clone(), adapter.registry()).await?;
    let stop_admin = CancellationToken::new();
    let admin = tokio::spawn(admin.serve(stop_admin.clone()));
    tracing::info!(grpc = %adapter.grpc_addr, counts = %adapter.counts_addr, "serving");

    let stop_serving = CancellationToken::new();
    let drain = async {
        shutdown.cancelled().await;
        readiness.set_draining();
        tokio::time::sleep(config.drain_delay).await;
        stop_serving.cancel();
        std::future::pending::<()>().await;
    };
    let served = tokio::select! {
        served = adapter.serve(stop_serving.clone()) => served,
        () = drain => Ok(()),
    };
    stop_admin.cancel();
    // The admin port ends without an error of its own; a panic there was logged already.
    let _ = admin.await;
    served
}

/// Wires the stages, outer to inner.
fn build(
    config: &Config,
    registry: &Registry,
    backlog: Option<Arc<dyn Backlog>>,
) -> Result<Stages, Error> {
    let metrics = Metrics::register(registry)?;
    let clock = Clock::start();
    let end_streams = CancellationToken::new();
    let expected = config.expected_interceptors.clone();
    let functions = Functions::new(config.max_functions, clock, metrics.clone());
    let warmup = Arc::new(Warmup::new(&expected, config.snapshot_wait, clock));
    let collector = Collector::new(
        Arc::clone(&functions),
        Arc::clone(&warmup),
        metrics.clone(),
        config.shard,
        config.interceptor_ttl,
        end_streams.clone(),
    );
    let scaler = Scaler::new(
        Arc::clone(&functions),
        Arc::clone(&warmup),
        metrics.clone(),
        end_streams.clone(),
    );
    let scaler = scaler.with_backlog(backlog).of_shard(config.shard);
    let secret = config.backlog_listen.and(config.counts_tls.counts_tls_key.as_ref());
    let key = secret.map(|path| server::read(path).map(|key| BacklogKey::derive(&key)));
    let pollers = key.transpose()?.map(|key| {
        let (functions, metrics) = (Arc::clone(&functions), metrics.clone());
        Pollers { key, functions, metrics }
    });
    let health = HealthReporter::new();
    let health_service = tonic_health::server::HealthService::from_health_reporter(health.clone());
    let health_server = tonic_health::pb::health_server::HealthServer::new(health_service);
    let external_scaler = server::external_scaler(
        scaler,
        health_server,
        server::tls_config(config.grpc_tls.files())?,
    )?;
    let counts = server::counts(collector, server::tls_config(config.counts_tls.files())?)?;
    let asker = None;
    Ok(Stages {
        external_scaler,
        counts,
        health,
        functions,
        warmup,
        expected,
        metrics,
        pollers,
        asker,
        end_streams,
    })
}

fn registry() -> Result<Registry, Error> {
    Ok(kipper_process::metrics::registry("scaler-adapter", env!("CARGO_PKG_VERSION"))?)
}

async fn listen(what: &'static str, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let error = |source| Error::Bind { what, addr, source };
    let listener = TcpListener::bind(addr).await.map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    Ok((listener, bound))
}

async fn sweep(functions: &Functions) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        functions.sweep();
    }
}

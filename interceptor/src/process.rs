//! The whole process around the data plane: sources, reporter, admin port, drain.

use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use http::StatusCode;
use kipper_process::{
    admin::{AdminResponse, AdminServer},
    metrics,
    readiness::Readiness,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Interceptor,
    config::Config,
    feed,
    reporter::{self, ReporterMetrics},
    router::Router,
    source::{
        EndpointSource, RouteSource, SourceError, WakeFallback,
        kubernetes::{FunctionEndpoints, FunctionRoutes, HostRule, fleet},
        memory,
    },
    wake_fallback::DeploymentScale,
};

/// Runs until `shutdown`, then drains. An error means that it could not start, or that a part it
/// cannot do without gave up.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let readiness = Readiness::new();
    let synced = readiness.block("routes");
    let registry = metrics::registry("interceptor", env!("CARGO_PKG_VERSION"))?;
    let (sources, fallback) = sources(&config).await?;
    let fallback = fallback.map(|wake| (wake, config.wake_fallback_after));
    let reporter_metrics = ReporterMetrics::register(&registry)?;
    let interceptor = Interceptor::bind(&config.proxy, &registry, fallback)?;
    let router = interceptor.router();
    let admin = AdminServer::bind(config.admin_listen, readiness.clone(), registry).await?;
    let listed = Arc::clone(&router);
    let admin = admin.route("/routes", Arc::new(move || routes(&listed)));
    let admin_stop = CancellationToken::new();
    let admin = tokio::spawn(admin.serve(admin_stop.clone()));

    tracing::info!(
        listen = %interceptor.address()?,
        tls = ?interceptor.tls_address(),
        admin = %config.admin_listen,
        "interceptor started"
    );
    // Reports go on through the drain: what is still held or running must not look finished.
    let reporter_stop = CancellationToken::new();
    let reporting = (!config.reporter.adapters.is_empty()).then(|| {
        let (feed, stop) = (Arc::clone(&router), reporter_stop.clone());
        tokio::spawn(reporter::run(config.reporter.clone(), feed, reporter_metrics, stop))
    });
    let fleet = fleet(&config, sources.client, &router);
    let feeding = feed(Arc::clone(&router), sources.routes, sources.endpoints);
    let stop = shutdown.clone();
    let feeding = tokio::spawn(async move {
        // A source ends only when it cannot go on; what is known now must not age silently.
        if let Err(error) = tokio::try_join!(feeding, fleet) {
            tracing::error!(%error, "routes or endpoints cannot be followed, shutting down");
            stop.cancel();
        }
    });
    let waited = Arc::clone(&router);
    let syncing = tokio::spawn(async move {
        waited.wait_synced().await;
        synced.ready();
    });
    let stopping = shutdown.clone();
    let announce = tokio::spawn(async move {
        stopping.cancelled().await;
        readiness.set_draining();
    });
    let cut = interceptor.serve(shutdown, config.drain_delay, config.drain_deadline).await?;
    tracing::info!(cut, "drained");
    feeding.abort();
    syncing.abort();
    announce.await?;
    reporter_stop.cancel();
    if let Some(reporting) = reporting {
        reporting.await??;
    }
    admin_stop.cancel();
    admin.await?;
    Ok(())
}

/// Where routes and endpoints come from.
struct Sources {
    routes: Box<dyn RouteSource>,
    endpoints: Box<dyn EndpointSource>,
    /// The Kubernetes API, where that is the source.
    client: Option<kube::Client>,
}

/// A file of fixed routes, or Kubernetes with its second wake path.
async fn sources(config: &Config) -> anyhow::Result<(Sources, Option<Arc<dyn WakeFallback>>)> {
    if let Some(path) = &config.static_routes {
        let (routes, endpoints) = memory::static_routes(path)?;
        let (_, routes, endpoints) = memory::feed(routes, endpoints);
        let sources =
            Sources { routes: Box::new(routes), endpoints: Box::new(endpoints), client: None };
        return Ok((sources, None));
    }
    let client = kube::Client::try_default().await;
    let client = client.context("no Kubernetes API (and no --static-routes)")?;
    let namespace = config.namespace.as_deref();
    let hosts = HostRule {
        cluster_domain: config.cluster_domain.clone(),
        shared_parents: config.shared_parents.clone(),
    };
    let sources = Sources {
        routes: Box::new(FunctionRoutes::new(client.clone(), namespace, hosts)),
        endpoints: Box::new(FunctionEndpoints::new(client.clone(), namespace)),
        client: Some(client.clone()),
    };
    Ok((sources, Some(Arc::new(DeploymentScale::new(client)))))
}

/// Follows the other interceptors, where there is a Service to find them by.
fn fleet(
    config: &Config,
    client: Option<kube::Client>,
    router: &Arc<Router>,
) -> BoxFuture<'static, Result<(), SourceError>> {
    let (Some(client), Some(service), Some(namespace), Some(me)) =
        (client, &config.service, &config.service_namespace, &config.reporter.name)
    else {
        return Box::pin(std::future::pending());
    };
    let (service, namespace, me) = (service.clone(), namespace.clone(), me.clone());
    let router = Arc::clone(router);
    Box::pin(async move { fleet::follow(client, &namespace, &service, me, router).await })
}

/// `/routes`: what this process routes, holds and sends where, as JSON.
fn routes(router: &Router) -> AdminResponse {
    let now = crate::clock::now();
    let functions: Vec<_> = router
        .functions()
        .iter()
        .map(|f| {
            let route = f.route();
            let endpoints: Vec<_> = f
                .endpoints()
                .all
                .iter()
                .map(|e| {
                    serde_json::json!({
                        "address": e.address,
                        "usable": e.load.usable(now),
                        "inFlight": e.load.in_flight(),
                    })
                })
                .collect();
            serde_json::json!({
                "namespace": &*f.id.namespace,
                "name": &*f.id.name,
                "hosts": route.spec.hosts,
                "endpoints": endpoints,
                "total": f.counters.total(),
                "inFlight": f.counters.in_flight(),
                "held": f.held(),
            })
        })
        .collect();
    match serde_json::to_vec(&functions) {
        Ok(json) => AdminResponse::json(json),
        Err(e) => AdminResponse::text(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    }
}

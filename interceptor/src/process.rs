//! The whole process around the data plane: sources, reporter, admin port, drain.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
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
    router::Router,
    source::{
        FleetSource, Sources,
        kubernetes::{ClaimRoutes, FunctionEndpoints, FunctionRoutes, HostRule, ServiceFleet},
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
    let sources = sources(&config).await?;
    let interceptor =
        Interceptor::assemble(&config.proxy, &registry, sources, config.reporter.clone())?;
    let router = interceptor.router();
    let admin = AdminServer::bind(config.admin_listen, readiness.clone(), registry).await?;
    let listed = Arc::clone(&router);
    let readers = config.routes_readers.clone();
    let may_read = move |ip| readers.iter().any(|net| net.contains(&ip));
    let admin = admin.route_for("/routes", may_read, Arc::new(move || routes(&listed)));
    let admin_stop = CancellationToken::new();
    let admin = tokio::spawn(admin.serve(admin_stop.clone()));

    tracing::info!(
        listen = %interceptor.address()?,
        tls = ?interceptor.tls_address(),
        admin = %config.admin_listen,
        "interceptor started"
    );
    let syncing = tokio::spawn(async move {
        router.wait_synced().await;
        synced.ready();
    });
    let stopping = shutdown.clone();
    let announce = tokio::spawn(async move {
        stopping.cancelled().await;
        readiness.set_draining();
    });
    let cut = interceptor.serve(shutdown, config.drain_delay, config.drain_deadline).await?;
    tracing::info!(cut, "drained");
    syncing.abort();
    announce.await?;
    admin_stop.cancel();
    admin.await?;
    Ok(())
}

/// A file of fixed routes, or Kubernetes with its second wake path.
async fn sources(config: &Config) -> anyhow::Result<Sources> {
    if let Some(path) = &config.static_routes {
        let (routes, endpoints) = memory::static_routes(path)?;
        let (_, routes, endpoints) = memory::feed(routes, endpoints);
        return Ok(Sources::new(routes, endpoints));
    }
    let client = kipper_kubernetes::client().await;
    let client = client.context("no Kubernetes API (and no --static-routes)")?;
    let namespace = config.namespace.as_deref();
    let hosts = HostRule {
        cluster_domain: config.cluster_domain.clone().context("no --cluster-domain")?,
        shared_parents: config.shared_parents.clone(),
    };
    // Where there is a Service to find the other interceptors by.
    let service = config.service.as_deref().zip(config.service_namespace.as_deref());
    let fleet = service.zip(config.reporter.name.as_deref()).map(|((service, namespace), me)| {
        Box::new(ServiceFleet::new(client.clone(), namespace, service, me)) as Box<dyn FleetSource>
    });
    let scale = Arc::new(DeploymentScale::new(client.clone()));
    let endpoints = FunctionEndpoints::new(client.clone(), namespace);
    let sources = match config.service_namespace.as_deref() {
        Some(release) => {
            Sources::new(ClaimRoutes::new(client, release, namespace, hosts), endpoints)
        }
        None => Sources::new(FunctionRoutes::new(client, namespace, hosts), endpoints),
    };
    Ok(Sources { fleet, wake_fallback: Some((scale, config.wake_fallback_after)), ..sources })
}

/// `/routes`: what this process routes, holds and sends where, as JSON. `hosts` are those whose
/// requests the function gets; `hostsOfOthers` those that an older one has, with its name.
fn routes(router: &Router) -> AdminResponse {
    let now = crate::clock::now();
    let functions: Vec<_> = router
        .functions()
        .iter()
        .map(|f| {
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
            let (lost, own): (Vec<_>, Vec<_>) =
                router.claims(f).into_iter().partition(|(_, other)| other.is_some());
            let own: Vec<_> = own.into_iter().map(|(host, _)| host).collect();
            let lost =
                lost.into_iter().filter_map(|(host, other)| Some((host, other?.to_string())));
            serde_json::json!({
                "namespace": &*f.id.namespace,
                "name": &*f.id.name,
                "hosts": own,
                "hostsOfOthers": lost.collect::<BTreeMap<_, _>>(),
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

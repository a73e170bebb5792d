//! The data plane under test, in this process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kipper_interceptor::{
    Interceptor, ServeError,
    config::ProxyConfig,
    destination::Destination,
    reporter::ReporterConfig,
    router::Router,
    source::{
        EndpointState, FunctionId, RouteSpec, Sources,
        memory::{self, MemoryFeed},
    },
};
use prometheus::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{DEADLINE, Wire, until, within};

/// A function with every default: `name` answers at host `name.test`.
pub(crate) fn function(name: &str) -> RouteSpec {
    RouteSpec::new(FunctionId::new("it", name), vec![format!("{name}.test")])
}

/// An endpoint that Kubernetes calls ready.
pub(crate) fn ready(address: SocketAddr) -> EndpointState {
    EndpointState { address, ready: true, terminating: false }
}

/// An endpoint that Kubernetes does not call ready.
pub(crate) fn not_ready(address: SocketAddr) -> EndpointState {
    EndpointState { ready: false, ..ready(address) }
}

/// A running data plane; it ends with the test.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<SocketAddr>,
    pub(crate) router: Arc<Router>,
    pub(crate) feed: MemoryFeed,
    registry: Registry,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<usize, ServeError>>,
}

impl Proxy {
    /// With every default.
    pub(crate) async fn start() -> Self {
        Self::with(ProxyConfig::default()).await
    }

    pub(crate) async fn with(config: ProxyConfig) -> Self {
        let registry = Registry::new();
        let (feeder, routes, endpoints) = memory::feed(Vec::new(), Vec::new());
        let sources = Sources::new(routes, endpoints);
        let reporter = ReporterConfig::default();
        let interceptor = Interceptor::assemble(&config, &registry, sources, reporter).unwrap();
        let (address, tls) = (interceptor.address().unwrap(), interceptor.tls_address());
        let router = interceptor.router();
        let shutdown = CancellationToken::new();
        let serving = interceptor.serve(shutdown.clone(), Duration::ZERO, DEADLINE);
        let serving = tokio::spawn(serving);
        until("the sources are in sync", || router.synced()).await;
        Self { address, tls, router, feed: feeder, registry, shutdown, serving }
    }

    /// A data plane with one function `f` at these endpoints.
    pub(crate) async fn one(endpoints: &[EndpointState]) -> Self {
        let proxy = Self::start().await;
        proxy.add(function("f"), endpoints).await;
        proxy
    }

    /// Adds or changes a function, and waits until it is routed.
    pub(crate) async fn add(
        &self,
        spec: RouteSpec,
        endpoints: &[EndpointState],
    ) -> Arc<Destination> {
        let (id, host) = (spec.id.clone(), spec.hosts[0].clone());
        self.feed.apply(spec.clone()).unwrap();
        self.feed.applied().await.unwrap();
        let function = self.router.route(&host).unwrap();
        assert_eq!(function.route().spec, spec);
        self.place(&id, endpoints).await;
        function
    }

    /// Says where a function's pods are, and waits until that is known.
    pub(crate) async fn place(&self, id: &FunctionId, endpoints: &[EndpointState]) {
        self.feed.set_endpoints(id.clone(), endpoints.to_vec()).unwrap();
        self.feed.applied().await.unwrap();
        let functions = self.router.functions();
        let function = functions.iter().find(|f| f.id == *id).unwrap();
        let known: Vec<_> = function.endpoints().all.iter().map(|e| e.address).collect();
        assert_eq!(known, endpoints.iter().map(|s| s.address).collect::<Vec<_>>());
    }

    /// Says that a function cannot start, and waits until that is known.
    pub(crate) async fn fail(&self, id: &FunctionId) {
        self.feed.fail(id.clone()).unwrap();
        self.feed.applied().await.unwrap();
    }

    /// The function `f`.
    pub(crate) fn f(&self) -> Arc<Destination> {
        self.router.route("f.test").unwrap()
    }

    /// Waits until `f` holds `n` requests.
    pub(crate) async fn held(&self, n: usize) {
        let f = self.f();
        until("requests are held", || f.held() == n).await;
    }

    /// Waits until nothing is held, running or counted as bytes.
    pub(crate) async fn idle(&self) {
        let held = Arc::clone(&self.router.context().held);
        let quiet = || {
            let functions = self.router.functions();
            held.requests() == 0
                && held.bytes() == 0
                && functions.iter().all(|f| {
                    let endpoints = f.endpoints();
                    f.held() == 0
                        && f.counters.in_flight() == 0
                        && endpoints.all.iter().all(|e| e.load.in_flight() == 0)
                })
        };
        until("every counter is back at zero", quiet).await;
    }

    /// A client's connection.
    pub(crate) async fn client(&self) -> Wire {
        Wire::connect(self.address).await
    }

    /// Sum of a metric over the series that have all these label values.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let families = self.registry.gather();
        let name = format!("kipper_interceptor_{name}");
        // A family without series is not listed.
        let family = families.iter().filter(|f| f.name() == name);
        let wanted = |m: &&prometheus::proto::Metric| {
            labels.iter().all(|l| m.get_label().iter().any(|p| p.value() == *l))
        };
        let series = family.flat_map(|f| f.get_metric()).filter(wanted);
        series.map(|m| m.get_counter().get_value() + m.get_gauge().get_value()).sum()
    }

    /// Starts the drain.
    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Waits for the end of the drain: how many connections were cut.
    pub(crate) async fn drained(self) -> usize {
        self.shutdown.cancel();
        within("the drain ends", self.serving).await.unwrap().unwrap()
    }
}

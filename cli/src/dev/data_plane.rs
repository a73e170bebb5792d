//! The real data plane in this process: interceptor, reporter and scaler-adapter.
//!
//! Everything between them goes over loopback sockets, as it does between their pods. Whatever of
//! it ends by itself ends `kip dev`.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use anyhow::Context as _;
use kipper_interceptor::{
    Interceptor,
    config::ProxyConfig,
    reporter::ReporterConfig,
    router::Router,
    source::{
        Sources,
        memory::{self, MemoryFeed},
    },
};
use kipper_scaler_adapter::{Adapter, Config as AdapterConfig};
use prometheus::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::scale::{asks::Asks, keda::Client};

/// Client connections: plenty for one user, and within every usual limit of open files.
const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(2000).unwrap();

/// The running data plane.
pub(crate) struct DataPlane {
    /// Where the interceptor listens.
    pub(crate) address: SocketAddr,
    /// Routes as the interceptor sees them.
    pub(crate) router: Arc<Router>,
    /// Where routes and endpoints are said.
    pub(crate) feed: MemoryFeed,
    /// KEDA's way to the adapter.
    pub(crate) scaler: Client,
    /// The adapter's way to replicas.
    pub(crate) asks: Asks,
    interceptor: JoinSet<anyhow::Result<usize>>,
    control: JoinSet<anyhow::Result<()>>,
    stop_interceptor: CancellationToken,
    stop_control: CancellationToken,
}

impl DataPlane {
    /// Binds and starts all of it. `grace` bounds the drain.
    pub(crate) async fn start(listen: SocketAddr, grace: Duration) -> anyhow::Result<Self> {
        let asks = Asks::default();
        let adapter = Adapter::bind(&AdapterConfig::in_process()).await?;
        let adapter = adapter.with_replicas(Arc::new(asks.clone()));
        let scaler = Client::new(channel(adapter.external_scaler_addr())?);
        let counts = adapter.counts_addr();
        let registry = Registry::new();
        let config = ProxyConfig {
            listen,
            path_routes: true,
            max_connections: MAX_CONNECTIONS,
            ..ProxyConfig::default()
        };
        let (feed, routes, endpoints) = memory::feed(Vec::new(), Vec::new());
        let sources = Sources::new(routes, endpoints);
        let report_to =
            ReporterConfig { adapters: vec![counts.to_string()], ..ReporterConfig::default() };
        let interceptor = Interceptor::assemble(&config, &registry, sources, report_to)?;
        let address = interceptor.address()?;
        let router = interceptor.router();

        let (stop_interceptor, stop_control) = (CancellationToken::new(), CancellationToken::new());
        let mut control = JoinSet::new();
        let stop = stop_control.clone();
        control.spawn(async move { adapter.serve(stop).await.context("scaler-adapter") });
        let mut proxy = JoinSet::new();
        let stop = stop_interceptor.clone();
        proxy.spawn(async move {
            interceptor.serve(stop, Duration::ZERO, grace).await.context("interceptor")
        });
        Ok(Self {
            address,
            router,
            feed,
            scaler,
            asks,
            interceptor: proxy,
            control,
            stop_interceptor,
            stop_control,
        })
    }

    /// Resolves when a part of it ends that nobody stopped.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            Some(ended) = self.interceptor.join_next() => ended.map(|served| served.map(drop)),
            Some(ended) = self.control.join_next() => ended,
            else => return anyhow::anyhow!("the data plane ended"),
        };
        match ended {
            Ok(Ok(())) => anyhow::anyhow!("a part of the data plane ended"),
            Ok(Err(error)) => error,
            Err(panic) => panic.into(),
        }
    }

    /// Stops accepting and lets what is held or running finish; returns how many connections were
    /// cut at the end of the grace.
    pub(crate) async fn drain(&mut self) -> usize {
        self.stop_interceptor.cancel();
        match self.interceptor.join_next().await {
            Some(Ok(Ok(cut))) => cut,
            // An error was reported by `failed`, or comes too late to matter.
            _ => 0,
        }
    }

    /// Ends what is left.
    pub(crate) async fn stop(mut self) {
        self.stop_control.cancel();
        // The adapter waits for KEDA's streams to end; this was their other end.
        drop(self.scaler);
        while self.control.join_next().await.is_some() {}
    }
}

/// A lazy connection: the adapter serves as soon as this thread has time for it.
fn channel(adapter: SocketAddr) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{adapter}"))?.connect_lazy())
}

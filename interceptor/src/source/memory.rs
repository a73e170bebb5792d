//! In-process source: whoever holds the feed says which routes and endpoints there are.
//!
//! `kip dev` starts and stops functions through it; a file of fixed routes (`--static-routes`)
//! fills it once. The feed never waits for the data plane.

use std::{net::SocketAddr, path::Path, sync::Arc};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::{
    EndpointSink, EndpointSource, EndpointState, FunctionId, RouteSink, RouteSource, RouteSpec,
    SourceError,
};

/// One change of the routes.
enum RouteChange {
    Apply(Box<RouteSpec>),
    Remove(FunctionId),
    Mark(Mark),
}

/// One change of the endpoints.
enum EndpointChange {
    Set(FunctionId, Vec<EndpointState>),
    Fail(FunctionId),
    Mark(Mark),
}

/// Answered when all changes before it are in place.
type Mark = oneshot::Sender<()>;

/// Where changes are said. Dropping it leaves the last state in place.
#[derive(Clone)]
pub struct MemoryFeed {
    routes: mpsc::UnboundedSender<RouteChange>,
    endpoints: mpsc::UnboundedSender<EndpointChange>,
}

/// The routes of a feed.
pub struct MemoryRoutes {
    initial: Vec<RouteSpec>,
    changes: mpsc::UnboundedReceiver<RouteChange>,
}

/// The endpoints of a feed.
pub struct MemoryEndpoints {
    initial: EndpointList,
    changes: mpsc::UnboundedReceiver<EndpointChange>,
}

/// A feed and its two sources, starting with what is given.
///
/// The channels have no bound of their own: their writer is this process, each entry is one
/// change somebody made, and the sinks never block.
pub fn feed(
    routes: Vec<RouteSpec>,
    endpoints: EndpointList,
) -> (MemoryFeed, MemoryRoutes, MemoryEndpoints) {
    let (route_tx, route_rx) = mpsc::unbounded_channel();
    let (endpoint_tx, endpoint_rx) = mpsc::unbounded_channel();
    (
        MemoryFeed { routes: route_tx, endpoints: endpoint_tx },
        MemoryRoutes { initial: routes, changes: route_rx },
        MemoryEndpoints { initial: endpoints, changes: endpoint_rx },
    )
}

impl MemoryFeed {
    /// Adds or changes a function.
    pub fn apply(&self, route: RouteSpec) -> Result<(), SourceError> {
        let change = RouteChange::Apply(Box::new(route));
        self.routes.send(change).map_err(|_| SourceError::Closed)
    }

    /// Removes a function.
    pub fn remove(&self, id: FunctionId) -> Result<(), SourceError> {
        self.routes.send(RouteChange::Remove(id)).map_err(|_| SourceError::Closed)
    }

    /// Resolves when every change so far is in place: requests from then on go by it.
    pub async fn applied(&self) -> Result<(), SourceError> {
        let (route_mark, routes) = oneshot::channel();
        let (endpoint_mark, endpoints) = oneshot::channel();
        self.routes.send(RouteChange::Mark(route_mark)).map_err(|_| SourceError::Closed)?;
        let mark = EndpointChange::Mark(endpoint_mark);
        self.endpoints.send(mark).map_err(|_| SourceError::Closed)?;
        routes.await.and(endpoints.await).map_err(|_| SourceError::Closed)
    }

    /// Says where a function's processes are.
    pub fn set_endpoints(
        &self,
        id: FunctionId,
        endpoints: Vec<EndpointState>,
    ) -> Result<(), SourceError> {
        let change = EndpointChange::Set(id, endpoints);
        self.endpoints.send(change).map_err(|_| SourceError::Closed)
    }

    /// Says that a function's processes end before they can answer; see [`EndpointSink::fail`].
    pub fn fail(&self, id: FunctionId) -> Result<(), SourceError> {
        self.endpoints.send(EndpointChange::Fail(id)).map_err(|_| SourceError::Closed)
    }
}

impl RouteSource for MemoryRoutes {
    fn run(
        mut self: Box<Self>,
        sink: Arc<dyn RouteSink>,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        Box::pin(async move {
            sink.replace_all(self.initial);
            while let Some(change) = self.changes.recv().await {
                match change {
                    RouteChange::Apply(route) => sink.apply(*route),
                    RouteChange::Remove(id) => sink.remove(&id),
                    // Whoever asked may have left.
                    RouteChange::Mark(mark) => drop(mark.send(())),
                }
            }
            std::future::pending().await
        })
    }
}

impl EndpointSource for MemoryEndpoints {
    fn run(
        mut self: Box<Self>,
        sink: Arc<dyn EndpointSink>,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        Box::pin(async move {
            sink.replace_all(self.initial);
            while let Some(change) = self.changes.recv().await {
                match change {
                    EndpointChange::Set(id, endpoints) => sink.set(&id, endpoints),
                    EndpointChange::Fail(id) => sink.fail(&id),
                    // Whoever asked may have left.
                    EndpointChange::Mark(mark) => drop(mark.send(())),
                }
            }
            std::future::pending().await
        })
    }
}

/// One entry of a static routes file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StaticRoute {
    namespace: String,
    name: String,
    hosts: Vec<String>,
    #[serde(default)]
    endpoints: Vec<SocketAddr>,
    #[serde(default)]
    concurrency: u32,
}

/// Why a static routes file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StaticError {
    /// It cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(String, #[source] std::io::Error),
    /// It is not the JSON list that is expected.
    #[error("{0}: {1}")]
    Parse(String, #[source] serde_json::Error),
}

/// The endpoints of some functions.
pub type EndpointList = Vec<(FunctionId, Vec<EndpointState>)>;

/// Reads `[{"namespace", "name", "hosts": [..], "endpoints": ["ip:port"], "concurrency"}]`; every
/// endpoint counts as ready.
pub fn static_routes(path: &Path) -> Result<(Vec<RouteSpec>, EndpointList), StaticError> {
    let shown = || path.display().to_string();
    let text = std::fs::read(path).map_err(|e| StaticError::Read(shown(), e))?;
    let list: Vec<StaticRoute> =
        serde_json::from_slice(&text).map_err(|e| StaticError::Parse(shown(), e))?;
    let mut routes = Vec::with_capacity(list.len());
    let mut endpoints = Vec::with_capacity(list.len());
    for entry in list {
        let id = FunctionId::new(&entry.namespace, &entry.name);
        let up = |address| EndpointState { address, ready: true, terminating: false };
        endpoints.push((id.clone(), entry.endpoints.into_iter().map(up).collect()));
        let mut route = RouteSpec::new(id, entry.hosts);
        route.concurrency = entry.concurrency;
        routes.push(route);
    }
    Ok((routes, endpoints))
}

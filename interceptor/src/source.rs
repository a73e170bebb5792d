//! Where routes and endpoints come from.
//!
//! A source turns the outside world (Kubernetes watches, or `kip dev`) into [`RouteSpec`]s and
//! [`EndpointState`]s and hands them to the sinks. A source never reads the data plane's state,
//! never blocks on it, and after a watch gap calls `replace_all` with the whole truth; until then
//! the last snapshot keeps serving.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

pub mod function;
pub mod kubernetes;
pub mod memory;

/// Namespace and name of a Function.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionId {
    /// Kubernetes namespace; `local` under `kip dev`.
    pub namespace: Arc<str>,
    /// Name of the Function.
    pub name: Arc<str>,
}

impl FunctionId {
    /// Builds an id from its two parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for FunctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Everything the data plane needs to know about one function. Rendered by a source.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSpec {
    /// The function.
    pub id: FunctionId,
    /// When it was made, in seconds since 1970: the oldest of those that claim a host gets it.
    pub created: i64,
    /// Hosts that route to it, unless an older function has one: lower-case, no port, no trailing
    /// dot.
    pub hosts: Vec<String>,
    /// True when the function has an event trigger: `POST /event` from outside is then 404.
    pub event_trigger: bool,
    /// Hard limit of requests in flight per pod; 0 = none.
    pub concurrency: u32,
    /// How long a request may be held and forwarded.
    pub timeouts: Timeouts,
    /// Idle time after which the function is scaled to zero.
    pub idle_timeout: Duration,
    /// How the pod's readiness probe asks, and so how this proxy asks a pod that is not ready yet.
    pub probe: Probe,
    /// Protocol spoken to the pod.
    pub protocol: Protocol,
    /// Security headers added to responses; `None` = `noSecurityHeaders`.
    pub security: Option<SecurityHeaders>,
    /// Opt-in: replay idempotent methods once after a connection failed mid-request.
    pub retry_idempotent: bool,
}

impl RouteSpec {
    /// A plain HTTP function with every default of the Function resource.
    pub fn new(id: FunctionId, hosts: Vec<String>) -> Self {
        Self {
            id,
            created: 0,
            hosts,
            event_trigger: false,
            concurrency: 0,
            timeouts: Timeouts::default(),
            idle_timeout: Duration::from_secs(300),
            probe: Probe::Tcp,
            protocol: Protocol::Auto,
            security: Some(SecurityHeaders::default()),
            retry_idempotent: false,
        }
    }
}

/// `spec.timeouts` of a Function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A held request is answered 504 after this.
    pub cold_start: Duration,
    /// From the last byte of the request to the response head; 504 after this.
    pub response_header: Duration,
    /// Whole request once forwarded; `None` = unlimited.
    pub request: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            cold_start: Duration::from_secs(50),
            response_header: Duration::from_secs(300),
            request: None,
        }
    }
}

/// What makes a pod ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It accepts a connection.
    Tcp,
    /// `GET <path>` answers 200..=399, as the kubelet's httpGet probe counts it.
    Http(String),
}

/// `spec.protocol` of a Function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, and h2c for gRPC requests only.
    Auto,
    /// HTTP/1.1 always.
    Http1,
    /// HTTP/2 with prior knowledge always.
    H2c,
}

/// Security headers of a function; the CSP is `'self'` plus this allowlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityHeaders {
    /// External origins added to the Content-Security-Policy.
    pub csp_allowlist: Vec<String>,
}

/// One pod address of a function, as the source sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointState {
    /// Pod address and container port.
    pub address: SocketAddr,
    /// Kubernetes says it may serve. A not-ready endpoint is probed while something is held.
    pub ready: bool,
    /// It is going away: no new request is sent to it while another one can take it.
    pub terminating: bool,
}

/// Receives routes. Implemented by the router; calls never block.
pub trait RouteSink: Send + Sync + 'static {
    /// Adds or changes one function.
    fn apply(&self, route: RouteSpec);
    /// Removes one function; its held requests are answered 404.
    fn remove(&self, id: &FunctionId);
    /// Replaces everything: what is not listed is gone. Ends the initial sync.
    fn replace_all(&self, routes: Vec<RouteSpec>);
}

/// Receives endpoints. Implemented by the router; calls never block.
pub trait EndpointSink: Send + Sync + 'static {
    /// The whole endpoint set of one function (its slices merged, each address once).
    fn set(&self, id: &FunctionId, endpoints: Vec<EndpointState>);
    /// What was started for it ended before it could answer: until its endpoints are set again,
    /// requests are answered with that and not held.
    fn fail(&self, id: &FunctionId);
    /// Replaces the endpoints of every function: not listed = none. Ends the initial sync.
    fn replace_all(&self, all: Vec<(FunctionId, Vec<EndpointState>)>);
}

/// Watches where routes are declared. `run` returns only when it cannot go on.
pub trait RouteSource: Send + 'static {
    /// Feeds `sink` until dropped or unable to go on.
    fn run(
        self: Box<Self>,
        sink: Arc<dyn RouteSink>,
    ) -> BoxFuture<'static, Result<(), SourceError>>;
}

/// Watches where pods are. `run` returns only when it cannot go on.
pub trait EndpointSource: Send + 'static {
    /// Feeds `sink` until dropped or unable to go on.
    fn run(
        self: Box<Self>,
        sink: Arc<dyn EndpointSink>,
    ) -> BoxFuture<'static, Result<(), SourceError>>;
}

/// One of the interceptors that share the work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Name of its pod.
    pub name: String,
    /// Where it serves plain HTTP; `None` = this is not known.
    pub address: Option<SocketAddr>,
}

/// The interceptors that share the work. Empty: this one is alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Name of this interceptor.
    pub me: String,
    /// All of them, this one included.
    pub members: Vec<Member>,
}

/// Receives the fleet. Implemented by the router; calls never block.
pub trait FleetSink: Send + Sync + 'static {
    /// The interceptors that share the work from now on.
    fn set_fleet(&self, fleet: Fleet);
}

/// Watches which interceptors there are. `run` returns only when it cannot go on.
pub trait FleetSource: Send + 'static {
    /// Feeds `sink` until dropped or unable to go on.
    fn run(
        self: Box<Self>,
        sink: Arc<dyn FleetSink>,
    ) -> BoxFuture<'static, Result<(), SourceError>>;
}

/// All that feeds one data plane.
pub struct Sources {
    /// Where routes are declared.
    pub routes: Box<dyn RouteSource>,
    /// Where pods are.
    pub endpoints: Box<dyn EndpointSource>,
    /// Which other interceptors there are; `None` = this one is alone.
    pub fleet: Option<Box<dyn FleetSource>>,
    /// The second wake path, and how long a request waits before it is taken.
    pub wake_fallback: Option<(Arc<dyn WakeFallback>, Duration)>,
}

impl Sources {
    /// For an interceptor that is alone and has one wake path.
    pub fn new(routes: impl RouteSource, endpoints: impl EndpointSource) -> Self {
        Self {
            routes: Box::new(routes),
            endpoints: Box::new(endpoints),
            fleet: None,
            wake_fallback: None,
        }
    }
}

/// Second wake path: scales a function from zero without KEDA.
pub trait WakeFallback: Send + Sync + 'static {
    /// Scales from 0 to `replicas`; does nothing when the function is not at zero any more.
    fn wake(&self, id: FunctionId, replicas: u32) -> BoxFuture<'static, Result<Wake, SourceError>>;
}

/// What a fallback wake found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The function was at zero, and is not any more.
    Scaled,
    /// Somebody else had scaled it.
    Awake,
}

/// Why a source or a fallback wake gave up.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The Kubernetes API refused or failed.
    #[error("kubernetes: {0}")]
    Kubernetes(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The other end of an in-process source is gone.
    #[error("the route feed was closed")]
    Closed,
}

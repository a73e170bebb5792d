//! The admin port: `/livez`, `/readyz`, `/metrics` and what else a process registers.
//!
//! An HTTP/1.1 server of its own, never on a traffic port. It answers from memory, reads no
//! request body, and stays up through a drain: its caller cancels its token last.

use std::{
    collections::BTreeMap,
    future::ready,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    port::{HttpPort, PeerAddr},
    readiness::Readiness,
};

/// Connections served at once. Probes and one or two scrapers need far fewer.
pub const MAX_CONNECTIONS: usize = 64;
/// A connection is asked to end after this time, so that none of the few is held for good.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why there is no admin port.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("bind admin port {addr}")]
    Bind {
        /// The configured address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// What an admin route answers.
#[derive(Clone, Debug)]
pub struct AdminResponse {
    /// HTTP status.
    pub status: StatusCode,
    /// Value of `Content-Type`.
    pub content_type: HeaderValue,
    /// The whole body.
    pub body: Bytes,
}

impl AdminResponse {
    /// A plain-text answer.
    pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: TEXT, body: body.into() }
    }

    /// A `200` with a body that is JSON already.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: JSON, body: body.into() }
    }
}

/// Answers one admin route. Called on the runtime: it must answer from memory and not block.
pub type AdminHandler = Arc<dyn Fn() -> AdminResponse + Send + Sync>;

/// The admin port, bound and not yet served.
pub struct AdminServer {
    listener: TcpListener,
    local_addr: SocketAddr,
    routes: Routes,
}

impl AdminServer {
    /// Binds the admin port with its three fixed routes.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(
        addr: SocketAddr,
        readiness: Readiness,
        registry: Registry,
    ) -> Result<Self, AdminError> {
        let bind_error = |source| AdminError::Bind { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(bind_error)?;
        let local_addr = listener.local_addr().map_err(bind_error)?;
        let server = Self { listener, local_addr, routes: Routes::default() };
        Ok(server
            .route("/livez", Arc::new(|| AdminResponse::text(StatusCode::OK, "ok\n")))
            .route("/readyz", Arc::new(move || readyz(&readiness)))
            .route("/metrics", Arc::new(move || metrics(&registry))))
    }

    /// Adds a `GET` route; a path registered before is replaced.
    #[must_use]
    pub fn route(mut self, path: &'static str, handler: AdminHandler) -> Self {
        self.routes.0.insert(path, Route { handler, allows: None });
        self
    }

    /// The same for clients at some addresses only; others are answered 403.
    #[must_use]
    pub fn route_for(
        mut self,
        path: &'static str,
        allows: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
        handler: AdminHandler,
    ) -> Self {
        self.routes.0.insert(path, Route { handler, allows: Some(Box::new(allows)) });
        self
    }

    /// The address bound, with the port that was picked for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` is cancelled, then lets responses in progress finish (2 s at most).
    pub async fn serve(self, shutdown: CancellationToken) {
        let routes = Arc::new(self.routes);
        let port = HttpPort {
            name: "admin",
            max_connections: MAX_CONNECTIONS,
            keep_alive: true,
            lifetime: Some(CONNECTION_LIFETIME),
        };
        let answer = move |request: http::Request<_>| {
            let peer = request.extensions().get().map(|PeerAddr(ip)| *ip);
            ready(routes.answer(request.method(), request.uri().path(), peer))
        };
        port.serve(self.listener, answer, shutdown).await;
    }
}

#[derive(Default)]
struct Routes(BTreeMap<&'static str, Route>);

/// What answers a path, and whom.
struct Route {
    handler: AdminHandler,
    allows: Option<Box<dyn Fn(IpAddr) -> bool + Send + Sync>>,
}

impl Routes {
    fn answer(&self, method: &Method, path: &str, peer: Option<IpAddr>) -> Response<Full<Bytes>> {
        let Some(Route { handler, allows }) = self.0.get(path) else {
            return response(AdminResponse::text(StatusCode::NOT_FOUND, "not found\n"));
        };
        if allows.as_ref().is_some_and(|allows| !peer.is_some_and(allows)) {
            return response(AdminResponse::text(StatusCode::FORBIDDEN, "forbidden\n"));
        }
        // For HEAD, hyper sends the head with the body's length and leaves the body out.
        if method != Method::GET && method != Method::HEAD {
            let refused =
                AdminResponse::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            let mut response = response(refused);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        response(handler())
    }
}

fn response(answer: AdminResponse) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(CONTENT_TYPE, answer.content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn readyz(readiness: &Readiness) -> AdminResponse {
    let missing = readiness.missing();
    if missing.is_empty() {
        return AdminResponse::text(StatusCode::OK, "ready\n");
    }
    let body = format!("not ready: {}\n", missing.join(", "));
    AdminResponse::text(StatusCode::SERVICE_UNAVAILABLE, body)
}

fn metrics(registry: &Registry) -> AdminResponse {
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    if let Err(error) = encoder.encode(&registry.gather(), &mut body) {
        tracing::warn!(%error, "metrics cannot be encoded");
        return AdminResponse::text(StatusCode::INTERNAL_SERVER_ERROR, "metrics unavailable\n");
    }
    let content_type = HeaderValue::from_static(prometheus::TEXT_FORMAT);
    AdminResponse { status: StatusCode::OK, content_type, body: body.into() }
}

//! The admin port: `/livez`, `/readyz`, `/metrics` and what else a process registers.
//!
//! An HTTP/1.1 server of its own, never on a traffic port. It answers from memory, reads no
//! request body, and stays up through a drain: its caller cancels its token last. Connections are
//! capped; at the cap further ones wait in the kernel's accept queue until one ends, which the
//! header timeout and the connection's lifetime guarantee.

use std::{
    collections::BTreeMap, convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;

/// Connections served at once. Probes and one or two scrapers need far fewer.
pub const MAX_CONNECTIONS: usize = 64;
/// A request's head must be complete within this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection is asked to end after this time, so that nobody holds one of the few for good.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);
/// Time for the response in progress once a connection is asked to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Room for a request head; probes and scrapers send a few hundred bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why the admin port is not there.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("bind admin port {addr}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
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
        self.routes.0.insert(path, handler);
        self
    }

    /// The address bound, with the port that was picked for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` is cancelled, then lets responses in progress finish (2 s at most).
    pub async fn serve(self, shutdown: CancellationToken) {
        let routes = Arc::new(self.routes);
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accept = async {
                // The semaphore is never closed.
                let permit = permits.clone().acquire_owned().await.ok();
                (self.listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accept => accepted,
                // Finished connections are reaped as they end.
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = serve_connection(stream, routes.clone(), shutdown.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "admin port cannot accept");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        // Each ends within `CLOSE_TIMEOUT` by itself.
        while connections.join_next().await.is_some() {}
    }
}

#[derive(Default)]
struct Routes(BTreeMap<&'static str, AdminHandler>);

impl Routes {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let Some(handler) = self.0.get(path) else {
            return response(AdminResponse::text(StatusCode::NOT_FOUND, "not found\n"));
        };
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

async fn serve_connection(stream: TcpStream, routes: Arc<Routes>, shutdown: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = routes.answer(request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = end_of_life(&shutdown) => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(CLOSE_TIMEOUT, connection).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "admin connection ended");
    }
}

async fn end_of_life(shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(CONNECTION_LIFETIME) => {}
    }
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

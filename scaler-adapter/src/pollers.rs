//! The port for backlogs: pollers report how many events wait for their function, where one pod cannot
//! keep up. KEDA counts the same events, but only every few seconds, and the HPA asks later still.
//!
//! `POST /backlog/<namespace>/<function>` with the function's bearer token and `{"waiting": 1000}`.
//! Every adapter is told; the one that has KEDA's stream of the function acts on it, the others forget
//! it. A report that is lost costs nothing but time: the HPA comes to the same.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use kipper_process::port::HttpPort;
use kipper_trigger::{Count, of_backlog_path, token::BacklogKey};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    functions::{FunctionKey, Functions},
    metrics::Metrics,
};

/// Connections at once, a report each; further ones wait in the kernel's accept queue.
const MAX_CONNECTIONS: usize = 1024;
/// A report is a number.
const MAX_BODY_BYTES: usize = 256;
/// For a body that does not come.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes reports.
#[derive(Clone)]
pub(crate) struct Pollers {
    pub(crate) key: BacklogKey,
    pub(crate) functions: Arc<Functions>,
    pub(crate) metrics: Metrics,
}

impl Pollers {
    /// Serves until `shutdown`.
    pub(crate) async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let port = HttpPort {
            name: "backlog",
            max_connections: MAX_CONNECTIONS,
            keep_alive: false,
            lifetime: None,
        };
        let answer = move |request| {
            let pollers = self.clone();
            async move {
                let status = pollers.answer(request).await;
                pollers.metrics.backlogs.with_label_values(&[status.as_str()]).inc();
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = status;
                response
            }
        };
        port.serve(listener, answer, shutdown).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> StatusCode {
        let Some((namespace, name)) = of_backlog_path(request.uri().path()) else {
            return StatusCode::NOT_FOUND;
        };
        let bearer = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
        let token = bearer.and_then(|bearer| bearer.strip_prefix(b"Bearer "));
        if !token.is_some_and(|token| self.key.is_token(namespace, name, token)) {
            return StatusCode::UNAUTHORIZED;
        }
        if request.method() != Method::POST {
            return StatusCode::METHOD_NOT_ALLOWED;
        }
        let key = FunctionKey::new(namespace, name);
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
        let body = match timeout(READ_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return StatusCode::BAD_REQUEST,
            Err(_) => return StatusCode::REQUEST_TIMEOUT,
        };
        let Ok(Count::Waiting(events)) = serde_json::from_slice(&body) else {
            return StatusCode::BAD_REQUEST;
        };
        self.functions.report_backlog(&key, events);
        StatusCode::NO_CONTENT
    }
}

//! The webhook port: notifications in, 200 only once their events are durable.
//!
//! Only the leading adapter stores. Another one hands what it gets on to it, once, and answers what
//! the leader answers; while nobody leads, 503 makes the service send it again. A notification that
//! nobody is interested in is taken and forgotten, or it would block those behind it.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, HOST},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    config::WebhookToken,
    leader::Leader,
    metrics::BucketMetrics,
    notification::{self, Told},
    trigger::BucketTrigger,
    watch::{Ask, Status},
};

/// Connections at once; further ones wait in the kernel's accept queue.
const MAX_CONNECTIONS: usize = 256;
/// A request's head must be complete within this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// From a complete notification to its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);
/// A notification has a few kilobytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Marks what another adapter has handed on.
const HANDED_ON: &str = "kipper-handed-on";

/// Where the notifications of one trigger go.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) trigger: Arc<BucketTrigger>,
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) status: watch::Receiver<Status>,
}

/// All of them while this adapter leads and knows its triggers, else `None`.
pub(crate) type Routes = watch::Receiver<Option<Arc<[Route]>>>;

/// See the module.
#[derive(Clone)]
pub(crate) struct Webhook {
    pub(crate) token: WebhookToken,
    pub(crate) routes: Routes,
    pub(crate) leader: watch::Receiver<Leader>,
    pub(crate) metrics: BucketMetrics,
}

impl Webhook {
    /// Serves until it is dropped.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let permit = permits.clone().acquire_owned().await.ok();
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "webhook port: accept");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let webhook = self.clone();
            connections.spawn(async move {
                let _permit = permit;
                webhook.connection(stream).await;
            });
        }
    }

    async fn connection(self, stream: TcpStream) {
        let service = service_fn(|request| {
            let webhook = self.clone();
            async move {
                let status = webhook.answer(request).await;
                webhook.metrics.answered(status);
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        // A service that leaves sends again; there is nothing to say about it here.
        let _ = pin!(connection).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> StatusCode {
        if !is_authorized(&self.token, request.headers()) {
            return StatusCode::UNAUTHORIZED;
        }
        if request.method() != Method::POST {
            return StatusCode::METHOD_NOT_ALLOWED;
        }
        let (head, body) = request.into_parts();
        let body = match timeout(ANSWER_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await
        {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE,
            Err(_) => return StatusCode::REQUEST_TIMEOUT,
        };
        let leader = *self.leader.borrow();
        let answered = match leader {
            Leader::Me => timeout(ANSWER_TIMEOUT, self.take(head.uri.path(), &body)).await,
            Leader::Other(Some(leader)) if !head.headers.contains_key(HANDED_ON) => {
                timeout(ANSWER_TIMEOUT, self.hand_on(leader, head.uri.path(), body)).await
            }
            Leader::Other(_) => Ok(StatusCode::SERVICE_UNAVAILABLE),
        };
        answered.unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    async fn take(&self, path: &str, body: &[u8]) -> StatusCode {
        let Some(routes) = self.routes.borrow().clone() else {
            return StatusCode::SERVICE_UNAVAILABLE;
        };
        let told = match notification::parse(body) {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!("webhook: {error}");
                return StatusCode::BAD_REQUEST;
            }
        };
        let mut replies = Vec::new();
        for told in told {
            for route in routes.iter().filter(|route| route.is_for(path, &told)) {
                let status = *route.status.borrow();
                match status {
                    Status::Broken => continue,
                    Status::Starting => return StatusCode::SERVICE_UNAVAILABLE,
                    Status::Ready => {}
                }
                let (reply, replied) = oneshot::channel();
                let Told { event, notice } = told.clone();
                if route.asks.send(Ask { event, notice, reply }).await.is_err() {
                    return StatusCode::SERVICE_UNAVAILABLE;
                }
                replies.push(replied);
            }
        }
        for replied in replies {
            if !matches!(replied.await, Ok(true)) {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
        }
        StatusCode::OK
    }

    async fn hand_on(&self, leader: SocketAddr, path: &str, body: Bytes) -> StatusCode {
        match self.post(leader, path, body).await {
            Ok(status) => status,
            Err(error) => {
                tracing::warn!(%leader, "webhook: the leading adapter does not answer: {error}");
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    async fn post(
        &self,
        leader: SocketAddr,
        path: &str,
        body: Bytes,
    ) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(leader).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::post(path)
            .header(HOST, leader.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.token.reveal()))
            .header(HANDED_ON, "1")
            .body(Full::new(body))?;
        // Both end with the answer; the connection is not kept.
        tokio::select! {
            response = sender.send_request(request) => Ok(response?.status()),
            ended = connection => {
                ended?;
                Err("connection closed".into())
            }
        }
    }
}

fn is_authorized(token: &WebhookToken, headers: &HeaderMap) -> bool {
    let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    given.strip_prefix(b"Bearer ").is_some_and(|given| token.is(given))
}

impl Route {
    /// A path names the `host:port` of the service it is for; `/` is for every service that has a
    /// bucket of this name.
    fn is_for(&self, path: &str, told: &Told) -> bool {
        let authority = path.trim_matches('/');
        let trigger = &self.trigger;
        (authority.is_empty() || authority == trigger.authority())
            && told.event.bucket == trigger.bucket
            && trigger.wants(&told.event.key)
    }
}

//! The webhook port: notifications in, 200 only once their events are durable.
//!
//! Only the leading adapter stores. Another one hands what it gets on to it, once, and answers what
//! the leader answers; without a leader, 503 makes the service send it again. A notification that
//! concerns no trigger is taken and forgotten, or it would block those behind it. Who sends says for which
//! triggers it is heard (`senders`): nobody can make events of another one's buckets.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::AUTHORIZATION,
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use kipper_bucket::{Account, Budget};
use kipper_process::{port::HttpPort, post::post};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    leader::Leader,
    metrics::BucketMetrics,
    notification::{self, Notification},
    senders::{Sender, Senders},
    trigger::BucketTrigger,
    watch::{Ask, Status},
};

/// Connections at once; further ones wait in the kernel's accept queue.
const MAX_CONNECTIONS: usize = 256;
/// From a complete notification to its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);
/// A notification has a few kilobytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// What a notification takes while it is read and waits, in its own sizes.
const READ_FACTOR: usize = 4;
/// Marks what another adapter has handed on.
const HANDED_ON: HeaderName = HeaderName::from_static("kipper-handed-on");

/// Where the notifications of one trigger go.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) trigger: Arc<BucketTrigger>,
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) status: watch::Receiver<Status>,
}

/// All of them while this adapter leads and knows its triggers, else `None`.
pub(crate) type Routes = watch::Receiver<Option<Arc<[Route]>>>;

/// The webhook port.
#[derive(Clone)]
pub(crate) struct Webhook {
    pub(crate) senders: Arc<Senders>,
    pub(crate) routes: Routes,
    pub(crate) leader: watch::Receiver<Leader>,
    pub(crate) metrics: BucketMetrics,
    /// For the bodies that are being read, and what waits of them.
    pub(crate) memory: Budget,
}

impl Webhook {
    /// Serves until `shutdown`, and a little longer what has come before that.
    pub(crate) async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let port = HttpPort {
            name: "webhook",
            max_connections: MAX_CONNECTIONS,
            keep_alive: true,
            lifetime: None,
        };
        let answer = move |request| {
            let webhook = self.clone();
            async move {
                let status = webhook.answer(request).await;
                webhook.metrics.answered(status);
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = status;
                response
            }
        };
        port.serve(listener, answer, shutdown).await;
    }

    /// Who sends this, and by which header that is known.
    fn sender(&self, headers: &HeaderMap) -> Option<(Sender, HeaderValue)> {
        let header = headers.get(AUTHORIZATION)?;
        let bearer = header.as_bytes().strip_prefix(b"Bearer ")?;
        Some((self.senders.of(bearer)?, header.clone()))
    }

    async fn answer(&self, request: Request<Incoming>) -> StatusCode {
        let Some((sender, bearer)) = self.sender(request.headers()) else {
            return StatusCode::UNAUTHORIZED;
        };
        if request.method() != Method::POST {
            return StatusCode::METHOD_NOT_ALLOWED;
        }
        let (head, body) = request.into_parts();
        let mut account = self.memory.account();
        let body = match timeout(ANSWER_TIMEOUT, read(body, &mut account)).await {
            Ok(Ok(body)) => body,
            Ok(Err(status)) => return status,
            Err(_) => return StatusCode::REQUEST_TIMEOUT,
        };
        let leader = *self.leader.borrow();
        let answered = match leader {
            Leader::Me => timeout(ANSWER_TIMEOUT, self.take(&sender, head.uri.path(), &body)).await,
            Leader::Other(Some(leader)) if !head.headers.contains_key(&HANDED_ON) => {
                let handing = hand_on(leader, bearer, head.uri, body);
                timeout(ANSWER_TIMEOUT, handing).await
            }
            Leader::Other(_) => Ok(StatusCode::SERVICE_UNAVAILABLE),
        };
        answered.unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    async fn take(&self, sender: &Sender, path: &str, body: &[u8]) -> StatusCode {
        let Some(routes) = self.routes.borrow().clone() else {
            return StatusCode::SERVICE_UNAVAILABLE;
        };
        let notifications = match notification::parse(body) {
            Ok(notifications) => notifications,
            Err(error) => {
                tracing::warn!("webhook: {error}");
                return StatusCode::BAD_REQUEST;
            }
        };
        let mut replies = Vec::new();
        for notification in notifications {
            let heard = routes.iter().filter(|route| sender.speaks_for(&route.trigger));
            for route in heard.filter(|route| route.is_for(path, &notification)) {
                let status = *route.status.borrow();
                match status {
                    Status::Broken => continue,
                    Status::Starting => return StatusCode::SERVICE_UNAVAILABLE,
                    Status::Ready => {}
                }
                let (reply, replied) = oneshot::channel();
                let Notification { event, notice } = notification.clone();
                let said = Some((event, notice)).filter(|_| *sender != Sender::Anyone);
                if route.asks.send(Ask { said, reply }).await.is_err() {
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
}

async fn hand_on(leader: SocketAddr, bearer: HeaderValue, path: Uri, body: Bytes) -> StatusCode {
    let handed_on = HeaderValue::from_static("1");
    let headers = [(AUTHORIZATION, bearer), (HANDED_ON, handed_on)];
    match post(leader, path, headers.into_iter().collect(), body).await {
        Ok(status) => status,
        Err(error) => {
            let error = anyhow::Error::new(error);
            tracing::warn!(%leader, "webhook: no answer from the leading adapter: {error:#}");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// A whole body, paid for as it comes. The account covers what is made of it too.
async fn read(mut body: Incoming, account: &mut Account) -> Result<Bytes, StatusCode> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(StatusCode::BAD_REQUEST) };
        let Some(data) = frame.data_ref() else { continue };
        if whole.len() + data.len() > MAX_BODY_BYTES {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let held = account.add(data.len() * READ_FACTOR);
        held.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        whole.extend_from_slice(data);
    }
    Ok(whole.freeze())
}

impl Route {
    /// A path names the `host:port` of the service it is for; `/` is for every service that has a
    /// bucket of this name.
    fn is_for(&self, path: &str, notification: &Notification) -> bool {
        let authority = path.trim_matches('/');
        let trigger = &self.trigger;
        (authority.is_empty() || authority == trigger.authority())
            && notification.event.bucket == trigger.bucket
            && trigger.wants(&notification.event.key)
    }
}

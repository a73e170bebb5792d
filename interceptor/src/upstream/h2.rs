//! HTTP/2 with prior knowledge to pods (gRPC and `protocol: h2c`): one multiplexed connection per
//! endpoint and worker.
//!
//! A request may be sent again when the pod says it did not process it: the connection was closed
//! before the request was written, the stream was refused, or a GOAWAY names an earlier stream as
//! the last one (RFC 9113 sections 6.8 and 8.7). The body sent
//! so far is kept for that, up to a bound, until the response head arrives.

use std::{
    error::Error as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;

use super::{ConnectError, Pool};
use crate::balancer::Endpoint;

/// Body bytes kept for sending a refused request again; a longer body is not sent again.
const REPLAY_BYTES: usize = 64 << 10;
/// A connection without traffic is asked after this long whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// And has this long to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest response header list.
const MAX_HEADER_LIST: u32 = 64 << 10;

type Sender = http2::SendRequest<ReplayBody>;

/// The connection of one worker to one endpoint, if there is one.
#[derive(Default)]
pub struct Slot(tokio::sync::Mutex<Option<Sender>>);

/// How sending ended.
pub(crate) enum SendError {
    /// The pod did not process the request: it may be sent again.
    NotProcessed(Option<ConnectError>),
    /// It may have been processed.
    Failed(hyper::Error),
}

/// The multiplexed connection to `endpoint`, opened if need be.
async fn sender(
    pool: &Pool,
    endpoint: &Endpoint,
    timeout: Duration,
) -> Result<Sender, ConnectError> {
    let gone = || ConnectError::Refused(std::io::ErrorKind::NotConnected.into());
    let slot = pool.h2_slot(endpoint).ok_or_else(gone)?;
    // Held while connecting, so that requests that come together share one connection.
    let mut slot = slot.0.lock().await;
    if let Some(sender) = slot.as_mut().filter(|s| !s.is_closed())
        && sender.ready().await.is_ok()
    {
        return Ok(sender.clone());
    }
    let tcp = super::dial(endpoint, timeout).await?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_header_list_size(MAX_HEADER_LIST);
    let shaken = builder.handshake(TokioIo::new(tcp)).await;
    let refused = |e| ConnectError::Refused(std::io::Error::other(e));
    let (mut sender, connection) = shaken.map_err(refused)?;
    // It ends when the last sender is dropped or the pod closes.
    tokio::spawn(connection);
    sender.ready().await.map_err(refused)?;
    *slot = Some(sender.clone());
    Ok(sender)
}

/// Makes sure that the connection to `endpoint` stands.
pub(crate) async fn connect(
    pool: &Pool,
    endpoint: &Endpoint,
    timeout: Duration,
) -> Result<(), ConnectError> {
    sender(pool, endpoint, timeout).await.map(drop)
}

/// Sends `parts` with `body` to `endpoint`.
pub(crate) async fn send(
    pool: &Pool,
    endpoint: &Endpoint,
    timeout: Duration,
    parts: http::request::Parts,
    body: ReplayBody,
) -> Result<Response<Incoming>, SendError> {
    let connected = sender(pool, endpoint, timeout).await;
    let mut sender = connected.map_err(|e| SendError::NotProcessed(Some(e)))?;
    match sender.try_send_request(Request::from_parts(parts, body)).await {
        Ok(response) => Ok(response),
        Err(mut e) => {
            if e.take_message().is_some() {
                return Err(SendError::NotProcessed(None));
            }
            let e = e.into_error();
            let reason = e.source().and_then(|s| s.downcast_ref::<h2::Error>());
            // h2 hands a pod's GOAWAY only to streams behind the last one it processed.
            let refused = reason.is_some_and(|r| {
                let reset = r.is_reset() && r.reason() == Some(h2::Reason::REFUSED_STREAM);
                r.is_remote() && (reset || r.is_go_away())
            });
            Err(if refused { SendError::NotProcessed(None) } else { SendError::Failed(e) })
        }
    }
}

/// A request body that can be read once more from its start while little of it was sent.
pub(crate) struct Replayable(Arc<Mutex<Shared>>);

struct Shared {
    source: Incoming,
    /// Data sent so far; `None` once it was too much.
    sent: Option<Vec<Bytes>>,
    bytes: usize,
    /// The view that may read; older ones see an error.
    generation: u32,
}

impl Replayable {
    pub(crate) fn new(source: Incoming) -> Self {
        let shared = Shared { source, sent: Some(Vec::new()), bytes: 0, generation: 0 };
        Self(Arc::new(Mutex::new(shared)))
    }

    /// A view from the start; `None` when too much was sent to keep.
    pub(crate) fn view(&self) -> Option<ReplayBody> {
        let mut shared = self.0.lock();
        shared.sent.as_ref()?;
        shared.generation += 1;
        let generation = shared.generation;
        Some(ReplayBody { shared: Arc::clone(&self.0), next: 0, generation })
    }

    /// The response head is here: nothing will be sent again, so nothing more is kept.
    pub(crate) fn settle(&self) {
        self.0.lock().bytes = REPLAY_BYTES;
    }
}

/// One reading of a [`Replayable`].
pub(crate) struct ReplayBody {
    shared: Arc<Mutex<Shared>>,
    next: usize,
    generation: u32,
}

impl Body for ReplayBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = self.get_mut();
        let mut shared = this.shared.lock();
        if shared.generation != this.generation {
            return Poll::Ready(Some(Err(std::io::ErrorKind::BrokenPipe.into())));
        }
        if let Some(data) = shared.sent.as_ref().and_then(|sent| sent.get(this.next)) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        let frame = match Pin::new(&mut shared.source).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(e))) => return Poll::Ready(Some(Err(std::io::Error::other(e)))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        match frame.data_ref().cloned() {
            Some(data) if shared.bytes + data.len() <= REPLAY_BYTES => {
                shared.bytes += data.len();
                if let Some(sent) = &mut shared.sent {
                    sent.push(data);
                    this.next += 1;
                }
            }
            // Trailers end the body, and cannot be read a second time.
            _ => shared.sent = None,
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.lock();
        let all_read = shared.sent.as_ref().is_none_or(|sent| this_read(self.next, sent));
        all_read && shared.source.is_end_stream()
    }
}

fn this_read(next: usize, sent: &[Bytes]) -> bool {
    next >= sent.len()
}

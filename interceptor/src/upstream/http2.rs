//! HTTP/2 with prior knowledge to pods (gRPC and `protocol: h2c`): one multiplexed connection per
//! endpoint and worker.
//!
//! A request may be sent again when the pod says it did not process it: the connection was closed
//! before the request was written, the stream was refused, or a GOAWAY names an earlier stream as
//! the last one (RFC 9113 sections 6.8 and 8.7). The body sent so far is kept for that, up to a
//! bound, until the response head arrives.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{HeaderValue, Request, Response};

use super::{
    dial::{ConnectError, dial},
    pod::{Pod, PodError},
};
use crate::{
    error::ProxyError,
    limits::PodLimits,
    message::{
        body::{BodyError, BodySink, Decoder},
        field::{Class, Field, Fields, identify},
        head::{ResponseHead, Version},
        section::HeadLimits,
    },
    wire::{
        inbox::{Inbox, InboxError, Part, is_malformed},
        keepalive,
        outbox::{Outbox, SEND_BUFFER},
    },
};

/// Body bytes kept for sending a refused request again; a longer body is not sent again.
const REPLAY_BYTES: usize = 64 << 10;
/// What keeping a piece of it costs beside its bytes.
const PIECE: usize = 64;
/// A connection is asked this often whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// And has this long to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// What a pod may send ahead on one stream. One whose client does not read leaves most of the
/// connection's window to the others.
const WINDOW: u32 = 256 << 10;
/// What it may send ahead on all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Sends requests on one connection.
pub(crate) type Sender = SendRequest<Bytes>;

/// The connection of one worker to one endpoint, if there is one.
#[derive(Default)]
pub struct Slot(tokio::sync::Mutex<Option<Sender>>);

impl Slot {
    /// The multiplexed connection to `address`, opened if need be; `dials` is called before it is.
    pub(crate) async fn sender(
        &self,
        address: SocketAddr,
        limits: PodLimits,
        dials: impl FnOnce(),
    ) -> Result<Sender, ConnectError> {
        // Held while connecting, so that requests that come together share one connection.
        let mut slot = self.0.lock().await;
        if let Some(sender) = slot.as_mut()
            && std::future::poll_fn(|cx| sender.poll_ready(cx)).await.is_ok()
        {
            return Ok(sender.clone());
        }
        dials();
        let tcp = dial(address, limits).await?;
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(limits.header_list);
        let shaken = builder.handshake(tcp).await;
        let (sender, mut connection) =
            shaken.map_err(|e| ConnectError::Refused(std::io::Error::other(e)))?;
        let pings = connection.ping_pong();
        // It ends when the last sender is dropped, when the pod closes, or when it answers no more.
        tokio::spawn(async move {
            let lost = async {
                match pings {
                    Some(pings) => keepalive::lost(pings, PING_INTERVAL, PING_TIMEOUT).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "HTTP/2 connection to a pod ended");
                },
                () = lost => tracing::debug!("HTTP/2 connection to a pod is silent"),
            }
        });
        *slot = Some(sender.clone());
        Ok(sender)
    }
}

/// A request that can be sent, and sent again from the part of its body that was read so far.
#[derive(Clone)]
pub(crate) struct Outgoing {
    head: Arc<Request<()>>,
    body: Vec<Bytes>,
    /// The body is over; its trailers as lines.
    end: Option<Vec<u8>>,
}

impl Outgoing {
    /// A request of which only the head is known; `bare` = it has no body.
    pub(crate) fn new(head: Request<()>, bare: bool) -> Self {
        Self { head: Arc::new(head), body: Vec::new(), end: bare.then(Vec::new) }
    }

    /// What it occupies in memory, roughly.
    pub(crate) fn len(&self) -> usize {
        512 + self.body.iter().map(Bytes::len).sum::<usize>()
    }
}

impl Outgoing {
    /// The same with one more field in its head.
    pub(crate) fn with_field(&self, name: &'static str, value: HeaderValue) -> Self {
        let mut head = Request::clone(&self.head);
        head.headers_mut().insert(name, value);
        Self { head: Arc::new(head), body: self.body.clone(), end: self.end.clone() }
    }

    /// More of its body was read by an attempt that was not processed.
    pub(crate) fn read_on(&mut self, attempt: Self) {
        (self.body, self.end) = (attempt.body, attempt.end);
    }
}

/// One request on a multiplexed connection.
pub(crate) struct Stream {
    /// What is needed to send it again; `None` once the response began or too much was sent.
    kept: Option<Outgoing>,
    kept_bytes: usize,
    outbox: Outbox,
    send: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    inbox: Option<Inbox>,
    read: Option<Part>,
}

impl Stream {
    /// Sends the head of `outgoing`, and what is there of its body. `None` = the connection is over.
    pub(crate) fn start(mut sender: Sender, outgoing: &Outgoing) -> Option<Self> {
        let bare = outgoing.body.is_empty() && outgoing.end.as_ref().is_some_and(Vec::is_empty);
        let head = Request::clone(&outgoing.head);
        let (response, send) = sender.send_request(head, bare).ok()?;
        let mut outbox = Outbox::default();
        for data in &outgoing.body {
            outbox.push(data.clone());
        }
        match &outgoing.end {
            Some(_) if bare => outbox.ended(),
            Some(trailers) => outbox.end(trailers),
            None => {}
        }
        Some(Self {
            kept_bytes: outgoing.body.iter().map(|data| data.len() + PIECE).sum(),
            kept: Some(outgoing.clone()),
            outbox,
            send,
            response: Some(response),
            inbox: None,
            read: None,
        })
    }

    /// The request, if all that was sent of it could be kept.
    pub(crate) fn take_back(self) -> Option<Outgoing> {
        self.kept
    }

    fn answered(&mut self, response: Response<RecvStream>) -> (Response<()>, bool) {
        let (parts, body) = response.into_parts();
        let inbox = Inbox::new(body);
        let bare = inbox.is_done();
        (self.response, self.inbox, self.kept) = (None, Some(inbox), None);
        (Response::from_parts(parts, ()), bare)
    }
}

impl BodySink for Stream {
    fn data(&mut self, data: &[u8]) {
        self.bytes(Bytes::copy_from_slice(data));
    }

    fn bytes(&mut self, data: Bytes) {
        self.kept_bytes += data.len() + PIECE;
        if self.kept_bytes > REPLAY_BYTES {
            self.kept = None;
        }
        if let Some(kept) = &mut self.kept {
            kept.body.push(data.clone());
        }
        self.outbox.push(data);
    }

    fn end(&mut self, trailers: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.end = Some(trailers.to_vec());
        }
        self.outbox.end(trailers);
    }
}

impl Pod for Stream {
    fn unsent(&self) -> usize {
        self.outbox.len()
    }

    fn kept(&mut self) -> usize {
        self.outbox.kept() + self.inbox.as_mut().map_or(0, Inbox::unread)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PodError>> {
        let flushed = self.outbox.poll_flush(cx, &mut self.send, usize::MAX, false);
        // Why it takes no more, the response says.
        flushed.map_err(|_| PodError::Failed(ProxyError::UpstreamClosed))
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        _: HeadLimits,
        _: bool,
        _: usize,
        mut take: impl FnMut(&ResponseHead<'_>) -> Result<(), ProxyError>,
    ) -> Poll<Result<u16, PodError>> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(PodError::Failed(ProxyError::UpstreamClosed)));
        };
        let (head, bare) = match response.poll_informational(cx) {
            Poll::Ready(Some(Ok(interim))) => (interim, true),
            _ => match ready!(Pin::new(response).poll(cx)) {
                Ok(response) => self.answered(response),
                Err(error) => {
                    tracing::debug!(%error, "HTTP/2 request failed");
                    return Poll::Ready(Err(failed(&error)));
                }
            },
        };
        let taken = view(&head, bare).and_then(|view| take(&view));
        Poll::Ready(taken.map(|()| head.status().as_u16()).map_err(PodError::Failed))
    }

    fn transfer(&mut self, sink: &mut impl BodySink) -> Result<bool, ProxyError> {
        match self.read.take() {
            Some(Part::Data(data)) if !data.is_empty() => sink.bytes(data),
            Some(Part::End(trailers)) => sink.end(&trailers),
            _ => {}
        }
        Ok(self.inbox.as_ref().is_none_or(Inbox::is_done))
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, _: usize) -> Poll<Result<(), ProxyError>> {
        let Some(inbox) = &mut self.inbox else { return Poll::Ready(Ok(())) };
        match ready!(inbox.poll_part(cx)) {
            Ok(part) => {
                self.read = Some(part);
                Poll::Ready(Ok(()))
            }
            Err(InboxError::Broken) => Poll::Ready(Err(ProxyError::UpstreamClosed)),
            Err(InboxError::Malformed) => Poll::Ready(Err(MALFORMED)),
            Err(InboxError::Trailers) => {
                Poll::Ready(Err(ProxyError::BadResponse(BodyError::Trailers.rule())))
            }
        }
    }

    fn is_reusable(&self) -> bool {
        false
    }
}

/// h2 found it, and does not say more.
const MALFORMED: ProxyError = ProxyError::BadResponse("malformed HTTP/2");

/// A pod's GOAWAY comes only to streams behind the last one it processed.
fn failed(error: &h2::Error) -> PodError {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (refused || error.is_go_away()) {
        PodError::NotSent
    } else if is_malformed(error) {
        PodError::Failed(MALFORMED)
    } else {
        PodError::Failed(ProxyError::UpstreamClosed)
    }
}

/// The head as the stages know it.
fn view(head: &Response<()>, bare: bool) -> Result<ResponseHead<'_>, ProxyError> {
    let mut fields = Fields::new();
    let mut body = Decoder::Close;
    for (name, value) in head.headers() {
        let (name, value) = (name.as_str(), value.as_bytes());
        let class =
            identify(name).map_err(|imitation| ProxyError::BadResponse(imitation.rule()))?;
        // h2 has checked it, and sees to it that the body is as long.
        if class == Class::ContentLength
            && let Some(n) = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok())
        {
            body = Decoder::length(n);
        }
        fields.push(Field { name, value, class });
    }
    Ok(ResponseHead {
        status: head.status().as_u16(),
        reason: head.status().canonical_reason().unwrap_or_default(),
        version: Version::Http2,
        fields,
        body: if bare { Decoder::Done } else { body },
        keep_alive: true,
        keep_alive_timeout: None,
    })
}

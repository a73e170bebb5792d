//! One HTTP/2 stream on an HTTP/1.1 connection to a pod: both directions, with backpressure.
//!
//! The bridge is the response's body. While it is polled it moves the request's body along too;
//! when it is dropped early, the connection to the pod closes with it.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;

use crate::{
    error::ProxyError,
    function::Lease,
    http1::{
        body::{BodySink, Decoder, Encoder, Framing},
        exchange::{HIGH_WATER, MAX_INTERIM},
        field::{Class, Field, Fields, classify},
        head::{ResponseHead, parse_fields, parse_response},
        timer::Deadline,
    },
    upstream,
    worker::Worker,
};

/// See the module's text.
pub(super) struct Bridge {
    up: Option<upstream::Connection>,
    pub(super) lease: Lease,
    worker: Arc<Worker>,
    request: Option<Incoming>,
    framing: Framing,
    /// Since when the pod takes no byte of the request.
    stalled: Option<Instant>,
    response: Decoder,
    frames: Frames,
}

/// Decoded parts of the response, in order.
#[derive(Default)]
struct Frames {
    ready: VecDeque<Frame<Bytes>>,
}

impl BodySink for Frames {
    fn data(&mut self, data: &[u8]) {
        self.ready.push_back(Frame::data(Bytes::copy_from_slice(data)));
    }

    fn end(&mut self, trailers: &[u8]) {
        if trailers.is_empty() {
            return;
        }
        let section = [trailers, b"\r\n"].concat();
        let mut fields = Fields::new();
        let mut map = HeaderMap::new();
        if parse_fields(&section, &mut fields).is_ok() {
            for field in &fields {
                append(&mut map, field.name.as_bytes(), field.value);
            }
        }
        self.ready.push_back(Frame::trailers(map));
    }
}

/// Adds a field to a header map; what the map cannot hold was refused by the head's grammar.
pub(super) fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    let name = http::HeaderName::from_bytes(name);
    let value = http::HeaderValue::from_bytes(value);
    if let (Ok(name), Ok(value)) = (name, value) {
        map.append(name, value);
    }
}

/// How getting the response head failed.
pub(super) enum HeadFailure {
    /// No byte of the request was written, and none of its body was read: try elsewhere.
    NotSent(Option<Incoming>, Vec<u8>),
    Error(ProxyError),
}

impl Bridge {
    /// Sends the head and `request` on `up`.
    pub(super) fn new(
        mut up: upstream::Connection,
        lease: Lease,
        worker: Arc<Worker>,
        head: Vec<u8>,
        request: Option<Incoming>,
        framing: Framing,
    ) -> Self {
        up.out.tail().extend_from_slice(&head);
        let (response, frames) = (Decoder::Done, Frames::default());
        let (up, stalled) = (Some(up), None);
        Self { up, lease, worker, request, framing, stalled, response, frames }
    }

    /// Until the final response head; `take` renders it.
    pub(super) async fn head<T>(
        &mut self,
        head_bytes: usize,
        timeout: Duration,
        mut take: impl FnMut(&ResponseHead<'_>) -> T,
        to_head: bool,
    ) -> Result<T, HeadFailure> {
        let mut deadline = Deadline::new(Instant::now() + timeout);
        let mut sent = None;
        let mut interim = 0;
        std::future::poll_fn(|cx| {
            if let Err(e) = self.poll_request(cx) {
                return Poll::Ready(Err(self.not_sent(e)));
            }
            loop {
                match self.take_head(head_bytes, to_head, &mut interim, &mut take) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(e) => return Poll::Ready(Err(HeadFailure::Error(e))),
                }
                let Some(up) = &mut self.up else { return Poll::Ready(Err(closed())) };
                match up.io.poll_read_more(cx, &mut up.input, head_bytes) {
                    Poll::Ready(Ok(n)) if n > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(Err(closed())),
                    Poll::Pending => break,
                }
            }
            if self.request.is_none() {
                sent.get_or_insert_with(Instant::now);
            }
            // The clock runs from the last byte of the request that the pod took.
            if let Some(since) = self.stalled.or(sent)
                && deadline.poll(cx, since + timeout).is_ready()
            {
                return Poll::Ready(Err(HeadFailure::Error(ProxyError::ResponseTimeout)));
            }
            Poll::Pending
        })
        .await
    }

    fn not_sent(&mut self, error: io::Error) -> HeadFailure {
        match self.up.take() {
            Some(mut up) if !up.written && self.request.is_some() => {
                HeadFailure::NotSent(self.request.take(), up.out.take())
            }
            Some(mut up) if !up.written && self.framing == Framing::None => {
                HeadFailure::NotSent(None, up.out.take())
            }
            _ if error.kind() == io::ErrorKind::ConnectionAborted => {
                HeadFailure::Error(ProxyError::ClientGone)
            }
            _ => closed(),
        }
    }

    fn take_head<T>(
        &mut self,
        head_bytes: usize,
        to_head: bool,
        interim: &mut u32,
        take: &mut impl FnMut(&ResponseHead<'_>) -> T,
    ) -> Result<Option<T>, ProxyError> {
        let Some(up) = &mut self.up else { return Err(ProxyError::UpstreamClosed) };
        loop {
            if up.input.is_empty() {
                return Ok(None);
            }
            let parsed = parse_response(up.input.as_slice(), head_bytes, to_head);
            let bad = |_| ProxyError::BadResponse("invalid head");
            let Some((head, length)) = parsed.map_err(bad)? else { return Ok(None) };
            let status = head.status;
            let rendered = (status >= 200).then(|| take(&head));
            let (body, reusable, timeout) = head.into_framing();
            up.input.consume(length);
            let Some(rendered) = rendered else {
                *interim += 1;
                if status == 101 || *interim > MAX_INTERIM {
                    return Err(ProxyError::BadResponse("unexpected interim response"));
                }
                continue;
            };
            self.response = body;
            up.keep_alive_timeout(timeout);
            if !reusable {
                up.idle_time = Duration::ZERO;
            }
            up.answered();
            self.lease.answered();
            return Ok(Some(rendered));
        }
    }

    /// Moves the request's body along. An error means that the pod, or the client, is gone.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(up) = &mut self.up else { return Ok(()) };
        loop {
            let before = up.out.len();
            match up.poll_flush(cx) {
                Poll::Pending => {
                    if up.out.len() < before {
                        self.stalled = None;
                    }
                    self.stalled.get_or_insert_with(Instant::now);
                    return Ok(());
                }
                Poll::Ready(Ok(())) => self.stalled = None,
                // The pod may have answered before it closed its side.
                Poll::Ready(Err(_)) if up.written => {
                    up.idle_time = Duration::ZERO;
                    up.out = Default::default();
                    self.request = None;
                    return Ok(());
                }
                Poll::Ready(Err(e)) => return Err(e),
            }
            let Some(body) = &mut self.request else { return Ok(()) };
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(frame) => frame.transpose(),
            };
            let aborted = |e| io::Error::new(io::ErrorKind::ConnectionAborted, e);
            let mut encoder = Encoder { framing: self.framing, out: up.out.tail() };
            match frame.map_err(aborted)? {
                Some(frame) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => encoder.data(&data),
                    Err(frame) => {
                        encoder.end(&trailer_section(frame.into_trailers().unwrap_or_default()));
                        self.request = None;
                    }
                },
                None => {
                    encoder.end(&[]);
                    self.request = None;
                }
            }
        }
    }

    pub(super) fn is_end(&self) -> bool {
        self.response.is_done() && self.frames.ready.is_empty()
    }

    /// The next part of the response's body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Err(e) = self.poll_request(cx) {
            return Poll::Ready(Some(Err(e)));
        }
        loop {
            if let Some(frame) = self.frames.ready.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.response.is_done() {
                self.finish();
                return Poll::Ready(None);
            }
            let Some(up) = &mut self.up else {
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            };
            let used = self.response.decode(up.input.as_slice(), &mut self.frames);
            up.input.consume(used.map_err(io::Error::other)?);
            if !self.frames.ready.is_empty() || self.response.is_done() {
                continue;
            }
            match up.io.poll_read_more(cx, &mut up.input, HIGH_WATER) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    if !self.response.close(&mut self.frames) {
                        self.up = None;
                    }
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => return Poll::Ready(Some(Err(e))),
            }
        }
    }

    /// Gives a clean connection back.
    fn finish(&mut self) {
        if let Some(up) = self.up.take()
            && self.request.is_none()
            && up.out.is_empty()
            && up.idle_time > Duration::ZERO
        {
            self.worker.pool.put(&self.lease.endpoint, up);
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // hyper does not poll past the end of a body whose end it knows.
        if self.is_end() {
            self.finish();
        }
    }
}

fn closed() -> HeadFailure {
    HeadFailure::Error(ProxyError::UpstreamClosed)
}

/// Trailers as lines, without those that must not be trailers.
fn trailer_section(trailers: HeaderMap) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in &trailers {
        let (name, value) = (name.as_str(), value.as_bytes());
        let class = classify(name);
        if class == Class::EndToEnd {
            Field { name, value, class }.write(&mut out);
        }
    }
    out
}

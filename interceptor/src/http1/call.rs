//! One request on a connection: how its body is read, and how its answer is framed.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use kipper_process::drain::{DrainPhase, DrainWatch};

use super::tunnel;
use crate::{
    error::ProxyError,
    headers::{Additions, ConnectionOption, write_response},
    message::{
        body::{BodySink, Decoder, Encoder, Framing},
        head::{RequestHead, ResponseHead, Version},
    },
    observe::record::Moved,
    queue::Place,
    request::client::{Client, OwnAnswer},
    upstream::http1::Connection as PodConnection,
    wire::{budget::Budget, buffer::Buffer, io::Io, timer::Deadline},
    worker::Worker,
};

/// Body bytes of a held request that are read ahead; beyond it the client is slowed down.
const READ_AHEAD: usize = 64 << 10;
/// Pieces in which read-ahead is accounted, so that the byte bound is overshot by one at most.
const READ_AHEAD_STEP: usize = 4 << 10;

/// A client's byte stream, with what is buffered on it and its timer.
pub(super) struct Stream {
    pub(super) io: Io,
    pub(super) input: Buffer,
    pub(super) out: Buffer,
    pub(super) deadline: Deadline,
}

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Another request may come.
    Keep,
    /// It closes once the client has read its answer.
    Close,
    /// It closes, and the client has sent all it was going to send.
    Done,
    /// Nothing more can be said on it.
    Gone,
}

/// What its head says about the connection.
pub(super) struct Asked {
    version: Version,
    to_head: bool,
    upgrade: bool,
    keep_alive: bool,
    body: Decoder,
}

impl Asked {
    pub(super) fn of(head: RequestHead<'_>) -> Self {
        Self {
            version: head.version,
            to_head: head.is_head(),
            upgrade: head.upgrade.is_some(),
            keep_alive: head.keep_alive,
            body: head.body,
        }
    }
}

/// A request being served.
pub(super) struct Call<'a> {
    stream: &'a mut Stream,
    drain: &'a DrainWatch,
    asked: &'a mut Asked,
    /// How the response's body is framed.
    framing: Framing,
    verdict: Verdict,
}

impl<'a> Call<'a> {
    pub(super) fn new(stream: &'a mut Stream, drain: &'a DrainWatch, asked: &'a mut Asked) -> Self {
        Self { stream, drain, asked, framing: Framing::None, verdict: Verdict::Keep }
    }

    /// What becomes of the connection, once the request is over.
    pub(super) fn verdict(&self) -> Verdict {
        let last = !self.asked.keep_alive && !self.asked.upgrade;
        match self.verdict {
            Verdict::Keep if !self.body_done() => Verdict::Close,
            Verdict::Close if self.body_done() && last => Verdict::Done,
            verdict => verdict,
        }
    }

    /// Ready once as much as allowed was read ahead, or the client left.
    fn poll_read_ahead(
        &mut self,
        place: &mut Place,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ProxyError>> {
        let Stream { io, input, .. } = &mut *self.stream;
        while input.len() < READ_AHEAD {
            let limit = READ_AHEAD.min(input.len() + READ_AHEAD_STEP);
            match io.poll_read_more(cx, input, limit) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(ProxyError::ClientGone)),
                Poll::Ready(Ok(_)) if self.asked.upgrade => return Poll::Ready(Err(too_soon())),
                Poll::Ready(Ok(n)) => {
                    if !place.grow(n) {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// How the response is delimited towards the client, and what its connection does next.
    fn frame(&self, head: &ResponseHead<'_>) -> (Framing, ConnectionOption) {
        if head.status == 101 {
            return (Framing::None, ConnectionOption::Upgrade);
        }
        if head.status < 200 {
            return (Framing::None, ConnectionOption::Keep);
        }
        let http10 = self.asked.version == Version::Http10;
        let framing = match &head.body {
            Decoder::Length(n) => Framing::Length(*n),
            Decoder::Done if self.asked.to_head || matches!(head.status, 204 | 304) => {
                Framing::None
            }
            Decoder::Done => Framing::Length(0),
            Decoder::Chunked(_) | Decoder::Close if http10 => Framing::Close,
            Decoder::Chunked(_) | Decoder::Close => Framing::Chunked,
        };
        // Told while the port is still open: a connection that is closed under a client that just
        // sends on it costs that request.
        let running = self.drain.phase() == DrainPhase::Running;
        let keep = self.asked.keep_alive && running && self.body_done();
        let option = match (keep && framing != Framing::Close, http10) {
            (false, _) => ConnectionOption::Close,
            (true, true) => ConnectionOption::KeepHttp10,
            (true, false) => ConnectionOption::Keep,
        };
        (framing, option)
    }
}

/// A client that wants to change the protocol has to wait for the answer.
fn too_soon() -> ProxyError {
    ProxyError::BadRequest("bytes after an upgrade request")
}

impl BodySink for Call<'_> {
    fn data(&mut self, data: &[u8]) {
        Encoder { framing: self.framing, out: self.stream.out.tail() }.data(data);
    }

    fn end(&mut self, trailers: &[u8]) {
        Encoder { framing: self.framing, out: self.stream.out.tail() }.end(trailers);
    }
}

impl Client for Call<'_> {
    fn body_done(&self) -> bool {
        self.asked.body.is_done()
    }

    fn take_body(&mut self, sink: &mut impl BodySink) -> Result<usize, ProxyError> {
        let decoded = self.asked.body.decode(self.stream.input.as_slice(), sink);
        let used = decoded.map_err(|error| ProxyError::BadRequest(error.rule()))?;
        self.stream.input.consume(used);
        Ok(used)
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl BodySink,
        most: usize,
    ) -> Poll<Result<usize, ProxyError>> {
        if self.take_body(sink)? > 0 {
            return Poll::Ready(Ok(0));
        }
        let Stream { io, input, .. } = &mut *self.stream;
        match io.poll_read_more(cx, input, most) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(ProxyError::ClientGone)),
            Poll::Ready(Ok(n)) => Poll::Ready(Ok(n)),
        }
    }

    /// Reads ahead, which is how a client that leaves is noticed.
    fn poll_gone(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<ProxyError> {
        let Stream { io, input, .. } = &mut *self.stream;
        while input.len() < most {
            match io.poll_read_more(cx, input, most) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(ProxyError::ClientGone),
                Poll::Ready(Ok(_)) if self.asked.upgrade => return Poll::Ready(too_soon()),
                Poll::Ready(Ok(_)) => {}
            }
        }
        Poll::Pending
    }

    fn has_left(&mut self, _: &mut Context<'_>) -> bool {
        self.stream.io.is_closed()
    }

    async fn gone(&mut self, place: &mut Place) -> ProxyError {
        self.stream.input.shrink();
        if let Err(error) = poll_fn(|cx| self.poll_read_ahead(place, cx)).await {
            return error;
        }
        // Enough was read ahead. The rest stays in the kernel, where it must not hide a hang-up.
        self.stream.io.closed().await;
        ProxyError::ClientGone
    }

    fn check(&self) -> Result<(), ProxyError> {
        if self.asked.upgrade && !self.stream.input.is_empty() { Err(too_soon()) } else { Ok(()) }
    }

    fn buffered(&self) -> usize {
        self.stream.input.len()
    }

    fn respond(&mut self, head: &ResponseHead<'_>, add: &Additions<'_>) -> Result<(), ProxyError> {
        let (framing, option) = self.frame(head);
        if option == ConnectionOption::Close {
            self.verdict = Verdict::Close;
        }
        // An HTTP/1.0 client does not know interim responses (RFC 9110 section 15.2).
        if head.status >= 200 || self.asked.version > Version::Http10 {
            write_response(self.stream.out.tail(), head, add, framing, option);
        }
        self.framing = framing;
        Ok(())
    }

    fn unsent(&self) -> usize {
        self.stream.out.len()
    }

    fn kept(&self) -> usize {
        let Stream { io, input, out, .. } = &*self.stream;
        input.allocated() + out.allocated() + if out.is_empty() { 0 } else { io.unsent() }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, piece: usize) -> Poll<io::Result<()>> {
        self.stream.io.poll_flush_buffer(cx, &mut self.stream.out, piece)
    }

    fn follow_reader(&mut self) {
        self.stream.io.follow_reader();
    }

    fn deadline(&mut self) -> &mut Deadline {
        &mut self.stream.deadline
    }

    async fn answer(&mut self, worker: &Worker, answer: &OwnAnswer<'_>) {
        let close = !self.body_done() || !self.asked.keep_alive || self.asked.upgrade;
        if close {
            self.verdict = Verdict::Close;
        }
        self.stream.answer(worker, answer, close).await;
    }

    fn cut(&mut self, _: ProxyError) {
        self.stream.io.reset_on_close();
        self.verdict = Verdict::Gone;
    }

    async fn tunnel(
        &mut self,
        pod: PodConnection,
        idle: Duration,
        budget: &Budget,
        moved: &mut Moved,
    ) -> io::Result<()> {
        self.verdict = Verdict::Close;
        let Stream { io, input, deadline, .. } = &mut *self.stream;
        let input = std::mem::take(input);
        Box::pin(tunnel::run(io, input, deadline, pod, idle, budget, moved)).await
    }
}

impl Stream {
    /// Has the client sent more than the request it called its last? Closing at once would answer
    /// that with a reset. TLS has to be ended in its own way, too.
    pub(super) fn has_more(&self) -> bool {
        let Io::Plain(tcp) = &self.io else { return true };
        !self.input.is_empty() || matches!(tcp.try_read(&mut [0]), Ok(n) if n > 0)
    }

    /// Writes an answer of this proxy's own.
    pub(super) async fn answer(&mut self, worker: &Worker, answer: &OwnAnswer<'_>, close: bool) {
        write_error(self.out.tail(), answer, close);
        let until = Instant::now() + worker.context.limits.grace;
        poll_fn(|cx| match self.io.poll_flush_buffer(cx, &mut self.out, usize::MAX) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.deadline.poll(cx, until),
        })
        .await;
    }
}

/// Appends a whole error response.
fn write_error(out: &mut Vec<u8>, answer: &OwnAnswer<'_>, close: bool) {
    use std::io::Write as _;
    let status = answer.error.status();
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    let id = std::str::from_utf8(answer.id).unwrap_or_default();
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nx-request-id: {id}\r\n",
        reason.unwrap_or_default(),
        answer.length(),
    );
    if let Some(seconds) = answer.retry_after {
        let _ = write!(out, "retry-after: {seconds}\r\n");
    }
    if close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(answer.body().as_bytes());
}

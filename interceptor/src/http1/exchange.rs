//! Forward: one request and its response between a client's connection and a pod's.
//!
//! Both directions run in one task, each with at most [`HIGH_WATER`] bytes read and not written,
//! so a slow side slows the other one down. Nothing is sent again from here; the caller may do so
//! only when [`Failure::NotSent`] says that no byte of the request reached the pod.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use kipper_process::drain::{DrainPhase, DrainWatch};

use super::{
    body::{Decoder, Encoder, Framing},
    buffer::Buffer,
    head::{ResponseHead, Version, parse_response},
    io::Io,
    timer::{Deadline, Limits, Pace},
};
use crate::{
    error::ProxyError,
    headers::{Additions, ConnectionOption, write_response},
    upstream,
};

/// Bytes read from one side and not yet written to the other.
pub(crate) const HIGH_WATER: usize = 64 << 10;
/// Interim (1xx) responses relayed for one request; a pod that sends more is broken.
pub(crate) const MAX_INTERIM: u32 = 16;
/// A client that is slow to read is written to in pieces of this size, so that what it has taken
/// shows.
const PACED_PIECE: usize = 8 << 10;
/// How often a client is looked at whose body the pod does not take.
const STALL_LOOK: Duration = Duration::from_secs(1);

/// The client's side of an exchange.
pub(crate) struct Downstream<'a> {
    pub(crate) io: &'a mut Io,
    pub(crate) input: &'a mut Buffer,
    pub(crate) out: &'a mut Buffer,
    pub(crate) deadline: &'a mut Deadline,
    pub(crate) limits: &'a Limits,
    pub(crate) drain: &'a DrainWatch,
}

/// What is fixed about the request.
pub(crate) struct Terms {
    pub(crate) version: Version,
    pub(crate) to_head: bool,
    /// The client asked for an upgrade.
    pub(crate) upgrade: bool,
    /// The client wants, and this proxy allows, another request on the connection.
    pub(crate) keep_alive: bool,
    pub(crate) response_header: Duration,
    /// The request has to be over by then.
    pub(crate) until: Option<Instant>,
}

/// How an exchange failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No byte reached the pod: may be tried elsewhere.
    NotSent(io::Error),
    /// No response head was sent to the client yet: answer with this.
    Answer(ProxyError),
    /// The response is cut: nothing but closing the connection tells the client.
    Cut(ProxyError),
}

/// How an exchange ended well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    pub(crate) status: u16,
    /// The client's connection may take another request.
    pub(crate) keep_downstream: bool,
    /// The pod's connection may take another request.
    pub(crate) keep_upstream: bool,
    /// It is a tunnel now.
    pub(crate) upgraded: bool,
}

/// What a timer of an exchange is for.
enum Clock {
    /// The client owes body bytes.
    Reading,
    /// The client owes reading.
    Writing,
    /// The pod owes a response head.
    Response,
    /// The function limits the whole request.
    Request,
    /// Is the client of a stalled upload still there?
    Look,
}

/// One exchange in progress.
pub(crate) struct Exchange<'a> {
    pub(crate) down: Downstream<'a>,
    pub(crate) up: &'a mut upstream::Connection,
    pub(crate) terms: &'a Terms,
    /// Decodes the request's body.
    pub(crate) request: &'a mut Decoder,
    /// How the request's body is sent on.
    pub(crate) request_framing: Framing,
    progress: Progress,
}

/// Clocks and counters of an exchange.
#[derive(Default)]
struct Progress {
    /// The client owes body bytes.
    reading: Pace,
    /// The client does not take what is there for it.
    writing: Pace,
    /// Since when the pod takes no byte of the request.
    stalled: Option<Instant>,
    /// When the last byte of the request was written.
    sent: Option<Instant>,
    interim: u32,
    /// The client was told, or has to assume, that its connection closes.
    close: bool,
    response: Option<(Decoder, Framing)>,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(
        down: Downstream<'a>,
        up: &'a mut upstream::Connection,
        terms: &'a Terms,
        request: &'a mut Decoder,
        request_framing: Framing,
    ) -> Self {
        Self { down, up, terms, request, request_framing, progress: Progress::default() }
    }

    /// Sends the head in `up.out` and the body, and relays the response. `on_head` is called once
    /// with the final response head and says what to add to it.
    pub(crate) async fn run<'t>(
        mut self,
        mut on_head: impl FnMut(u16) -> Additions<'t>,
    ) -> Result<Finished, Failure> {
        let (status, upgraded) = loop {
            let (status, upgraded) = poll_fn(|cx| self.poll_head(cx, &mut on_head)).await?;
            if upgraded || status >= 200 {
                break (status, upgraded);
            }
            // An interim response goes out before the pod's next head is read.
            poll_fn(|cx| self.poll_down_flush(cx)).await?;
        };
        if upgraded {
            poll_fn(|cx| self.poll_down_flush(cx)).await?;
            return Ok(Finished { status, keep_downstream: false, keep_upstream: false, upgraded });
        }
        poll_fn(|cx| self.poll_response(cx)).await?;
        let all_sent = self.request.is_done() && self.up.out.is_empty();
        let keep_upstream = all_sent && self.up.idle_time > Duration::ZERO;
        let keep_downstream = self.request.is_done() && !self.progress.close;
        Ok(Finished { status, keep_downstream, keep_upstream, upgraded })
    }

    /// Until a response head was read; it is in `down.out` then.
    fn poll_head<'t>(
        &mut self,
        cx: &mut Context<'_>,
        on_head: &mut impl FnMut(u16) -> Additions<'t>,
    ) -> Poll<Result<(u16, bool), Failure>> {
        let sending = self.poll_request(cx)?;
        loop {
            if let Some(head) = self.take_head(on_head)? {
                return Poll::Ready(Ok(head));
            }
            match self.up.io.poll_read_more(cx, &mut self.up.input, self.down.limits.head_bytes) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(
                        self.upstream_gone(io::ErrorKind::UnexpectedEof.into())
                    ));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => return Poll::Ready(Err(self.upstream_gone(e))),
                Poll::Pending => break,
            }
        }
        if sending.is_ready() {
            self.watch_client(cx)?;
        }
        self.poll_deadline(cx)
    }

    /// The request direction: body bytes from the client to the pod.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Failure> {
        loop {
            let before = self.up.out.len();
            match self.up.poll_flush(cx) {
                Poll::Pending => {
                    // It is the pod that is slow now; the client's clock starts afresh after it.
                    self.progress.reading.stop();
                    if self.up.out.len() < before {
                        self.progress.stalled = None;
                    }
                    self.progress.stalled.get_or_insert_with(Instant::now);
                    return Ok(Poll::Pending);
                }
                Poll::Ready(Err(e)) => return self.write_failed(e),
                Poll::Ready(Ok(())) => self.progress.stalled = None,
            }
            if self.request.is_done() {
                self.progress.sent.get_or_insert_with(Instant::now);
                return Ok(Poll::Ready(()));
            }
            let mut sink = Encoder { framing: self.request_framing, out: self.up.out.tail() };
            let Ok(used) = self.request.decode(self.down.input.as_slice(), &mut sink) else {
                return Err(self.fail(ProxyError::BadRequest("invalid chunked body")));
            };
            self.down.input.consume(used);
            if used > 0 {
                continue;
            }
            match self.down.io.poll_read_more(cx, self.down.input, HIGH_WATER) {
                Poll::Pending => {
                    self.progress.reading.wait();
                    return Ok(Poll::Pending);
                }
                Poll::Ready(Ok(0) | Err(_)) => return Err(self.fail(ProxyError::ClientGone)),
                Poll::Ready(Ok(n)) => self.progress.reading.moved(n),
            }
        }
    }

    /// The pod does not take the request. It may have answered before it closed.
    fn write_failed(&mut self, e: io::Error) -> Result<Poll<()>, Failure> {
        if !self.up.written {
            return Err(Failure::NotSent(e));
        }
        *self.request = Decoder::Done;
        self.up.out = Buffer::default();
        self.up.idle_time = Duration::ZERO;
        Ok(Poll::Ready(()))
    }

    fn upstream_gone(&self, e: io::Error) -> Failure {
        if self.up.written { self.fail(ProxyError::UpstreamClosed) } else { Failure::NotSent(e) }
    }

    /// Reads ahead while waiting, which is how a client that leaves is noticed.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        while self.down.input.len() < HIGH_WATER {
            match self.down.io.poll_read_more(cx, self.down.input, HIGH_WATER) {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return Err(self.fail(ProxyError::ClientGone)),
                // Bytes after an upgrade request, before the pod agreed to change the protocol.
                Poll::Ready(Ok(_)) if self.terms.upgrade => {
                    return Err(self.fail(ProxyError::BadRequest("bytes after an upgrade request")));
                }
                Poll::Ready(Ok(_)) => {}
            }
        }
        Ok(())
    }

    /// Parses a response head and writes the client's; `None` = it is not complete yet.
    fn take_head<'t>(
        &mut self,
        on_head: &mut impl FnMut(u16) -> Additions<'t>,
    ) -> Result<Option<(u16, bool)>, Failure> {
        if self.up.input.is_empty() {
            return Ok(None);
        }
        let limit = self.down.limits.head_bytes;
        let parsed = parse_response(self.up.input.as_slice(), limit, self.terms.to_head);
        let bad = |_| self.fail(ProxyError::BadResponse("invalid head"));
        let Some((head, length)) = parsed.map_err(bad)? else { return Ok(None) };
        let status = head.status;
        if status == 101 {
            if !self.terms.upgrade || !self.request.is_done() {
                return Err(self.fail(ProxyError::BadResponse("unexpected 101")));
            }
        } else if status < 200 {
            self.progress.interim += 1;
            if self.progress.interim > MAX_INTERIM {
                return Err(self.fail(ProxyError::BadResponse("too many interim responses")));
            }
        }
        let add = on_head(status);
        // Told while the port is still open: a connection that is closed under a client that just
        // sends on it costs that request.
        let going_on = self.terms.keep_alive && self.down.drain.phase() == DrainPhase::Running;
        let keep = going_on && (self.request.is_done() || status < 200);
        let (framing, option) = frame(&head, self.terms, keep);
        self.progress.close |= option == ConnectionOption::Close;
        // An HTTP/1.0 client does not know interim responses (RFC 9110 section 15.2).
        if status >= 200 || self.terms.version > Version::Http10 {
            write_response(self.down.out.tail(), &head, &add, framing, option);
        }
        let (body, reusable, timeout) = head.into_framing();
        if !reusable || status == 101 {
            self.up.idle_time = Duration::ZERO;
        } else if status >= 200 {
            self.up.keep_alive_timeout(timeout);
        }
        self.up.input.consume(length);
        self.up.answered();
        if status >= 200 {
            self.progress.response = Some((body, framing));
        }
        Ok(Some((status, status == 101)))
    }

    /// Until the response is written to the client; the request goes on beside it.
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let sending = self.poll_request(cx)?;
        loop {
            let done = self.decode_response()?;
            let full = self.down.out.len() >= HIGH_WATER;
            if done || full || !self.down.out.is_empty() {
                match self.flush(cx) {
                    Poll::Ready(Ok(())) if done => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                    Poll::Pending if done || full => return self.poll_deadline(cx),
                    Poll::Pending => {}
                }
            }
            match self.up.io.poll_read_more(cx, &mut self.up.input, HIGH_WATER) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.upstream_end()?,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => {
                    return Poll::Ready(Err(self.fail(ProxyError::UpstreamClosed)));
                }
            }
        }
        if sending.is_ready() {
            self.watch_client(cx)?;
        }
        self.poll_deadline(cx)
    }

    /// Moves what was read from the pod to the client's buffer. True at the end of the response.
    fn decode_response(&mut self) -> Result<bool, Failure> {
        let Some((decoder, framing)) = &mut self.progress.response else { return Ok(true) };
        let mut sink = Encoder { framing: *framing, out: self.down.out.tail() };
        match decoder.decode(self.up.input.as_slice(), &mut sink) {
            Ok(used) => self.up.input.consume(used),
            Err(_) => return Err(self.fail(ProxyError::BadResponse("invalid chunked body"))),
        }
        Ok(self.progress.response.as_ref().is_none_or(|(d, _)| d.is_done()))
    }

    /// The pod closed: the end of the body where nothing else ends it.
    fn upstream_end(&mut self) -> Result<(), Failure> {
        let Some((decoder, framing)) = &mut self.progress.response else { return Ok(()) };
        let mut sink = Encoder { framing: *framing, out: self.down.out.tail() };
        if decoder.close(&mut sink) { Ok(()) } else { Err(self.fail(ProxyError::UpstreamClosed)) }
    }

    fn poll_down_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match self.flush(cx) {
            Poll::Pending => self.poll_deadline(cx),
            ready => ready,
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let waiting = self.progress.writing.due(self.down.limits).is_some();
        let piece = if waiting { PACED_PIECE } else { usize::MAX };
        let before = self.down.out.len();
        let flushed = self.down.io.poll_flush_buffer(cx, self.down.out, piece);
        self.progress.writing.moved(before - self.down.out.len());
        match flushed {
            Poll::Ready(Ok(())) => {
                self.progress.writing.stop();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Failure::Cut(ProxyError::ClientGone))),
            Poll::Pending => {
                if !waiting {
                    self.down.io.follow_reader();
                    self.progress.writing.wait();
                }
                Poll::Pending
            }
        }
    }

    /// Pending, unless a clock of this exchange has run out.
    fn poll_deadline<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Failure>> {
        // While the pod takes no more of the body, the client's unread bytes hide its hang-up.
        let stalled = self.progress.stalled.is_some() && !self.request.is_done();
        if stalled && self.down.io.is_closed() {
            return Poll::Ready(Err(self.fail(ProxyError::ClientGone)));
        }
        loop {
            let (at, clock) = self.next_clock(stalled);
            if self.down.deadline.poll(cx, at).is_pending() {
                return Poll::Pending;
            }
            let limits = self.down.limits;
            let error = match clock {
                Clock::Look if self.down.io.is_closed() => ProxyError::ClientGone,
                Clock::Reading if self.progress.reading.too_slow(limits) => {
                    ProxyError::RequestTimeout
                }
                Clock::Writing if self.progress.writing.too_slow(limits) => ProxyError::SlowReader,
                Clock::Look | Clock::Reading | Clock::Writing => continue,
                Clock::Response => ProxyError::ResponseTimeout,
                Clock::Request => ProxyError::RequestDeadline,
            };
            return Poll::Ready(Err(self.fail(error)));
        }
    }

    /// The clock that runs out first.
    fn next_clock(&self, stalled: bool) -> (Instant, Clock) {
        let (limits, p) = (self.down.limits, &self.progress);
        let mut next: Option<(Instant, Clock)> = None;
        let mut sooner = |at: Option<Instant>, clock| {
            if let Some(at) = at.filter(|at| next.as_ref().is_none_or(|(next, _)| at < next)) {
                next = Some((at, clock));
            }
        };
        sooner(self.terms.until, Clock::Request);
        if !self.request.is_done() {
            sooner(p.reading.due(limits), Clock::Reading);
        }
        sooner(p.writing.due(limits), Clock::Writing);
        if p.response.is_none() {
            // A pod that takes nothing of a body is like one that does not answer.
            let since = p.stalled.or(p.sent);
            sooner(since.map(|at| at + self.terms.response_header), Clock::Response);
        }
        if stalled {
            sooner(Some(Instant::now() + STALL_LOOK), Clock::Look);
        }
        next.unwrap_or_else(|| (limits.far(), Clock::Request))
    }

    /// A failure as the client can still be told of it.
    fn fail(&self, error: ProxyError) -> Failure {
        let started = self.progress.response.is_some();
        if started { Failure::Cut(error) } else { Failure::Answer(error) }
    }
}

/// How the response is delimited towards the client, and what its connection does next.
fn frame(head: &ResponseHead<'_>, terms: &Terms, keep: bool) -> (Framing, ConnectionOption) {
    if head.status == 101 {
        return (Framing::None, ConnectionOption::Upgrade);
    }
    if head.status < 200 {
        return (Framing::None, ConnectionOption::Keep);
    }
    let http10 = terms.version == Version::Http10;
    let framing = match &head.body {
        Decoder::Length(n) => Framing::Length(*n),
        Decoder::Done if terms.to_head || matches!(head.status, 204 | 304) => Framing::None,
        Decoder::Done => Framing::Length(0),
        Decoder::Chunked(_) | Decoder::Close if http10 => Framing::Close,
        Decoder::Chunked(_) | Decoder::Close => Framing::Chunked,
    };
    let option = match (keep && framing != Framing::Close, http10) {
        (false, _) => ConnectionOption::Close,
        (true, true) => ConnectionOption::KeepHttp10,
        (true, false) => ConnectionOption::Keep,
    };
    (framing, option)
}

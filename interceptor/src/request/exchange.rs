//! Forward: one request and its response between a client and a pod, whatever they speak.
//!
//! Both directions run in one task, each with at most as many bytes read and not written as the
//! process's budget allows, so a slow side slows the other one down. Every clock of a request stands
//! here. Nothing is sent again from here; the caller may do so only when [`Failure::NotSent`] says
//! that nothing of the request was processed.

use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{client::Client, prepared::Terms};
use crate::{
    error::ProxyError,
    headers::Additions,
    limits::Limits,
    message::{body::BodySink, head::ResponseHead},
    observe::record::Moved,
    upstream::pod::{Pod, PodError},
    wire::{
        budget::{Budget, Charge, FLOOR},
        timer::Pace,
    },
};

/// Interim (1xx) responses relayed for one request; a pod that sends more is broken.
const MAX_INTERIM: u32 = 16;
/// A client that is slow to read is written to in pieces of this size, so that what it has taken
/// shows.
const PACED_PIECE: usize = 8 << 10;
/// How often a client is looked at whose body the pod does not take, and the budget for a head that
/// waits for room.
const STALL_LOOK: Duration = Duration::from_secs(1);

/// How an exchange failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was processed: may be tried elsewhere.
    NotSent,
    /// No response head was sent to the client yet: answer with this.
    Answer(ProxyError),
    /// The response is cut: nothing but closing the connection tells the client.
    Cut(ProxyError),
}

/// How an exchange ended well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finished {
    pub(super) status: u16,
    /// The pod's connection may take another request.
    pub(super) keep_upstream: bool,
    /// It is a tunnel now.
    pub(super) upgraded: bool,
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
    /// Is the client of a stalled upload still there, or room for the pod's head?
    Look,
}

/// One exchange in progress.
pub(super) struct Exchange<'a, C, P> {
    client: &'a mut C,
    pod: &'a mut P,
    terms: &'a Terms,
    limits: &'a Limits,
    /// What both directions keep in memory.
    kept: Charge<'a>,
    moved: &'a mut Moved,
    progress: Progress,
}

/// A sink whose bytes are counted.
struct Counted<'a, S> {
    sink: &'a mut S,
    count: &'a mut u64,
}

impl<S: BodySink> BodySink for Counted<'_, S> {
    fn data(&mut self, data: &[u8]) {
        *self.count += data.len() as u64;
        self.sink.data(data);
    }

    fn bytes(&mut self, data: Bytes) {
        *self.count += data.len() as u64;
        self.sink.bytes(data);
    }

    fn end(&mut self, trailers: &[u8]) {
        self.sink.end(trailers);
    }
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
    /// The pod takes nothing more of the request.
    abandoned: bool,
    interim: u32,
    /// The final response head has been handed to the client.
    answered: bool,
}

impl<'a, C: Client, P: Pod> Exchange<'a, C, P> {
    pub(super) fn new(
        client: &'a mut C,
        pod: &'a mut P,
        terms: &'a Terms,
        limits: &'a Limits,
        buffers: &'a Budget,
        moved: &'a mut Moved,
    ) -> Self {
        let kept = buffers.charge();
        Self { client, pod, terms, limits, kept, moved, progress: Progress::default() }
    }

    /// Sends the request that the pod has, with its body, and relays the response. `on_head` is
    /// called with each response head and says what to add to it.
    pub(super) async fn run<'t>(
        mut self,
        mut on_head: impl FnMut(u16) -> Additions<'t>,
    ) -> Result<Finished, Failure> {
        // What of the body is there already leaves together with the head.
        let mut up = Counted { sink: &mut *self.pod, count: &mut self.moved.received };
        self.client.take_body(&mut up).map_err(|e| self.fail(e))?;
        let status = loop {
            let status = poll_fn(|cx| self.poll_head(cx, &mut on_head)).await?;
            if status == 101 || status >= 200 {
                break status;
            }
            // An interim response goes out before the pod's next head is read.
            poll_fn(|cx| self.poll_down_flush(cx)).await?;
        };
        if status == 101 {
            poll_fn(|cx| self.poll_down_flush(cx)).await?;
            return Ok(Finished { status, keep_upstream: false, upgraded: true });
        }
        poll_fn(|cx| self.poll_response(cx)).await?;
        let all_sent = self.client.body_done() && !self.progress.abandoned;
        let keep_upstream = all_sent && self.pod.is_reusable();
        Ok(Finished { status, keep_upstream, upgraded: false })
    }

    /// Until a response head was read; the client has it then.
    fn poll_head<'t>(
        &mut self,
        cx: &mut Context<'_>,
        on_head: &mut impl FnMut(u16) -> Additions<'t>,
    ) -> Poll<Result<u16, Failure>> {
        let sending = self.poll_request(cx)?;
        let Self { client, pod, terms, limits, progress, kept, .. } = self;
        let head = pod.poll_head(cx, limits.response_head, terms.to_head, kept.most(), |head| {
            progress.check(head, terms.upgrade && client.body_done())?;
            client.respond(head, &on_head(head.status))
        });
        match head {
            Poll::Ready(Ok(status)) => {
                self.progress.answered = status >= 200;
                return Poll::Ready(Ok(status));
            }
            Poll::Ready(Err(PodError::NotSent)) => return Poll::Ready(Err(Failure::NotSent)),
            Poll::Ready(Err(PodError::Failed(e))) => return Poll::Ready(Err(self.fail(e))),
            Poll::Pending => {}
        }
        if sending.is_ready() {
            self.watch_client(cx)?;
        }
        self.poll_deadline(cx)
    }

    /// The request direction: body bytes from the client to the pod.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Failure> {
        loop {
            let before = self.pod.unsent();
            match self.pod.poll_flush(cx) {
                Poll::Pending => {
                    // It is the pod that is slow now; the client's clock starts afresh after it.
                    self.progress.reading.stop();
                    if self.pod.unsent() < before {
                        self.progress.stalled = None;
                    }
                    self.progress.stalled.get_or_insert_with(Instant::now);
                    return Ok(Poll::Pending);
                }
                Poll::Ready(Err(PodError::NotSent)) => return Err(Failure::NotSent),
                // It may have answered before it closed.
                Poll::Ready(Err(PodError::Failed(_))) => {
                    self.progress.abandoned = true;
                    self.progress.stalled = None;
                }
                Poll::Ready(Ok(())) => self.progress.stalled = None,
            }
            if self.request_over() {
                self.progress.sent.get_or_insert_with(Instant::now);
                return Ok(Poll::Ready(()));
            }
            let mut up = Counted { sink: &mut *self.pod, count: &mut self.moved.received };
            match self.client.poll_body(cx, &mut up, self.kept.most()) {
                Poll::Pending => {
                    self.progress.reading.wait();
                    return Ok(Poll::Pending);
                }
                Poll::Ready(Err(e)) => return Err(self.fail(e)),
                Poll::Ready(Ok(n)) => self.progress.reading.moved(n),
            }
        }
    }

    /// Nothing more of the request will be sent.
    fn request_over(&self) -> bool {
        self.progress.abandoned || self.client.body_done()
    }

    /// Notices a client that leaves while its answer is awaited.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        match self.client.poll_gone(cx, self.kept.most()) {
            Poll::Ready(error) => Err(self.fail(error)),
            Poll::Pending => Ok(()),
        }
    }

    /// Until the response is written to the client; the request goes on beside it.
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let sending = self.poll_request(cx)?;
        loop {
            let mut down = Counted { sink: &mut *self.client, count: &mut self.moved.sent };
            let done = self.pod.transfer(&mut down).map_err(|e| self.fail(e))?;
            if done || self.client.unsent() > 0 {
                match self.flush(cx) {
                    Poll::Ready(Ok(())) if done => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                    Poll::Pending if done => return self.poll_deadline(cx),
                    Poll::Pending => {}
                }
            }
            // A pod is read from in pieces worth a system call.
            let (most, unsent) = (self.kept.most(), self.client.unsent());
            if unsent > most / 2 {
                return self.poll_deadline(cx);
            }
            match self.pod.poll_more(cx, most - unsent) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(e)) => return Poll::Ready(Err(self.fail(e))),
            }
        }
        if sending.is_ready() {
            self.watch_client(cx)?;
        }
        self.poll_deadline(cx)
    }

    fn poll_down_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match self.flush(cx) {
            Poll::Pending => self.poll_deadline(cx),
            ready => ready,
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let waiting = self.progress.writing.due(self.limits).is_some();
        let piece = if waiting { PACED_PIECE } else { usize::MAX };
        let before = self.client.unsent();
        let flushed = self.client.poll_flush(cx, piece);
        self.progress.writing.moved(before - self.client.unsent());
        match flushed {
            Poll::Ready(Ok(())) => {
                self.progress.writing.stop();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Failure::Cut(ProxyError::ClientGone))),
            Poll::Pending => {
                if !waiting {
                    self.client.follow_reader();
                    self.progress.writing.wait();
                }
                Poll::Pending
            }
        }
    }

    /// Pending, unless a clock of this exchange has run out.
    fn poll_deadline<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Failure>> {
        let of_pod = self.pod.kept();
        self.kept.set(self.client.kept() + of_pod);
        let cramped = !self.progress.answered && of_pod >= FLOOR && self.kept.is_short();
        // While the pod takes no more of the body, the client's unread bytes hide its hang-up.
        let stalled = self.progress.stalled.is_some() && !self.request_over();
        if stalled && self.client.has_left(cx) {
            return Poll::Ready(Err(self.fail(ProxyError::ClientGone)));
        }
        loop {
            let (at, clock) = self.next_clock(stalled || cramped);
            if self.client.deadline().poll(cx, at).is_pending() {
                return Poll::Pending;
            }
            let limits = self.limits;
            let error = match clock {
                Clock::Look if self.client.has_left(cx) => ProxyError::ClientGone,
                Clock::Reading if self.progress.reading.too_slow(limits) => {
                    ProxyError::RequestTimeout
                }
                Clock::Writing if self.progress.writing.too_slow(limits) => ProxyError::SlowReader,
                Clock::Look if cramped => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Clock::Look | Clock::Reading | Clock::Writing => continue,
                Clock::Response => ProxyError::ResponseTimeout,
                Clock::Request => ProxyError::RequestDeadline,
            };
            return Poll::Ready(Err(self.fail(error)));
        }
    }

    /// The clock that runs out first.
    fn next_clock(&self, looks: bool) -> (Instant, Clock) {
        let (limits, p) = (self.limits, &self.progress);
        let mut next: Option<(Instant, Clock)> = None;
        let mut sooner = |at: Option<Instant>, clock| {
            if let Some(at) = at.filter(|at| next.as_ref().is_none_or(|(next, _)| at < next)) {
                next = Some((at, clock));
            }
        };
        sooner(self.terms.until, Clock::Request);
        if !self.request_over() {
            sooner(p.reading.due(limits), Clock::Reading);
        }
        sooner(p.writing.due(limits), Clock::Writing);
        if !p.answered {
            // A pod that takes nothing of a body is like one that does not answer.
            let since = p.stalled.or(p.sent);
            sooner(since.map(|at| at + self.terms.response_header), Clock::Response);
        }
        if looks {
            sooner(Some(Instant::now() + STALL_LOOK), Clock::Look);
        }
        next.unwrap_or_else(|| (limits.far(), Clock::Request))
    }

    /// A failure as the client can still be told of it.
    fn fail(&self, error: ProxyError) -> Failure {
        if self.progress.answered { Failure::Cut(error) } else { Failure::Answer(error) }
    }
}

impl Progress {
    /// Is this a head that may come now?
    fn check(&mut self, head: &ResponseHead<'_>, may_upgrade: bool) -> Result<(), ProxyError> {
        if head.status == 101 && !may_upgrade {
            return Err(ProxyError::BadResponse("unexpected 101"));
        }
        if head.status < 200 && head.status != 101 {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(ProxyError::BadResponse("too many interim responses"));
            }
        }
        Ok(())
    }
}

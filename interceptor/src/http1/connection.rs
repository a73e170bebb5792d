//! One downstream HTTP/1.1 connection: heads in, one request at a time, answers out.
//!
//! Between requests it owns its socket, a timer and nothing else. It ends on the first thing it
//! cannot frame, on its timers, when the client closes, or when the process drains.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use kipper_process::drain::DrainWatch;
use tokio::io::AsyncWrite as _;

use super::call::{Asked, Call, Stream, Verdict};
use crate::{
    error::ProxyError,
    headers::Peer,
    message::{
        head::{RequestHead, parse_request},
        section::{HeadError, HeadLimits},
    },
    request::{
        discard::{DISCARD_TIME, discard},
        life,
        prepared::{Prepared, Unserved, prepare},
    },
    wire::{budget::FLOOR, buffer::Buffer, io::Io, timer::Deadline},
    worker::Worker,
};

/// A connection between its requests.
pub(crate) struct Connection {
    stream: Stream,
    peer: Peer,
    drain: DrainWatch,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    drain_watched: bool,
}

/// A request that is answered without a function.
struct Refused {
    unserved: Unserved,
    /// The connection may take another request.
    keep: bool,
}

impl Refused {
    /// Its head is not whole, or none that could be read.
    fn unread(error: ProxyError) -> Self {
        // It may be a HEAD: no answer follows that the body of this one could be taken for.
        Self { unserved: Unserved::unread(error, false), keep: false }
    }
}

impl Connection {
    /// `input` was read already, before `deadline`.
    pub(crate) fn new(
        io: Io,
        input: Buffer,
        deadline: Deadline,
        peer: Peer,
        worker: &Worker,
    ) -> Self {
        Self {
            stream: Stream { io, input, out: Buffer::default(), deadline },
            peer,
            drain: worker.context.drain.clone(),
            draining: Box::pin(draining(worker.context.drain.clone())),
            drain_watched: false,
        }
    }

    /// What another worker goes on with: the socket and what was read from it.
    pub(crate) fn into_input(self) -> (Io, Buffer) {
        (self.stream.io, self.stream.input)
    }

    /// Serves the first request. True = a second one has begun to arrive.
    pub(crate) async fn serve_first(&mut self, worker: &Arc<Worker>) -> bool {
        match self.serve_one(worker, true).await {
            Verdict::Keep => self.goes_on(worker).await,
            verdict => {
                self.finish(verdict).await;
                false
            }
        }
    }

    /// Serves requests until the connection is over.
    pub(crate) async fn serve(&mut self, worker: &Arc<Worker>) {
        loop {
            let verdict = self.serve_one(worker, false).await;
            if verdict != Verdict::Keep {
                return self.finish(verdict).await;
            }
        }
    }

    async fn serve_one(&mut self, worker: &Arc<Worker>, first: bool) -> Verdict {
        // Borrowed from here on: what an await takes by value, its future has twice.
        match &mut self.next_request(worker, first).await {
            Ok(Some((prepared, asked))) => {
                let mut call = Call::new(&mut self.stream, &self.drain, asked);
                life::serve(&mut call, worker, prepared).await;
                call.verdict()
            }
            Ok(None) => Verdict::Gone,
            Err(Refused { unserved, keep }) => {
                let id = life::refused(worker, self.peer, unserved);
                self.stream.answer(worker, &unserved.answer(&id), !*keep).await;
                if *keep { Verdict::Keep } else { Verdict::Close }
            }
        }
    }

    async fn finish(&mut self, verdict: Verdict) {
        let lingers = match verdict {
            Verdict::Close => true,
            Verdict::Done => self.stream.has_more(),
            Verdict::Keep | Verdict::Gone => false,
        };
        if lingers {
            linger(&mut self.stream).await;
        }
    }

    /// Waits for the beginning of another request.
    async fn goes_on(&mut self, worker: &Worker) -> bool {
        let limits = &worker.context.limits;
        let timer = Instant::now() + limits.idle;
        !self.stream.input.is_empty()
            || matches!(
                poll_fn(|cx| self.poll_idle(cx, timer, limits.request_head.bytes + 1)).await,
                Idle::Read
            )
    }

    /// The next request; `None` = the connection is over.
    async fn next_request(
        &mut self,
        worker: &Arc<Worker>,
        first: bool,
    ) -> Result<Option<(Prepared, Asked)>, Refused> {
        let limits = &worker.context.limits;
        let idle_since = Instant::now();
        let mut kept = worker.context.buffers.charge();
        let mut started = (first || !self.stream.input.is_empty()).then_some(idle_since);
        loop {
            if !self.stream.input.is_empty() {
                let parsed = parse_request(self.stream.input.as_slice(), limits.request_head);
                let prepared = parsed
                    .map_err(|error| refuse(error, limits.request_head))?
                    .map(|(head, length)| (admit(head, self.peer, worker), length));
                if let Some((prepared, length)) = prepared {
                    self.stream.input.consume(length);
                    return prepared.map(Some);
                }
                if kept.is_short() && self.stream.input.len() >= FLOOR {
                    return Err(Refused::unread(ProxyError::Overloaded));
                }
                kept.set(self.stream.input.allocated());
            }
            let most = limits.request_head.bytes + 1;
            // One that was longer before may still end with what comes next.
            let is_small = kept.is_short() && self.stream.input.len() < FLOOR;
            let limit = if is_small { FLOOR.min(most) } else { most };
            let timer = match started {
                Some(at) => at + limits.header,
                None => idle_since + limits.idle,
            };
            let read = poll_fn(|cx| self.poll_idle(cx, timer, limit)).await;
            match read {
                Idle::Read => started = started.or_else(|| Some(Instant::now())),
                Idle::Over => return Ok(None),
                // A client that never sent anything, or nothing since, is not owed an answer.
                Idle::TimedOut if self.stream.input.is_empty() => return Ok(None),
                Idle::TimedOut => {
                    return Err(Refused::unread(ProxyError::RequestTimeout));
                }
            }
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>, timer: Instant, limit: usize) -> Poll<Idle> {
        match self.stream.io.poll_read_more(cx, &mut self.stream.input, limit) {
            Poll::Ready(Ok(n)) if n > 0 => return Poll::Ready(Idle::Read),
            Poll::Ready(_) => return Poll::Ready(Idle::Over),
            Poll::Pending => {}
        }
        // The task's waker stays the same, so one registration lasts for the connection's life.
        let idle = self.stream.input.is_empty();
        let draining = if std::mem::replace(&mut self.drain_watched, true) {
            self.drain.is_draining()
        } else {
            self.draining.as_mut().poll(cx).is_ready()
        };
        if draining && idle {
            return Poll::Ready(Idle::Over);
        }
        self.stream.deadline.poll(cx, timer).map(|()| Idle::TimedOut)
    }
}

/// A request for a function, or why it is none.
fn admit(
    mut head: RequestHead<'_>,
    peer: Peer,
    worker: &Worker,
) -> Result<(Prepared, Asked), Refused> {
    // Only a request without a body leaves the connection at the start of the next one.
    let keep = head.keep_alive && head.body.is_done();
    let prepared = prepare(&mut head, peer, worker);
    let prepared = prepared.map_err(|unserved| Refused { unserved, keep })?;
    Ok((prepared, Asked::of(head)))
}

/// Says goodbye: ends our side, and reads what is still coming for a short while.
async fn linger(stream: &mut Stream) {
    let Stream { io, deadline, .. } = stream;
    let until = Instant::now() + DISCARD_TIME;
    let shut = poll_fn(|cx| match Pin::new(&mut *io).poll_shutdown(cx) {
        Poll::Pending => deadline.poll(cx, until).map(|()| false),
        Poll::Ready(shut) => Poll::Ready(shut.is_ok()),
    });
    if !shut.await {
        return;
    }
    discard(|cx| {
        let mut input = Buffer::default();
        io.poll_read_more(cx, &mut input, 1 << 16).map(|n| n.unwrap_or(0))
    })
    .await;
}

async fn draining(drain: DrainWatch) {
    drain.draining().await;
}

/// What ended a wait for input.
enum Idle {
    Read,
    Over,
    TimedOut,
}

fn refuse(error: HeadError, limits: HeadLimits) -> Refused {
    let error = match error {
        HeadError::Malformed(what) => ProxyError::BadRequest(what),
        HeadError::TooLong => ProxyError::HeadTooLong(limits.bytes),
        HeadError::TooManyFields => ProxyError::TooManyFields(limits.fields),
        HeadError::Version => ProxyError::HttpVersion,
        HeadError::TransferCoding => ProxyError::UnknownTransferCoding,
        HeadError::Method => ProxyError::MethodNotAllowed,
    };
    Refused::unread(error)
}

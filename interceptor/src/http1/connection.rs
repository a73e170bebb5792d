//! One downstream HTTP/1.1 connection: heads in, one request at a time, answers out.
//!
//! Between requests it owns its socket, a timer and nothing else. It ends on the first thing it
//! cannot frame, on its timers, when the client closes, or when the process drains.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use kipper_process::drain::DrainWatch;

use super::{
    buffer::Buffer,
    head::{HeadError, parse_request},
    io::Io,
    request::{self, Prepared, Refused, Verdict},
    timer::Deadline,
};
use crate::{
    error::ProxyError,
    headers::{Peer, RequestId, new_request_id},
    worker::Worker,
};

/// After the last answer, unread input is discarded for this long, so that the client reads the
/// answer before it sees a reset (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
/// At most this much is discarded.
const LINGER_BYTES: usize = 1 << 20;

/// A connection and what is buffered on it.
pub(crate) struct Connection {
    pub(crate) io: Io,
    pub(crate) input: Buffer,
    pub(crate) out: Buffer,
    pub(crate) deadline: Deadline,
    pub(crate) peer: Peer,
    drain: DrainWatch,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    drain_watched: bool,
}

/// Serves requests until the connection is over. `input` was read already.
pub(crate) async fn serve(io: Io, input: Buffer, peer: Peer, worker: Arc<Worker>) {
    let limits = &worker.plane.limits;
    let mut connection = Connection {
        io,
        input,
        out: Buffer::default(),
        deadline: Deadline::new(Instant::now() + limits.header),
        peer,
        drain: worker.plane.drain.clone(),
        draining: Box::pin(draining(worker.plane.drain.clone())),
        drain_watched: false,
    };
    let mut first = true;
    let discard = loop {
        match connection.next_request(&worker, std::mem::take(&mut first)).await {
            Ok(Some(prepared)) => match request::serve(&mut connection, &worker, prepared).await {
                Verdict::Keep => {}
                Verdict::Close => break true,
                Verdict::Gone => break false,
            },
            Ok(None) => break false,
            Err(Refused { error, keep }) => {
                worker.plane.metrics.error(error);
                let id = new_request_id(fastrand::u128(..));
                connection.answer(&worker, error, &id, None, !keep).await;
                if !keep {
                    break true;
                }
            }
        }
    };
    if discard {
        connection.linger().await;
    }
}

impl Connection {
    /// The next request; `None` = the connection is over.
    async fn next_request(
        &mut self,
        worker: &Arc<Worker>,
        first: bool,
    ) -> Result<Option<Prepared>, Refused> {
        let limits = &worker.plane.limits;
        let idle_since = Instant::now();
        let mut started = (first || !self.input.is_empty()).then_some(idle_since);
        loop {
            if !self.input.is_empty() {
                let parsed = parse_request(self.input.as_slice(), limits.head_bytes);
                let prepared = parsed
                    .map_err(refuse)?
                    .map(|(head, length)| (request::prepare(head, self.peer, worker), length));
                if let Some((prepared, length)) = prepared {
                    self.input.consume(length);
                    return prepared.map(Some);
                }
            }
            let timer = match started {
                Some(at) => at + limits.header,
                None => idle_since + limits.idle,
            };
            let read = poll_fn(|cx| self.poll_idle(cx, timer, limits.head_bytes + 1)).await;
            match read {
                Idle::Read => started = started.or_else(|| Some(Instant::now())),
                Idle::Over => return Ok(None),
                // A client that never sent anything, or nothing since, is not owed an answer.
                Idle::TimedOut if self.input.is_empty() => return Ok(None),
                Idle::TimedOut => {
                    return Err(Refused { error: ProxyError::RequestTimeout, keep: false });
                }
            }
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>, timer: Instant, limit: usize) -> Poll<Idle> {
        match self.io.poll_read_more(cx, &mut self.input, limit) {
            Poll::Ready(Ok(n)) if n > 0 => return Poll::Ready(Idle::Read),
            Poll::Ready(_) => return Poll::Ready(Idle::Over),
            Poll::Pending => {}
        }
        // The task's waker stays the same, so one registration lasts for the connection's life.
        let idle = self.input.is_empty();
        let draining = if std::mem::replace(&mut self.drain_watched, true) {
            self.drain.is_draining()
        } else {
            self.draining.as_mut().poll(cx).is_ready()
        };
        if draining && idle {
            return Poll::Ready(Idle::Over);
        }
        self.deadline.poll(cx, timer).map(|()| Idle::TimedOut)
    }

    /// Writes an answer of this proxy's own.
    pub(crate) async fn answer(
        &mut self,
        worker: &Worker,
        error: ProxyError,
        id: &RequestId,
        retry_after: Option<u64>,
        close: bool,
    ) {
        if error.status() == 499 {
            return;
        }
        write_error(self.out.tail(), error, id, retry_after, close);
        let until = Instant::now() + worker.plane.limits.grace;
        poll_fn(|cx| match self.io.poll_flush_buffer(cx, &mut self.out, usize::MAX) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.deadline.poll(cx, until),
        })
        .await;
    }

    /// Says goodbye: ends our side, and reads what is still coming for a short while.
    async fn linger(mut self) {
        let lingering = async {
            if tokio::io::AsyncWriteExt::shutdown(&mut self.io).await.is_err() {
                return;
            }
            let mut left = LINGER_BYTES;
            while left > 0 {
                self.input = Buffer::default();
                match poll_fn(|cx| self.io.poll_read_more(cx, &mut self.input, 1 << 16)).await {
                    Ok(n) if n > 0 => left = left.saturating_sub(n),
                    _ => return,
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, lingering).await;
    }
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

fn refuse(error: HeadError) -> Refused {
    let error = match error {
        HeadError::Malformed(what) => ProxyError::BadRequest(what),
        HeadError::TooLarge => ProxyError::HeadersTooLarge,
        HeadError::TransferCoding => ProxyError::UnknownTransferCoding,
        HeadError::Method => ProxyError::MethodNotAllowed,
    };
    Refused { error, keep: false }
}

/// Appends a whole error response.
pub(crate) fn write_error(
    out: &mut Vec<u8>,
    error: ProxyError,
    id: &RequestId,
    retry_after: Option<u64>,
    close: bool,
) {
    use std::io::Write as _;
    let status = error.status();
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    let id = std::str::from_utf8(id).unwrap_or_default();
    let body = error.body(id);
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nx-request-id: {id}\r\n",
        reason.unwrap_or_default(),
        body.len(),
    );
    if let Some(seconds) = retry_after {
        let _ = write!(out, "retry-after: {seconds}\r\n");
    }
    if close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a connection's task costs while it waits: held requests are many.
    #[test]
    fn the_task_stays_small() {
        fn size<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(serve);
        assert!(size <= 3072, "{size} bytes");
    }
}

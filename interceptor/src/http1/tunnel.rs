//! An upgraded connection (WebSocket and the like): bytes both ways until both sides are done, or
//! neither has moved one for too long. What has vanished, or ended one side and forgotten the other,
//! would else keep its function from zero.
//!
//! Most tunnels are silent most of the time. Such a one owns no buffer; one with a slow side keeps as
//! much as the process's budget allows.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::AsyncWrite as _;

use crate::{
    observe::record::Moved,
    upstream::http1::Connection,
    wire::{
        budget::Budget,
        buffer::{Buffer, HIGH_WATER},
        io::Io,
        tcp,
        timer::Deadline,
    },
};

/// Copies both ways; what was read beyond the heads goes first. A drain lets it run until the
/// worker's runtime ends.
pub(super) async fn run(
    io: &mut Io,
    input: Buffer,
    deadline: &mut Deadline,
    pod: Connection,
    idle: Duration,
    budget: &Budget,
    moved: &mut Moved,
) -> io::Result<()> {
    // Bytes that nobody acknowledges do not move either. Only a tunnel has no other clock.
    let _ = tcp::user_timeout(io.tcp(), idle).and(tcp::user_timeout(pod.io.tcp(), idle));
    let mut pod_io = pod.io;
    let (mut up, mut down) = (Way::new(input), Way::new(pod.input));
    let mut kept = budget.charge();
    let (mut before, mut last) = (0, Instant::now());
    poll_fn(|cx| {
        // What both ways keep together.
        let most = kept.most() / 2;
        let ends = (up.poll(cx, io, &mut pod_io, most), down.poll(cx, &mut pod_io, io, most));
        *moved = Moved { received: up.written, sent: down.written };
        let ends = (ends.0?.is_ready(), ends.1?.is_ready());
        if ends == (true, true) {
            return Poll::Ready(Ok(()));
        }
        kept.set(up.waiting.allocated() + down.waiting.allocated());
        let so_far = up.read + up.written + down.read + down.written;
        if std::mem::replace(&mut before, so_far) != so_far {
            last = Instant::now();
        }
        deadline.poll(cx, last + idle).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

/// One direction.
struct Way {
    /// Read and not written.
    waiting: Buffer,
    read: u64,
    written: u64,
    /// The source has ended its side…
    ended: bool,
    /// …and so has this one towards the destination.
    shut: bool,
}

impl Way {
    fn new(waiting: Buffer) -> Self {
        Self { waiting, read: 0, written: 0, ended: false, shut: false }
    }

    /// Moves what can be moved, with at most `most` bytes waiting. Ready at the end.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
        most: usize,
    ) -> Poll<io::Result<()>> {
        while !self.shut {
            let before = self.waiting.len();
            let flushed = to.poll_flush_buffer(cx, &mut self.waiting, HIGH_WATER)?;
            self.written += (before - self.waiting.len()) as u64;
            if flushed.is_ready() && self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.shut = true;
            } else if self.ended || self.waiting.len() >= most {
                return Poll::Pending;
            } else {
                let read = ready!(from.poll_read_more(cx, &mut self.waiting, most))?;
                self.read += read as u64;
                self.ended = read == 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}

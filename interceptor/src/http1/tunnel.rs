//! An upgraded connection (WebSocket and the like): bytes both ways until both sides are done, or
//! neither has moved one for too long. What has vanished, or ended one side and forgotten the other,
//! would else keep its function from zero.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use crate::{
    clock,
    upstream::http1::Connection,
    wire::{
        buffer::Buffer,
        io::{Io, Rewound},
        tcp,
    },
};

/// Copies both ways; what was read beyond the heads goes first. Returns the bytes moved from and
/// to the client. A drain lets it run until the worker's runtime ends.
pub(super) async fn run(
    io: &mut Io,
    input: &mut Buffer,
    pod: Connection,
    idle: Duration,
) -> io::Result<(u64, u64)> {
    // Bytes that nobody acknowledges do not move either. Only a tunnel has no other clock.
    let _ = tcp::user_timeout(io.tcp(), idle).and(tcp::user_timeout(pod.io.tcp(), idle));
    let moved = AtomicU64::new(clock::now());
    let watched = |inner, head| Rewound { head, inner: Watched { inner, moved: &moved } };
    let mut pod_io = pod.io;
    let mut down = watched(io, std::mem::take(input));
    let mut up = watched(&mut pod_io, pod.input);
    tokio::select! {
        copied = copy_bidirectional(&mut down, &mut up) => copied,
        () = stands_still(&moved, idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Resolves once nothing has moved for `idle`.
async fn stands_still(moved: &AtomicU64, idle: Duration) {
    loop {
        let since = Duration::from_micros(clock::now().saturating_sub(moved.load(Relaxed)));
        if since >= idle {
            return;
        }
        tokio::time::sleep(idle - since).await;
    }
}

/// Notes when a byte was read or written.
struct Watched<'a> {
    inner: &'a mut Io,
    moved: &'a AtomicU64,
}

impl Watched<'_> {
    fn note(&self, bytes: usize) {
        if bytes > 0 {
            self.moved.store(clock::now(), Relaxed);
        }
    }
}

impl AsyncRead for Watched<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut *this.inner).poll_read(cx, buf);
        this.note(buf.filled().len() - before);
        read
    }
}

impl AsyncWrite for Watched<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut *this.inner).poll_write(cx, data);
        if let Poll::Ready(Ok(bytes)) = written {
            this.note(bytes);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().inner).poll_shutdown(cx)
    }
}

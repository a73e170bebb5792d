//! A downstream or upstream byte stream: plain TCP, or TLS towards clients.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::buffer::{Buffer, READ_SIZE, read_scratch};

/// Bytes the kernel may queue unsent for a slow reader.
const UNSENT: u32 = 16 << 10;

/// What rustls keeps encrypted for a slow reader (its default buffer limit).
const TLS_UNSENT: usize = 64 << 10;

/// One connection's bytes.
pub(crate) enum Io {
    /// TCP as it is.
    Plain(TcpStream),
    /// TLS with a client.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// The TCP connection underneath.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Bytes that TLS may have taken and not written, where something waits behind them.
    pub(crate) fn unsent(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(_) => TLS_UNSENT,
        }
    }

    /// Reads once, appending to `buffer` until it holds `limit` bytes. `Ok(0)` is the end.
    pub(crate) fn poll_read_more(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        let room = limit.saturating_sub(buffer.len()).min(READ_SIZE);
        read_scratch(
            room,
            |buf| Pin::new(&mut *self).poll_read(cx, buf),
            |data| {
                let tail = buffer.tail();
                tail.reserve_exact(data.len());
                tail.extend_from_slice(data);
            },
        )
    }

    /// Writes `out` until it is empty, at most `piece` bytes at a time.
    pub(crate) fn poll_flush_buffer(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Buffer,
        piece: usize,
    ) -> Poll<io::Result<()>> {
        while !out.is_empty() {
            let data = out.as_slice();
            match Pin::new(&mut *self).poll_write(cx, &data[..data.len().min(piece)]) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => out.consume(n),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            }
        }
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Resolves once the peer has closed its side, even while bytes of it are unread.
    pub(crate) async fn closed(&self) {
        // The readiness mask of PRIORITY holds "read closed" but not "readable".
        drop(self.tcp().ready(Interest::PRIORITY).await);
    }

    /// Lets the kernel queue little that is not sent yet, so that writing follows the peer's
    /// reading instead of filling a buffer of megabytes.
    pub(crate) fn follow_reader(&self) {
        let _ = socket2::SockRef::from(self.tcp()).set_tcp_notsent_lowat(UNSENT);
    }

    /// Has the peer closed its side, even while bytes of it are unread? One system call.
    pub(crate) fn is_closed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut fds = [PollFd::new(self.tcp(), PollFlags::RDHUP)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&now)), Ok(n) if n > 0)
    }

    /// Makes closing send a reset: the peer must not take what it got for complete.
    pub(crate) fn reset_on_close(&self) {
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, data),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// A stream whose first bytes were read already.
pub(crate) struct Rewound<S> {
    pub(crate) head: Buffer,
    pub(crate) inner: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.head.is_empty() {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        let n = this.head.len().min(buf.remaining());
        buf.put_slice(&this.head.as_slice()[..n]);
        this.head.consume(n);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

//! One connection to the function, and those that are free.
//!
//! A connection is a task of its own, so that a hang-up is noticed while nothing is sent. Whether
//! a byte of a request was written, and whether one of an answer came, is known from the socket, not
//! guessed from the error: that decides whether an event may be sent again. A connection that is dropped outside the pool is
//! closed at once, whatever was in progress on it.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::AbortHandle,
};

use super::{outcome::Reason, url::TargetUrl};

/// Room for an answer's head; one that is longer is a broken answer.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// A used connection is free when its task has seen the end of the answer, which is a matter of
/// microseconds unless the function has left the request unread.
const READY_TIMEOUT: Duration = Duration::from_millis(100);
/// A connection is given up this long before the function said it would close it.
const RETIRE_EARLY: Duration = Duration::from_secs(1);
/// Free connections kept. There are never more than deliveries ran at once, which is far fewer.
const MAX_IDLE: usize = 256;

/// Why there is no answer.
pub(super) enum SendError {
    /// The connection ended before the first byte of an answer.
    Unanswered(Unanswered),
    /// A part of an answer came, or what is none.
    Broken {
        /// `Closed` or `BadResponse`.
        reason: Reason,
        /// What the connection said.
        detail: String,
    },
}

/// The function closed the connection without a word.
pub(super) struct Unanswered {
    /// False when the function cannot have seen any of the request.
    pub(super) written: bool,
    /// What the connection said.
    pub(super) detail: String,
}

/// What passed over the socket since the present request began.
#[derive(Debug, Default)]
struct Passed {
    written: AtomicBool,
    read: AtomicBool,
}

/// A connection that one request at a time can use.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Shared with [`Wire`].
    passed: Arc<Passed>,
    /// The last answer's header map, whose room the next request uses.
    spare: HeaderMap,
    /// When the function may close it.
    retire_at: Option<Instant>,
    task: AbortHandle,
}

impl Connection {
    /// Connects. The caller bounds the time.
    pub(super) async fn open(url: &TargetUrl) -> io::Result<Self> {
        let stream = TcpStream::connect((url.host(), url.port())).await?;
        if stream.local_addr()? == stream.peer_addr()? {
            // The kernel picked the port nobody listens on as our own and connected us to
            // ourselves; kept open, it would also keep the function from binding that port.
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        let passed = Arc::new(Passed::default());
        let wire = Wire { stream, passed: Arc::clone(&passed) };
        let (sender, connection) = http1::Builder::new()
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(io::Error::other)?;
        let task = tokio::spawn(async move {
            // What went wrong is told to the request it went wrong for.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the function ended");
            }
        });
        let (spare, task) = (HeaderMap::with_capacity(12), task.abort_handle());
        Ok(Self { sender, passed, spare, retire_at: None, task })
    }

    /// An empty map with room from the exchange before.
    pub(super) fn spare_headers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.spare)
    }

    /// Sends one request and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, SendError> {
        self.passed.written.store(false, Ordering::Release);
        self.passed.read.store(false, Ordering::Release);
        let error = match self.sender.send_request(request).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let mut detail = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            detail = format!("{detail}: {source}");
        }
        let written = self.passed.written.load(Ordering::Acquire);
        if !written || !self.passed.read.load(Ordering::Acquire) {
            return Err(SendError::Unanswered(Unanswered { written, detail }));
        }
        let malformed = error.is_parse();
        let reason = if malformed { Reason::BadResponse } else { Reason::Closed };
        Err(SendError::Broken { reason, detail })
    }

    /// Takes over what the answer says about the connection, and its map for the next request.
    pub(super) fn answered(&mut self, mut headers: HeaderMap) {
        if let Some(idle) = headers.get("keep-alive").and_then(|v| idle_timeout(v.as_bytes())) {
            self.retire_at = Some(Instant::now() + idle - RETIRE_EARLY.min(idle / 2));
        }
        headers.clear();
        self.spare = headers;
    }

    /// Whether the function has closed it, or is about to.
    fn is_over(&self) -> bool {
        self.sender.is_closed() || self.retire_at.is_some_and(|at| at <= Instant::now())
    }

    /// Waits until the next request can go out. False when none can.
    async fn ready(&mut self) -> bool {
        if self.is_over() || self.sender.is_ready() {
            return !self.is_over();
        }
        let ready = tokio::time::timeout(READY_TIMEOUT, self.sender.ready()).await;
        ready.is_ok_and(|ready| ready.is_ok())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The free connections, last used first: those beyond what the load needs grow old and close.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// A connection that is ready, if there is one; those that are not any more are dropped.
    pub(super) async fn take(&self) -> Option<Connection> {
        loop {
            let mut connection = self.pop()?;
            if connection.ready().await {
                return Some(connection);
            }
        }
    }

    fn pop(&self) -> Option<Connection> {
        self.idle.lock().pop()
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn put(&self, connection: Connection) {
        let mut idle = self.idle.lock();
        if !connection.is_over() && idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idle.lock().is_empty()
    }
}

/// The seconds of `Keep-Alive: timeout=5, max=100` (RFC 2068 section 19.7.1.1).
fn idle_timeout(value: &[u8]) -> Option<Duration> {
    let value = std::str::from_utf8(value).ok()?;
    let mut parameters = value.split(',').filter_map(|parameter| parameter.split_once('='));
    let (_, seconds) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    seconds.trim().parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
}

/// The socket. Before the first byte of a request it asks the kernel whether the function has hung
/// up, because the runtime learns of that only when it next waits; and it notes the first byte of the
/// request and of its answer.
struct Wire {
    stream: TcpStream,
    passed: Arc<Passed>,
}

impl Wire {
    /// An error when the function has closed its side, or has sent something unasked for.
    fn check_before_first_byte(&self) -> io::Result<()> {
        if self.passed.written.load(Ordering::Relaxed) {
            return Ok(());
        }
        match SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the function closed the connection, or spoke, before the request",
            )),
        }
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.passed.written.store(true, Ordering::Release);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.passed.read.store(true, Ordering::Release);
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_before_first_byte()?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_before_first_byte()?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alive_table() {
        let check = |value: &str, expected: Option<u64>| {
            let found = idle_timeout(value.as_bytes());
            assert_eq!(found, expected.map(Duration::from_secs), "{value:?}");
        };
        check("timeout=5", Some(5));
        check("max=100, Timeout = 72", Some(72));
        check("timeout=0", Some(0));
        check("max=100", None);
        check("timeout=-1", None);
        check("timeout=soon", None);
        check("timeout", None);
    }
}

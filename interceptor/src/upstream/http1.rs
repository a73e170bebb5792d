//! One HTTP/1.1 connection to a pod.

use std::{
    io,
    net::SocketAddr,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    dial::{ConnectError, dial},
    pod::{Pod, PodError},
};
use crate::{
    error::ProxyError,
    limits::PodLimits,
    message::{
        body::{BodySink, Decoder, Encoder, Framing},
        head::{ResponseHead, parse_response},
        section::{HeadError, HeadLimits},
    },
    wire::{budget::FLOOR, buffer::Buffer, io::Io},
};

/// Idle time after which a connection is retired when the pod says nothing: under the 5 s after
/// which a Node server closes.
const DEFAULT_IDLE: Duration = Duration::from_secs(4);
/// A pod's own `Keep-Alive: timeout` is undercut by this, or by half of it when it is shorter.
const IDLE_MARGIN: Duration = Duration::from_secs(1);
/// Longest idle time, whatever the pod offers.
const MAX_IDLE_TIME: Duration = Duration::from_secs(60);
/// An idle connection older than this is asked with a system call whether it still lives.
const PEEK_AFTER: Duration = Duration::from_millis(50);
/// A pod that lives accepts a connection within this, however slow its handler is.
const ACCEPT_TIME: Duration = Duration::from_millis(100);

/// One HTTP/1.1 connection to a pod.
pub(crate) struct Connection {
    pub(crate) io: Io,
    /// Read and not consumed.
    pub(crate) input: Buffer,
    /// To be written.
    pub(crate) out: Buffer,
    /// Any byte of the present request reached the socket.
    written: bool,
    /// How the present request's body is sent.
    framing: Framing,
    /// What is still to come of the present response.
    response: Decoder,
    /// The pod has ended its side.
    eof: bool,
    /// How long the pod keeps it idle; zero = it takes no further request.
    idle_time: Duration,
    idle_since: Instant,
    /// Until the pod's first answer on it: a place among its fresh connections.
    fresh: Option<oneshot::Sender<()>>,
}

impl Connection {
    /// Opens a connection to `address`.
    pub(crate) async fn open(address: SocketAddr, limits: PodLimits) -> Result<Self, ConnectError> {
        Ok(Self {
            io: Io::Plain(dial(address, limits).await?),
            input: Buffer::default(),
            out: Buffer::default(),
            written: false,
            framing: Framing::None,
            response: Decoder::Done,
            eof: false,
            idle_time: DEFAULT_IDLE,
            idle_since: Instant::now(),
            fresh: None,
        })
    }

    /// Keeps `permit` until the pod answers on this connection, or has had time to accept it.
    pub(crate) fn hold_fresh(&mut self, permit: OwnedSemaphorePermit) {
        let (answered, answer) = oneshot::channel();
        self.fresh = Some(answered);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(ACCEPT_TIME, answer).await;
            drop(permit);
        });
    }

    /// Takes a request whose head is in `out`, and sends its body as `framing` says.
    pub(crate) fn begin(&mut self, out: Buffer, framing: Framing) {
        (self.out, self.framing, self.written) = (out, framing, false);
    }

    /// Takes over the pod's `Keep-Alive: timeout`, in seconds.
    pub(crate) fn keep_alive_timeout(&mut self, seconds: Option<u64>) {
        if let Some(seconds) = seconds {
            let offered = Duration::from_secs(seconds).min(MAX_IDLE_TIME);
            self.idle_time = offered.saturating_sub(IDLE_MARGIN.min(offered / 2));
        }
    }

    /// Writes what is to be written.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.out.len();
        let flushed = self.io.poll_flush_buffer(cx, &mut self.out, usize::MAX);
        self.written |= self.out.len() < before;
        flushed
    }

    /// It stands between two requests from now on.
    pub(super) fn rest(&mut self) {
        self.idle_since = Instant::now();
    }

    pub(super) fn expired(&self, now: Instant) -> bool {
        now.duration_since(self.idle_since) >= self.idle_time
    }

    /// Nothing of an earlier exchange is left on it.
    pub(super) fn is_clean(&self) -> bool {
        self.input.is_empty() && self.out.is_empty()
    }

    /// Neither closed by the pod nor with bytes that no request asked for.
    pub(super) fn alive(&self, now: Instant) -> bool {
        if self.expired(now) {
            return false;
        }
        let tcp = self.io.tcp();
        // The reactor may not have seen a FIN of the last moments; the kernel has.
        if now.duration_since(self.idle_since) > PEEK_AFTER {
            let mut byte = [std::mem::MaybeUninit::uninit()];
            let peeked = socket2::SockRef::from(tcp).peek(&mut byte);
            return matches!(peeked, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        }
        let mut byte = [0];
        matches!(tcp.try_read(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    fn gone(&self) -> PodError {
        if self.written { PodError::Failed(ProxyError::UpstreamClosed) } else { PodError::NotSent }
    }

    /// Parses a response head, if it is complete.
    fn take_head(
        &mut self,
        limits: HeadLimits,
        to_head: bool,
        take: &mut impl FnMut(&ResponseHead<'_>) -> Result<(), ProxyError>,
    ) -> Result<Option<u16>, ProxyError> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let parsed = parse_response(self.input.as_slice(), limits, to_head);
        let bad = |error: HeadError| ProxyError::BadResponse(error.rule());
        let Some((head, length)) = parsed.map_err(bad)? else { return Ok(None) };
        let status = head.status;
        take(&head)?;
        let (body, reusable, timeout) = head.into_framing();
        if !reusable || status == 101 {
            self.idle_time = Duration::ZERO;
        } else if status >= 200 {
            self.keep_alive_timeout(timeout);
        }
        self.input.consume(length);
        // The pod has accepted the connection.
        self.fresh = None;
        self.response = body;
        Ok(Some(status))
    }
}

impl BodySink for Connection {
    fn data(&mut self, data: &[u8]) {
        Encoder { framing: self.framing, out: self.out.tail() }.data(data);
    }

    fn end(&mut self, trailers: &[u8]) {
        Encoder { framing: self.framing, out: self.out.tail() }.end(trailers);
    }
}

impl Pod for Connection {
    fn unsent(&self) -> usize {
        self.out.len()
    }

    fn kept(&mut self) -> usize {
        self.out.allocated() + self.input.allocated()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PodError>> {
        let flushed = self.poll_write(cx);
        flushed.map_err(|_| {
            let error = self.gone();
            if self.written {
                self.out = Buffer::default();
                self.idle_time = Duration::ZERO;
            }
            error
        })
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: HeadLimits,
        to_head: bool,
        most: usize,
        mut take: impl FnMut(&ResponseHead<'_>) -> Result<(), ProxyError>,
    ) -> Poll<Result<u16, PodError>> {
        loop {
            match self.take_head(limits, to_head, &mut take) {
                Ok(Some(status)) => return Poll::Ready(Ok(status)),
                Ok(None) => {}
                Err(e) => return Poll::Ready(Err(PodError::Failed(e))),
            }
            let room = if most > FLOOR { self.input.len() + most } else { FLOOR };
            if self.input.len() >= room {
                return Poll::Pending;
            }
            let limit = limits.bytes.min(room);
            match self.io.poll_read_more(cx, &mut self.input, limit) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Err(self.gone())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn transfer(&mut self, sink: &mut impl BodySink) -> Result<bool, ProxyError> {
        let decoded = self.response.decode(self.input.as_slice(), sink);
        let used = decoded.map_err(|error| ProxyError::BadResponse(error.rule()))?;
        self.input.consume(used);
        // The end of the connection is the end of the body where nothing else ends it.
        if self.eof && !self.response.close(sink) {
            return Err(ProxyError::UpstreamClosed);
        }
        Ok(self.response.is_done())
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Result<(), ProxyError>> {
        // A part of a line may be left over.
        let limit = self.input.len() + most;
        match self.io.poll_read_more(cx, &mut self.input, limit) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(n)) => {
                self.eof = n == 0;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(ProxyError::UpstreamClosed)),
        }
    }

    fn is_reusable(&self) -> bool {
        self.out.is_empty() && self.idle_time > Duration::ZERO
    }
}

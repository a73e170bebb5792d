//! Connections to pods: opened, kept while idle, and retired before the pod would close them.
//!
//! Each worker has its own idle list per endpoint, so taking one is uncontended. A connection goes
//! back only after a cleanly framed exchange. This stage never decides whether a request may be
//! sent again; it only says whether any byte of it was written.

use std::{
    io,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, oneshot},
};

use crate::{
    balancer::Endpoint,
    http1::{buffer::Buffer, io::Io},
};

pub(crate) mod gateway;
pub mod h2;

/// Idle connections kept per endpoint and worker; further ones are closed.
const MAX_IDLE: usize = 256;
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
/// How often expired idle connections are closed.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// Why no connection could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, reset or unreachable.
    #[error("cannot connect: {0}")]
    Refused(#[source] io::Error),
    /// It failed on this side: no descriptor or no port is left. Says nothing about the pod.
    #[error("cannot open a connection: {0}")]
    Local(#[source] io::Error),
    /// No answer in time.
    #[error("connecting timed out")]
    TimedOut,
}

/// Opens a TCP connection to `endpoint`.
async fn dial(endpoint: &Endpoint, timeout: Duration) -> Result<TcpStream, ConnectError> {
    use rustix::io::Errno;
    let connecting = tokio::time::timeout(timeout, TcpStream::connect(endpoint.address));
    let tcp = match connecting.await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(e)) => {
            let local = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::ADDRNOTAVAIL];
            let ours = local.iter().any(|l| e.raw_os_error() == Some(l.raw_os_error()));
            return Err(if ours { ConnectError::Local(e) } else { ConnectError::Refused(e) });
        }
        Err(_) => return Err(ConnectError::TimedOut),
    };
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

/// One HTTP/1.1 connection to a pod.
pub(crate) struct Connection {
    pub(crate) io: Io,
    /// Read and not consumed.
    pub(crate) input: Buffer,
    /// To be written.
    pub(crate) out: Buffer,
    /// Any byte of the present request reached the socket.
    pub(crate) written: bool,
    /// How long the pod keeps it idle.
    pub(crate) idle_time: Duration,
    idle_since: Instant,
    /// Until the pod's first answer on it: a place among its fresh connections.
    fresh: Option<oneshot::Sender<()>>,
}

impl Connection {
    /// Opens a connection to `endpoint`.
    pub(crate) async fn open(endpoint: &Endpoint, timeout: Duration) -> Result<Self, ConnectError> {
        Ok(Self::over(Io::Plain(dial(endpoint, timeout).await?)))
    }

    /// Keeps `permit` until the pod answers on this connection, or has had time to accept it.
    pub(crate) fn hold_fresh(&mut self, permit: OwnedSemaphorePermit) {
        let (answered, told) = oneshot::channel();
        self.fresh = Some(answered);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(ACCEPT_TIME, told).await;
            drop(permit);
        });
    }

    /// The pod answered: it has accepted the connection.
    pub(crate) fn answered(&mut self) {
        self.fresh = None;
    }

    /// A pipe to a pod that speaks HTTP/2 only, for one request.
    pub(crate) async fn open_gateway(
        pool: &Arc<Pool>,
        endpoint: &Arc<Endpoint>,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let pipe = gateway::open(pool, endpoint, timeout).await?;
        Ok(Self::over(Io::Pipe(pipe)))
    }

    fn over(io: Io) -> Self {
        Self {
            io,
            input: Buffer::default(),
            out: Buffer::default(),
            written: false,
            idle_time: DEFAULT_IDLE,
            idle_since: Instant::now(),
            fresh: None,
        }
    }

    /// Takes over the pod's `Keep-Alive: timeout`, in seconds.
    pub(crate) fn keep_alive_timeout(&mut self, seconds: Option<u64>) {
        if let Some(seconds) = seconds {
            let offered = Duration::from_secs(seconds).min(MAX_IDLE_TIME);
            self.idle_time = offered.saturating_sub(IDLE_MARGIN.min(offered / 2));
        }
    }

    /// Writes what is to be written.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.out.len();
        let flushed = self.io.poll_flush_buffer(cx, &mut self.out, usize::MAX);
        self.written |= self.out.len() < before;
        flushed
    }

    fn expired(&self, now: Instant) -> bool {
        now.duration_since(self.idle_since) >= self.idle_time
    }

    /// Neither closed by the pod nor with bytes that no request asked for.
    fn alive(&self, now: Instant) -> bool {
        if self.expired(now) {
            return false;
        }
        let Some(tcp) = self.io.tcp() else { return false };
        // The reactor may not have seen a FIN of the last moments; the kernel has.
        if now.duration_since(self.idle_since) > PEEK_AFTER {
            let mut byte = [std::mem::MaybeUninit::uninit()];
            let peeked = socket2::SockRef::from(tcp).peek(&mut byte);
            return matches!(peeked, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        }
        let mut byte = [0];
        matches!(tcp.try_read(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Idle connections of one worker to one endpoint, newest last.
#[derive(Default)]
pub struct IdleConnections {
    list: Vec<Connection>,
    /// The worker's reaper knows of this endpoint.
    known: bool,
}

/// What one worker keeps to reach pods.
pub(crate) struct Pool {
    worker: usize,
    /// Endpoints that may have idle connections here.
    reap: Mutex<Vec<Weak<Endpoint>>>,
}

impl Pool {
    pub(crate) fn new(worker: usize) -> Self {
        Self { worker, reap: Mutex::default() }
    }

    fn idle<'a>(&self, endpoint: &'a Endpoint) -> Option<&'a Mutex<IdleConnections>> {
        endpoint.idle.get(self.worker)
    }

    /// The slot of this worker's multiplexed connection.
    pub(crate) fn h2_slot<'a>(&self, endpoint: &'a Endpoint) -> Option<&'a h2::Slot> {
        endpoint.h2.get(self.worker)
    }

    /// The idle connection used last that still lives.
    pub(crate) fn take(&self, endpoint: &Endpoint) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.idle(endpoint)?.lock();
        while let Some(mut connection) = idle.list.pop() {
            if connection.alive(now) {
                connection.written = false;
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection after a clean exchange.
    pub(crate) fn put(&self, endpoint: &Arc<Endpoint>, mut connection: Connection) {
        if !connection.input.is_empty() || !connection.out.is_empty() {
            return;
        }
        connection.idle_since = Instant::now();
        let Some(idle) = self.idle(endpoint) else { return };
        let mut idle = idle.lock();
        if idle.list.len() < MAX_IDLE {
            idle.list.push(connection);
        }
        if !std::mem::replace(&mut idle.known, true) {
            drop(idle);
            self.reap.lock().push(Arc::downgrade(endpoint));
        }
    }

    /// Closes expired idle connections, for ever.
    pub(crate) async fn reap(self: Arc<Self>) {
        let mut tick = tokio::time::interval(REAP_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let endpoints = std::mem::take(&mut *self.reap.lock());
            let kept: Vec<_> = endpoints.into_iter().filter(|e| self.reap_endpoint(e)).collect();
            self.reap.lock().extend(kept);
        }
    }

    /// True while it still has idle connections.
    fn reap_endpoint(&self, endpoint: &Weak<Endpoint>) -> bool {
        let Some(endpoint) = endpoint.upgrade() else { return false };
        let Some(idle) = self.idle(&endpoint) else { return false };
        let now = Instant::now();
        let mut idle = idle.lock();
        // The list is in the order of last use, so the first that stays ends the search.
        let expired = idle.list.iter().take_while(|c| c.expired(now)).count();
        let closed: Vec<_> = idle.list.drain(..expired).collect();
        idle.known = !idle.list.is_empty();
        let known = idle.known;
        drop(idle);
        drop(closed);
        known
    }
}

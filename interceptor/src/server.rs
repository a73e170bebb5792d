//! Accept: each worker takes connections from a listening socket of its own.
//!
//! Each worker is one thread with its own runtime, timers and connection pool, so a request is
//! served without leaving its core, and a connection that is used once costs no other thread
//! anything: it is accepted, read, answered and closed where the kernel put it.
//!
//! The kernel spreads connections over the sockets of a port (`SO_REUSEPORT`) by a hash of their
//! addresses. That is uneven when they are few and stay, so a worker that has more than another
//! hands over to the one with the fewest what has shown that it stays: HTTP/1.1 by its second
//! request, HTTP/2 by its preface. TLS is handed over before its handshake, which costs far more.
//!
//! Every socket is emptied before it closes: a client that finished its handshake is served.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use kipper_process::drain::DrainWatch;
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    headers::Peer,
    http1::connection as http1,
    http2::connection::{self as http2, PREFACE},
    upstream::pool::Pool,
    wire::{
        buffer::Buffer,
        io::{Io, Rewound},
        tcp,
        timer::Deadline,
    },
    worker::{OpenConnection, Weight, Worker, WorkerContext},
};

/// Connections the kernel queues for each worker.
const BACKLOG: i32 = 4096;
/// Pause after the process ran out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A worker keeps what stays although another one has fewer connections, by up to one in this many.
/// Below it workers are level to the connection; far above it a handover buys nothing.
const LEVEL: usize = 8;
/// The first read takes at most this much.
const SNIFFED: usize = 4096;

/// A bound port: one listening socket per worker, in their order.
pub(crate) struct Port {
    listeners: Vec<TcpListener>,
}

impl Port {
    /// Binds `address` for every worker.
    pub(crate) fn bind(address: SocketAddr, workers: &Workers) -> io::Result<Self> {
        // The first one is bound and listens before it shares the port: so it finds out whether
        // another process has it, and a second interceptor does not get in beside this one.
        let socket = || socket(address, workers);
        let first = socket()?;
        first.bind(&address.into())?;
        first.listen(BACKLOG)?;
        first.set_reuse_port(true)?;
        let bound = first.local_addr()?;
        let mut sockets = vec![first];
        while sockets.len() < workers.list.len() {
            let next = socket()?;
            next.set_reuse_port(true)?;
            next.bind(&bound)?;
            next.listen(BACKLOG)?;
            sockets.push(next);
        }
        let register = |(socket, worker): (Socket, &Arc<Worker>)| {
            // Registered with the worker's reactor, not with the caller's.
            let _context = worker.handle.enter();
            TcpListener::from_std(socket.into())
        };
        let listeners = sockets.into_iter().zip(workers.list.iter()).map(register);
        Ok(Self { listeners: listeners.collect::<io::Result<_>>()? })
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        match self.listeners.first() {
            Some(listener) => listener.local_addr(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// A socket whose accepted connections send what is written at once, and notice clients that
/// vanish: they inherit that.
fn socket(address: SocketAddr, workers: &Workers) -> io::Result<Socket> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(worker) = workers.list.first() {
        let limits = &worker.context.limits;
        tcp::keep_alive(&socket, limits.keep_alive)?;
        tcp::user_timeout(&socket, limits.user_timeout)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Raises the limit of open files as far as allowed, and returns how many client connections fit:
/// an eighth is kept for connections to pods and everything else.
pub(crate) fn connection_cap(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let files = files.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let cap = wanted.min(files - files / 8);
    if cap < wanted {
        tracing::info!(files, cap, "the limit of open files allows fewer connections than wanted");
    }
    cap
}

/// The data plane's threads. They end when `stop` is cancelled.
pub(crate) struct Workers {
    list: Arc<[Arc<Worker>]>,
    threads: Vec<std::thread::JoinHandle<()>>,
    stop: CancellationToken,
}

impl Workers {
    /// Starts `count` threads.
    pub(crate) fn start(context: &Arc<WorkerContext>, count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (mut list, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let pool = Arc::new(Pool::new(index));
            list.push(Arc::new(Worker {
                context: Arc::clone(context),
                pool: Arc::clone(&pool),
                index,
                connections: AtomicUsize::new(0),
                handle: runtime.handle().clone(),
            }));
            let stop = stop.clone();
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = pool.reap() => {}
                        () = stop.cancelled() => {}
                    }
                });
                // What still runs on it was cut by the drain's deadline.
                runtime.shutdown_background();
            })?);
        }
        Ok(Self { list: list.into(), threads, stop })
    }

    pub(crate) fn list(&self) -> Arc<[Arc<Worker>]> {
        Arc::clone(&self.list)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Accepts on every worker until the drain begins; then takes what the kernel has queued, and
/// closes the port.
pub(crate) async fn accept(
    port: Port,
    tls: Option<Arc<ServerConfig>>,
    workers: Arc<[Arc<Worker>]>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let mut accepting = JoinSet::new();
    for (index, listener) in port.listeners.into_iter().enumerate() {
        let Some(worker) = workers.get(index) else { return };
        let drain = worker.context.drain.clone();
        let guard = drain.guard();
        let acceptor = Acceptor { index, workers: Arc::clone(&workers), tls: tls.clone() };
        let accept = async move {
            acceptor.run(listener, &drain).await;
            drop(guard);
        };
        accepting.spawn_on(accept, &worker.handle);
    }
    while accepting.join_next().await.is_some() {}
}

/// What one worker does for one port.
struct Acceptor {
    /// The worker it runs on.
    index: usize,
    workers: Arc<[Arc<Worker>]>,
    tls: Option<TlsAcceptor>,
}

impl Acceptor {
    async fn run(&self, listener: TcpListener, drain: &DrainWatch) {
        let mut draining = std::pin::pin!(drain.draining());
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                () = &mut draining => break,
            };
            match accepted {
                Ok((tcp, peer)) => self.dispatch(tcp, peer.ip()),
                Err(e) if is_connection_error(&e) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept, pausing");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        self.empty(listener);
    }

    /// Clients that finished their handshake before the port closes are not reset. The kernel is
    /// asked, not the reactor: it knows of those that came since the reactor last looked.
    fn empty(&self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        loop {
            match listener.accept() {
                Ok((tcp, peer)) if tcp.set_nonblocking(true).is_ok() => {
                    if let Ok(tcp) = TcpStream::from_std(tcp) {
                        self.dispatch(tcp, peer.ip());
                    }
                }
                Ok(_) => {}
                Err(e) if is_connection_error(&e) => {}
                Err(_) => return,
            }
        }
    }

    fn dispatch(&self, tcp: TcpStream, peer: IpAddr) {
        let Some(worker) = self.workers.get(self.index) else { return };
        let weight = if self.tls.is_some() { Weight::Tls } else { Weight::Plain };
        let Some(open) = OpenConnection::new(worker, weight) else { return };
        let peer = worker.peer(peer, self.tls.is_some());
        match self.tls.clone() {
            None => spawn(worker, start(tcp, peer, open, Arc::clone(&self.workers))),
            Some(acceptor) => {
                let protocol = Protocol::Tls(acceptor);
                let stays = Stays { protocol, tcp, input: Buffer::default(), peer, open };
                if let Some(stays) = stays.level(&self.workers) {
                    spawn(worker, stays.serve());
                }
            }
        }
    }
}

/// Boxed before it is wrapped: tokio moves a task's future when it starts and when it ends, and a
/// future that awaits a captured one has room for it twice.
fn spawn(worker: &Worker, serve: impl Future<Output = io::Result<()>> + Send + 'static) {
    let serve = Box::pin(serve);
    worker.handle.spawn(async move {
        if let Err(error) = serve.await {
            tracing::debug!(%error, "connection not served");
        }
    });
}

/// Who gets a connection that stays: the worker at `own`, unless it has more others than the one with
/// the fewest has.
fn level(counts: impl Iterator<Item = usize> + Clone, own: usize) -> usize {
    let here = counts.clone().nth(own).unwrap_or_default();
    match counts.enumerate().min_by_key(|(_, count)| *count) {
        Some((index, least)) if here > least + least / LEVEL => index,
        _ => own,
    }
}

/// The connection failed, not the listener.
fn is_connection_error(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(e.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A connection without TLS: HTTP/2, or HTTP/1.1 that may be used once.
async fn start(
    tcp: TcpStream,
    peer: Peer,
    open: OpenConnection,
    workers: Arc<[Arc<Worker>]>,
) -> io::Result<()> {
    let Some(stays) = first(tcp, peer, open).await? else { return Ok(()) };
    let Some(stays) = stays.level(&workers) else { return Ok(()) };
    stays.serve().await
}

/// Finds out what is spoken, and serves the first request of HTTP/1.1. `None` = it was the only one.
async fn first(tcp: TcpStream, peer: Peer, open: OpenConnection) -> io::Result<Option<Stays>> {
    let worker = Arc::clone(open.worker());
    let (mut io, mut input) = (Io::Plain(tcp), Buffer::default());
    let until = Instant::now() + worker.context.limits.header;
    let mut deadline = Deadline::new(until);
    if !poll_fn(|cx| poll_sniff(cx, &mut io, &mut input, &mut deadline, until)).await? {
        return Ok(None);
    }
    let protocol = if input.as_slice().starts_with(PREFACE) {
        Protocol::Http2
    } else {
        let mut connection = http1::Connection::new(io, input, deadline, peer, &worker);
        if !connection.serve_first(&worker).await {
            return Ok(None);
        }
        (io, input) = connection.into_input();
        Protocol::Http1
    };
    let Io::Plain(tcp) = io else { return Ok(None) };
    Ok(Some(Stays { protocol, tcp, input, peer, open }))
}

/// What is to be done with a connection that stays.
enum Protocol {
    Tls(TlsAcceptor),
    Http1,
    Http2,
}

/// A connection that stays, with the first bytes of what comes now.
struct Stays {
    protocol: Protocol,
    tcp: TcpStream,
    input: Buffer,
    peer: Peer,
    open: OpenConnection,
}

impl Stays {
    /// Hands it over, or returns it to be served where it is.
    fn level(mut self, workers: &[Arc<Worker>]) -> Option<Self> {
        let own = self.open.worker().index;
        // Without this one.
        let others = |worker: &Arc<Worker>| {
            worker.connections.load(Relaxed) - usize::from(worker.index == own)
        };
        let worker = workers.get(level(workers.iter().map(others), own))?;
        if worker.index == own {
            return Some(self);
        }
        self.open.move_to(worker);
        // It has to leave the reactor it is registered with.
        let tcp = self.tcp.into_std().ok()?;
        spawn(worker, async move {
            let tcp = TcpStream::from_std(tcp)?;
            Self { tcp, ..self }.serve().await
        });
        None
    }

    /// Serves it on the worker that it is counted for, which is the one this runs on.
    async fn serve(self) -> io::Result<()> {
        let Self { protocol, tcp, input, peer, mut open } = self;
        let worker = Arc::clone(open.worker());
        let header = worker.context.limits.header;
        let is_new = matches!(protocol, Protocol::Tls(_));
        let (io, h2) = match protocol {
            Protocol::Http1 => (Io::Plain(tcp), false),
            Protocol::Http2 => (Io::Plain(tcp), true),
            Protocol::Tls(acceptor) => {
                let shaking = Box::pin(tokio::time::timeout(header, acceptor.accept(tcp)));
                let stream = shaking.await.map_err(io::Error::from)??;
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                (Io::Tls(Box::new(stream)), h2)
            }
        };
        if h2 {
            if !open.weigh(Weight::Http2) {
                return Ok(());
            }
            Box::pin(http2::serve(Rewound { head: input, inner: io }, peer, worker)).await;
        } else {
            let deadline = Deadline::new(Instant::now() + header);
            let mut connection = http1::Connection::new(io, input, deadline, peer, &worker);
            if !is_new || connection.serve_first(&worker).await {
                connection.serve(&worker).await;
            }
        }
        Ok(())
    }
}

/// Reads until the input is, or cannot become, the HTTP/2 preface. False = the client left.
fn poll_sniff(
    cx: &mut Context<'_>,
    io: &mut Io,
    input: &mut Buffer,
    deadline: &mut Deadline,
    until: Instant,
) -> Poll<io::Result<bool>> {
    loop {
        let n = input.len().min(PREFACE.len());
        let undecided = input.as_slice()[..n] == PREFACE[..n] && n < PREFACE.len();
        if !undecided {
            return Poll::Ready(Ok(true));
        }
        match io.poll_read_more(cx, input, SNIFFED) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Ok(false)),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            Poll::Pending => {
                let timed_out = io::ErrorKind::TimedOut;
                return deadline.poll(cx, until).map(|()| Err(timed_out.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests;

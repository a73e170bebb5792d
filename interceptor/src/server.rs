//! Accept: connections in, handed to the worker with the fewest.
//!
//! Each worker is one thread with its own runtime, timers and connection pool, so a request is
//! served without leaving its core. One acceptor per port, on the caller's runtime, keeps the
//! workers level, which `SO_REUSEPORT` does not for few connections.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    http1::connection as http1,
    http2::connection::{self as http2, PREFACE},
    upstream::pool::Pool,
    wire::{
        buffer::Buffer,
        io::{Io, Rewound},
    },
    worker::{OpenConnection, Plane, Worker},
};

/// Connections the kernel queues for us.
const BACKLOG: u32 = 4096;
/// Pause after the process ran out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds a listener.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
    pub(crate) fn start(plane: &Arc<Plane>, count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (mut list, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let pool = Arc::new(Pool::new(index));
            list.push(Arc::new(Worker {
                plane: Arc::clone(plane),
                pool: Arc::clone(&pool),
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

/// Accepts until the drain begins; then takes what the kernel has queued, and closes the port.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    workers: Arc<[Arc<Worker>]>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let Some(drain) = workers.first().map(|w| w.plane.drain.clone()) else { return };
    let _accepting = drain.guard();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = drain.draining() => break,
        };
        match accepted {
            Ok((tcp, _)) => dispatch(tcp, tls.clone(), &workers),
            Err(e) if is_connection_error(&e) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept, pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Clients that finished their handshake before the port closes are not reset.
    while let Some(Ok((tcp, _))) = futures_util::FutureExt::now_or_never(listener.accept()) {
        dispatch(tcp, tls.clone(), &workers);
    }
}

/// The connection failed, not the listener.
fn is_connection_error(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(e.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn dispatch(tcp: TcpStream, tls: Option<TlsAcceptor>, workers: &[Arc<Worker>]) {
    let Some(worker) = workers.iter().min_by_key(|w| w.connections.load(Relaxed)) else { return };
    let Some(open) = OpenConnection::new(worker) else { return };
    // The stream belongs to this runtime's reactor; it is registered anew with the worker's.
    let Ok(tcp) = tcp.into_std() else { return };
    worker.handle.spawn(async move {
        if let Err(error) = start(tcp, tls, open).await {
            tracing::debug!(%error, "connection not started");
        }
    });
}

/// First bytes of a connection: TLS if the port has it, then HTTP/2 or HTTP/1.
async fn start(
    tcp: std::net::TcpStream,
    tls: Option<TlsAcceptor>,
    open: OpenConnection,
) -> io::Result<()> {
    let worker = Arc::clone(open.worker());
    let tcp = TcpStream::from_std(tcp)?;
    let _ = tcp.set_nodelay(true);
    let peer = worker.peer(tcp.peer_addr()?.ip(), tls.is_some());
    let header = worker.plane.limits.header;
    let (mut io, alpn_h2) = match tls {
        None => (Io::Plain(tcp), false),
        Some(acceptor) => {
            let shaking = Box::pin(tokio::time::timeout(header, acceptor.accept(tcp)));
            let stream = shaking.await.map_err(io::Error::from)??;
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            (Io::Tls(Box::new(stream)), h2)
        }
    };
    let mut input = Buffer::default();
    if !alpn_h2 && !io.is_tls() {
        let sniffed = tokio::time::timeout(header, sniff(&mut io, &mut input)).await;
        if !sniffed.map_err(io::Error::from)?? {
            return Ok(());
        }
    }
    if alpn_h2 || input.as_slice().starts_with(PREFACE) {
        Box::pin(http2::serve(Rewound { head: input, inner: io }, peer, worker)).await;
        return Ok(());
    }
    http1::serve(io, input, peer, worker).await;
    Ok(())
}

/// Reads until the input is, or cannot become, the HTTP/2 preface. False = the client left.
async fn sniff(io: &mut Io, input: &mut Buffer) -> io::Result<bool> {
    loop {
        let n = input.len().min(PREFACE.len());
        let undecided = input.as_slice()[..n] == PREFACE[..n] && n < PREFACE.len();
        if !undecided {
            return Ok(true);
        }
        if poll_fn(|cx| io.poll_read_more(cx, input, 4096)).await? == 0 {
            return Ok(false);
        }
    }
}

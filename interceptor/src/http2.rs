//! Downstream HTTP/2: the same stages as HTTP/1.1, one stream at a time, framed by hyper.
//!
//! Streams go to pods over HTTP/1.1 (`bridge`) or, for gRPC and `protocol: h2c`, over HTTP/2. A
//! client that resets a stream or closes the connection drops the stream's future, and with it
//! its place in the queue or its lease.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{clock, headers::Peer, worker::Worker};

mod body;
mod bridge;
mod stream;

/// Bounds of downstream HTTP/2 connections (RFC 9113 section 10.5).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Streams open at a time on one connection.
    pub streams: u32,
    /// Longest header list, decoded.
    pub header_list: u32,
    /// Streams reset by the client before they were looked at; beyond it the connection ends.
    pub pending_resets: usize,
    /// A connection without open streams ends after this.
    pub idle: Duration,
    /// A silent connection is pinged this often…
    pub ping_interval: Duration,
    /// …and ends when no answer comes in time.
    pub ping_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 256,
            header_list: 32 << 10,
            pending_resets: 50,
            idle: Duration::from_secs(180),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
        }
    }
}

/// The connection preface (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams of one connection: how many are open, and when the last one ended.
#[derive(Default)]
struct Activity {
    open: AtomicUsize,
    last: AtomicU64,
}

struct Active(Arc<Activity>);

impl Active {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.last.store(clock::now(), Relaxed);
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Serves a connection whose preface is still to be read from `io`.
pub(crate) async fn serve<S>(io: S, peer: Peer, worker: Arc<Worker>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &worker.plane.h2;
    let activity = Arc::new(Activity::default());
    activity.last.store(clock::now(), Relaxed);
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, active) = (Arc::clone(&worker), Active::new(&activity));
        async move {
            let response: Response<body::ResponseBody> =
                stream::serve(request, peer, worker, Box::new(active)).await;
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_list)
        .max_pending_accept_reset_streams(limits.pending_resets)
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout);
    let connection = builder.serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    let mut ending = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "HTTP/2 connection ended");
                }
                return;
            }
            () = worker.plane.drain.draining(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = idle(&activity, limits.idle), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Resolves once no stream has been open for `limit`.
async fn idle(activity: &Activity, limit: Duration) {
    loop {
        let since = clock::now().saturating_sub(activity.last.load(Relaxed));
        let left = limit.saturating_sub(Duration::from_micros(since));
        let open = activity.open.load(Relaxed) > 0;
        if !open && left.is_zero() {
            return;
        }
        tokio::time::sleep(if open { limit } else { left }).await;
    }
}

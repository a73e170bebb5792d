//! One downstream HTTP/2 connection: streams in, within bounds, each served by a task of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::server::Builder;
use tokio::io::{AsyncRead, AsyncWrite};

use super::stream;
use crate::{
    clock,
    headers::Peer,
    wire::{keepalive, outbox::SEND_BUFFER},
    worker::Worker,
};

/// The connection preface (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a client may send ahead on all streams of a connection together, once one of them has a
/// body. Until then, and where too much is kept already, it is what RFC 9113 section 6.9.2 begins
/// with.
const CONNECTION_WINDOW: u32 = 1 << 20;
const FIRST_WINDOW: u32 = 65_535;

/// Streams of one connection: how many are open, and when the last one ended.
#[derive(Default)]
struct Activity {
    open: AtomicUsize,
    last: AtomicU64,
}

/// Counts one open stream while it lives.
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
    let limits = &worker.context.h2;
    let mut builder = Builder::new();
    builder
        .initial_window_size(limits.window)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_list)
        .max_pending_accept_reset_streams(limits.pending_resets);
    let shaking = builder.handshake::<S, Bytes>(io);
    let mut connection = match tokio::time::timeout(worker.context.limits.header, shaking).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, "HTTP/2 connection not started"),
        Err(_) => return,
    };
    let activity = Arc::new(Activity::default());
    activity.last.store(clock::now(), Relaxed);
    let pings = connection.ping_pong();
    let lost = async {
        match pings {
            Some(pings) => {
                keepalive::lost(pings, limits.ping_interval, limits.ping_timeout).await;
            }
            None => std::future::pending().await,
        }
    };
    let ending = async {
        tokio::select! {
            () = worker.context.drain.draining() => {}
            () = idle(&activity, limits.idle) => {}
        }
    };
    let (mut lost, mut ending) = (std::pin::pin!(lost), std::pin::pin!(ending));
    let mut is_ending = false;
    let mut window = None;
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    if window.is_none() && !request.body().is_end_stream() {
                        let more = usize::try_from(CONNECTION_WINDOW - FIRST_WINDOW);
                        window = worker.context.buffers.reserve(more.unwrap_or(usize::MAX));
                        if window.is_some() {
                            connection.set_target_window_size(CONNECTION_WINDOW);
                        }
                    }
                    let active = Active::new(&activity);
                    let worker = Arc::clone(&worker);
                    // Boxed: tokio moves a task's future when it starts and when it ends.
                    tokio::spawn(Box::pin(async move {
                        stream::serve(request, respond, peer, &worker).await;
                        drop(active);
                    }));
                }
                Some(Err(error)) => return tracing::debug!(%error, "HTTP/2 connection ended"),
                None => return,
            },
            () = ending.as_mut(), if !is_ending => {
                is_ending = true;
                connection.graceful_shutdown();
            }
            () = lost.as_mut() => return tracing::debug!("HTTP/2 client is silent"),
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

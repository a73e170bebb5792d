//! What the data plane's workers have: one runtime thread and one connection pool each, and the
//! parts they share.

use std::{
    cell::RefCell,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use kipper_process::drain::{DrainGuard, DrainWatch};

use crate::{
    headers::Peer,
    limits::{Http2Limits, Limits, PodLimits},
    metrics::Metrics,
    router::Router,
    source::WakeFallback,
    upstream::pool::Pool,
    wire::budget::Budget,
};

/// Shared by all workers.
pub(crate) struct WorkerContext {
    /// Host to function.
    pub router: Arc<Router>,
    /// Metric families.
    pub metrics: Arc<Metrics>,
    /// Timers and sizes of downstream connections.
    pub limits: Limits,
    /// Bounds of downstream HTTP/2 connections.
    pub h2: Http2Limits,
    /// Networks whose `X-Forwarded-*` count.
    pub trusted_proxies: Vec<IpNet>,
    /// Timers and sizes of connections to pods.
    pub pods: PodLimits,
    /// What exchanges keep for slow sides.
    pub buffers: Budget,
    /// Second wake path, and how long a request waits before it is taken.
    pub wake_fallback: Option<(Arc<dyn WakeFallback>, Duration)>,
    /// Most downstream connections.
    pub max_connections: usize,
    /// Tells of the drain: once it is announced, connections close after their next answer; once it
    /// begins, idle ones close too.
    pub drain: DrainWatch,
    pub(crate) open: AtomicUsize,
}

/// One data-plane thread.
pub(crate) struct Worker {
    pub(crate) context: Arc<WorkerContext>,
    pub(crate) pool: Arc<Pool>,
    /// Its place among the workers.
    pub(crate) index: usize,
    /// Downstream connections it serves; the one with the fewest is handed those of others.
    pub(crate) connections: AtomicUsize,
    pub(crate) handle: tokio::runtime::Handle,
}

impl Worker {
    pub(crate) fn peer(&self, ip: IpAddr, tls: bool) -> Peer {
        let peer = Peer::new(ip, tls, &self.context.trusted_proxies);
        let ip = ip.to_canonical();
        let fleet = self.context.router.context().fleet.load();
        let mut members = fleet.members.iter().filter_map(|m| m.address);
        if members.any(|m| m.ip().to_canonical() == ip) { peer.as_sibling() } else { peer }
    }
}

/// The present time as an HTTP date, formatted once per second and thread.
pub(crate) fn http_date() -> [u8; 29] {
    thread_local! {
        static DATE: RefCell<(u64, [u8; 29])> = const { RefCell::new((0, [b' '; 29])) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    DATE.with_borrow_mut(|(at, text)| {
        if *at != second {
            *at = second;
            let formatted = httpdate::fmt_http_date(now);
            text.copy_from_slice(formatted.as_bytes().get(..29).unwrap_or(&[b' '; 29]));
        }
        *text
    })
}

/// Counts one downstream connection while it lives.
pub(crate) struct OpenConnection(
    Arc<Worker>,
    #[allow(dead_code, reason = "held for its drop")] DrainGuard,
);

impl OpenConnection {
    /// `None` at the connection cap.
    pub(crate) fn new(worker: &Arc<Worker>) -> Option<Self> {
        let context = &worker.context;
        if context.open.fetch_add(1, Relaxed) >= context.max_connections {
            context.open.fetch_sub(1, Relaxed);
            context.metrics.connections_refused.inc();
            return None;
        }
        worker.connections.fetch_add(1, Relaxed);
        context.metrics.connections.inc();
        Some(Self(Arc::clone(worker), context.drain.guard()))
    }

    pub(crate) fn worker(&self) -> &Arc<Worker> {
        &self.0
    }

    /// Another worker serves it from now on.
    pub(crate) fn move_to(&mut self, worker: &Arc<Worker>) {
        worker.connections.fetch_add(1, Relaxed);
        let from = std::mem::replace(&mut self.0, Arc::clone(worker));
        from.connections.fetch_sub(1, Relaxed);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
        self.0.context.open.fetch_sub(1, Relaxed);
        self.0.context.metrics.connections.dec();
    }
}

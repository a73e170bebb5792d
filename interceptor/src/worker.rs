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
    observe::Observers,
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
    /// Who is told of requests beside the metrics.
    pub observers: Option<Observers>,
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
    /// Most downstream connections, by their weight.
    pub max_connections: usize,
    /// Tells of the drain: once it is announced, connections close after their next answer; once it
    /// begins, idle ones close too.
    pub drain: DrainWatch,
    pub(crate) open: AtomicUsize,
}

impl WorkerContext {
    /// Counts `weight` more, unless the cap is reached.
    fn admits(&self, weight: usize) -> bool {
        let before = self.open.fetch_add(weight, Relaxed);
        let admitted = before.saturating_add(weight) <= self.max_connections;
        if !admitted {
            self.open.fetch_sub(weight, Relaxed);
            self.metrics.connections_refused.inc();
        }
        admitted
    }
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

/// What a connection counts for under the cap: in heads of the size that is
/// always taken, what it may keep before anything of it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Weight {
    Plain = 1,
    /// A TLS record, or a part of a handshake, beside it.
    Tls = 4,
    /// A frame, a field section and the first window.
    Http2 = 8,
}

/// Counts one downstream connection while it lives.
pub(crate) struct OpenConnection {
    worker: Arc<Worker>,
    weight: usize,
    #[allow(dead_code, reason = "held for its drop")]
    guard: DrainGuard,
}

impl OpenConnection {
    /// `None` at the connection cap.
    pub(crate) fn new(worker: &Arc<Worker>, weight: Weight) -> Option<Self> {
        let context = &worker.context;
        let weight = weight as usize;
        if !context.admits(weight) {
            return None;
        }
        worker.connections.fetch_add(1, Relaxed);
        context.metrics.connections.inc();
        let guard = context.drain.guard();
        Some(Self { worker: Arc::clone(worker), weight, guard })
    }

    pub(crate) fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// It counts for this much from now on; false at the cap.
    pub(crate) fn weigh(&mut self, weight: Weight) -> bool {
        let more = (weight as usize).saturating_sub(self.weight);
        let admitted = self.worker.context.admits(more);
        if admitted {
            self.weight += more;
        }
        admitted
    }

    /// Another worker serves it from now on.
    pub(crate) fn move_to(&mut self, worker: &Arc<Worker>) {
        worker.connections.fetch_add(1, Relaxed);
        let from = std::mem::replace(&mut self.worker, Arc::clone(worker));
        from.connections.fetch_sub(1, Relaxed);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let Self { worker, weight, .. } = self;
        worker.connections.fetch_sub(1, Relaxed);
        worker.context.open.fetch_sub(*weight, Relaxed);
        worker.context.metrics.connections.dec();
    }
}

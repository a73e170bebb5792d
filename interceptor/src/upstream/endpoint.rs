//! One pod address, with all this proxy has of it. Lives as long as the source lists it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{http1::Connection, http2::Slot};
use crate::{balancer::Load, fleet::Share, source::EndpointState};

/// Connections opened to an endpoint that it has not answered on yet. They may all stand in the
/// pod's accept queue, often 128 long, together with those of other interceptors; one more than it
/// holds is reset after the request was written, when it can no longer be sent elsewhere.
const FRESH_CONNECTIONS: usize = 32;

/// Idle connections of one worker to one endpoint, newest last.
#[derive(Default)]
pub(super) struct IdleConnections {
    pub(super) list: Vec<Connection>,
    /// The worker's reaper knows of this endpoint.
    pub(super) known: bool,
}

/// One pod address.
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Another interceptor, which owns pods; see [`crate::fleet`].
    pub sibling: bool,
    /// What it has to do, and whether it can.
    pub load: Load,
    /// A probe of it is under way.
    probing: AtomicBool,
    /// Permits for connections that the pod has not answered on yet; see [`FRESH_CONNECTIONS`].
    pub(crate) fresh: Arc<Semaphore>,
    /// Idle connections to it, one list per worker.
    pub(super) idle: Box<[Mutex<IdleConnections>]>,
    /// Multiplexed HTTP/2 connection to it, one per worker; made with the first one, which most never have.
    http2: OnceLock<Box<[Slot]>>,
}

impl AsRef<Load> for Endpoint {
    fn as_ref(&self) -> &Load {
        &self.load
    }
}

impl Endpoint {
    /// A new endpoint as its source describes it.
    pub fn new(state: EndpointState, workers: usize, now: u64) -> Self {
        Self {
            address: state.address,
            sibling: false,
            load: Load::new(state.ready, state.terminating, now),
            probing: AtomicBool::new(false),
            fresh: Arc::new(Semaphore::new(FRESH_CONNECTIONS)),
            idle: (0..workers).map(|_| Mutex::default()).collect(),
            http2: OnceLock::new(),
        }
    }

    /// The slot of a worker's multiplexed connection.
    pub(super) fn http2(&self, worker: usize) -> Option<&Slot> {
        let make = || self.idle.iter().map(|_| Slot::default()).collect();
        self.http2.get_or_init(make).get(worker)
    }

    /// Another interceptor: it sees to its pods itself.
    fn sibling(address: SocketAddr, workers: usize, now: u64) -> Self {
        let state = EndpointState { address, ready: true, terminating: false };
        let endpoint = Self { sibling: true, ..Self::new(state, workers, now) };
        endpoint.load.open();
        endpoint
    }

    /// Claims the one probe an endpoint may have at a time.
    pub(crate) fn start_probe(self: &Arc<Self>) -> Option<ProbeGuard> {
        let free = !self.probing.swap(true, Relaxed);
        free.then(|| ProbeGuard(Arc::clone(self)))
    }
}

/// A probe under way; the next one may start when it is dropped.
pub(crate) struct ProbeGuard(Arc<Endpoint>);

impl ProbeGuard {
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for ProbeGuard {
    fn drop(&mut self) {
        self.0.probing.store(false, Relaxed);
    }
}

/// The endpoints of one function: an immutable list, replaced as a whole.
#[derive(Default)]
pub struct Endpoints {
    /// Every listed endpoint, usable or not.
    pub all: Vec<Arc<Endpoint>>,
}

impl Endpoints {
    /// The next list: endpoints that stay keep their state, new ones start afresh.
    pub fn updated(&self, share: &Share, workers: usize, now: u64) -> Self {
        let known = |address, sibling| {
            self.all.iter().find(|e| e.address == address && e.sibling == sibling).map(Arc::clone)
        };
        let pods = share.pods.iter().map(|state| match known(state.address, false) {
            Some(known) => {
                known.load.update(state.ready, state.terminating, now);
                known
            }
            None => Arc::new(Endpoint::new(*state, workers, now)),
        });
        let owners = share.owners.iter().map(|owner| {
            let sibling = || Arc::new(Endpoint::sibling(*owner, workers, now));
            known(*owner, true).unwrap_or_else(sibling)
        });
        Self { all: pods.chain(owners).collect() }
    }

    /// Requests are handed over to other interceptors, which keep the function's limit.
    pub fn hand_over(&self) -> bool {
        self.all.first().is_some_and(|e| e.sibling)
    }

    /// Is any endpoint usable?
    pub fn any_usable(&self, now: u64) -> bool {
        self.all.iter().any(|e| e.load.usable(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(port: u16, ready: bool) -> EndpointState {
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        EndpointState { address, ready, terminating: false }
    }

    #[test]
    fn updates_keep_what_stays() {
        let pods = |a, b| Share { pods: vec![a, b], owners: Vec::new() };
        let set = Endpoints::default().updated(&pods(state(1, true), state(2, true)), 1, 1);
        let next = set.updated(&pods(state(1, true), state(3, false)), 1, 2);
        assert!(Arc::ptr_eq(&set.all[0], &next.all[0]));
        assert!(!next.all[1].load.usable(2));
        assert!(next.all[1].load.wants_probe(2));
    }
}

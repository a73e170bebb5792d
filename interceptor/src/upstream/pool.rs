//! Idle connections to pods, one list per worker and endpoint.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    endpoint::{Endpoint, IdleConnections},
    http1::Connection,
    http2,
};

/// Idle connections kept per endpoint and worker; further ones are closed.
const MAX_IDLE: usize = 256;
/// How often expired idle connections are closed.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

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
    pub(crate) fn http2<'a>(&self, endpoint: &'a Endpoint) -> Option<&'a http2::Slot> {
        endpoint.http2(self.worker)
    }

    /// The idle connection used last that still lives.
    pub(crate) fn take(&self, endpoint: &Endpoint) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.idle(endpoint)?.lock();
        while let Some(connection) = idle.list.pop() {
            if connection.alive(now) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection after a clean exchange.
    pub(crate) fn put(&self, endpoint: &Arc<Endpoint>, mut connection: Connection) {
        if !connection.is_clean() {
            return;
        }
        connection.rest();
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

    /// Closes expired idle connections; never ends.
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

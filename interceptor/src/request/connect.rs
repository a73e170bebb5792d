//! An idle or a new connection to a leased pod. `None` = it could not be had: the endpoint was
//! marked, and the request may go elsewhere.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::timeline::Timeline;
use crate::{
    clock,
    destination::Lease,
    upstream::{dial::ConnectError, endpoint::Endpoint, http1::Connection, http2::Sender},
    worker::Worker,
};

/// Pause when this process has no descriptor or port left for a connection.
const LOCAL_PAUSE: Duration = Duration::from_millis(50);

/// For HTTP/1.1.
pub(super) async fn http1(
    worker: &Worker,
    lease: &Lease,
    timeline: &mut Timeline,
) -> Option<Connection> {
    if let Some(idle) = worker.pool.take(&lease.endpoint) {
        return Some(idle);
    }
    // Boxed: it would be most of what a request that is held occupies.
    Box::pin(new_http1(worker, &lease.endpoint, timeline)).await
}

async fn new_http1(
    worker: &Worker,
    endpoint: &Endpoint,
    timeline: &mut Timeline,
) -> Option<Connection> {
    let started = Instant::now();
    // Others may have to be answered first; one of their connections is as good as a new one.
    let permit = Arc::clone(&endpoint.fresh).acquire_owned().await.ok()?;
    if let Some(idle) = worker.pool.take(endpoint) {
        return Some(idle);
    }
    worker.context.metrics.upstream_connects.inc();
    let opened = Connection::open(endpoint.address, worker.context.pods).await;
    timeline.connected(started);
    let mut connection = settle(endpoint, opened).await?;
    connection.hold_fresh(permit);
    Some(connection)
}

/// For HTTP/2.
pub(super) async fn http2(
    worker: &Worker,
    lease: &Lease,
    timeline: &mut Timeline,
) -> Option<Sender> {
    let endpoint = &lease.endpoint;
    let slot = worker.pool.http2(endpoint)?;
    let mut dialled = None;
    let dials = || {
        worker.context.metrics.upstream_connects.inc();
        dialled = Some(Instant::now());
    };
    let opened = slot.sender(endpoint.address, worker.context.pods, dials).await;
    // Most requests share a connection that is there already.
    if let Some(since) = dialled {
        timeline.connected(since);
    }
    settle(endpoint, opened).await
}

/// Marks an endpoint that could not be connected to; a fault of this side is waited out.
async fn settle<T>(endpoint: &Endpoint, opened: Result<T, ConnectError>) -> Option<T> {
    match opened {
        Ok(opened) => return Some(opened),
        Err(ConnectError::Refused(error)) => {
            tracing::debug!(endpoint = %endpoint.address, %error, "connection refused");
            endpoint.load.refused(clock::now());
        }
        Err(ConnectError::TimedOut) => endpoint.load.timed_out(clock::now()),
        Err(ConnectError::Local(error)) => {
            tracing::warn!(%error, "cannot open connections, pausing");
            tokio::time::sleep(LOCAL_PAUSE).await;
        }
    }
    None
}

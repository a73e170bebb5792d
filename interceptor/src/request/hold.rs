//! A place on a pod, waited for if need be.

use std::{future::Future as _, pin::Pin, sync::Arc, task::Poll, time::Duration};

use super::{client::Client, prepared::Prepared, timeline::Timeline};
use crate::{
    destination::{Acquired, Destination, Lease},
    error::ProxyError,
    probe,
    queue::Waiting,
    worker::Worker,
};

/// Hand-overs of one request, while the interceptors disagree on who owns a pod.
const MAX_HOPS: u32 = 8;
/// How long a request that was handed over waits for them to agree before it goes on.
const HAND_OVER_PAUSE: Duration = Duration::from_millis(250);

/// Leases a place for a request of which `bytes` are in memory. A place with another interceptor is
/// one only for a request that comes from a client, or that has waited here for an owner.
pub(super) async fn lease<C: Client>(
    client: &mut C,
    worker: &Arc<Worker>,
    prepared: &Prepared,
    bytes: usize,
    timeline: &mut Timeline,
) -> Result<Lease, ProxyError> {
    let lease = take(client, worker, prepared, bytes, timeline).await?;
    if !lease.endpoint.sibling || prepared.hops == 0 {
        return Ok(lease);
    }
    if prepared.hops >= MAX_HOPS {
        return Err(ProxyError::Saturated);
    }
    drop(lease);
    tokio::time::sleep(HAND_OVER_PAUSE).await;
    take(client, worker, prepared, bytes, timeline).await
}

async fn take<C: Client>(
    client: &mut C,
    worker: &Arc<Worker>,
    prepared: &Prepared,
    bytes: usize,
    timeline: &mut Timeline,
) -> Result<Lease, ProxyError> {
    match prepared.destination.acquire(bytes)? {
        Acquired::Lease(lease) => Ok(lease),
        Acquired::Held(waiting) => {
            timeline.held(prepared.accepted, &prepared.destination);
            probe::ensure_release(&prepared.destination, worker);
            let held = Box::pin(hold(client, prepared, waiting)).await;
            timeline.released(&prepared.destination);
            held
        }
    }
}

/// Waits in the queue, and leaves it when the client does.
async fn hold<C: Client>(
    client: &mut C,
    prepared: &Prepared,
    waiting: Waiting<Lease>,
) -> Result<Lease, ProxyError> {
    let until = prepared.accepted + prepared.destination.route().spec.timeouts.cold_start;
    let Waiting { mut lease, mut place } = waiting;
    let mut gone = std::pin::pin!(client.gone(&mut place));
    let mut timer = std::pin::pin!(tokio::time::sleep_until(until.into()));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(lease) = Pin::new(&mut lease).poll(cx) {
            return Poll::Ready(lease.map_err(|_| prepared.destination.refusal()));
        }
        if let Poll::Ready(error) = gone.as_mut().poll(cx) {
            return Poll::Ready(Err(error));
        }
        timer.as_mut().poll(cx).map(|()| Err(timed_out(&prepared.destination)))
    })
    .await
}

/// The answer to a request that was held as long as allowed.
fn timed_out(destination: &Destination) -> ProxyError {
    if destination.waiting() > 0 { ProxyError::ColdStartTimeout } else { ProxyError::Saturated }
}

//! A place on a pod, waited for if need be.

use std::{future::Future as _, pin::Pin, sync::Arc, task::Poll};

use super::{client::Client, prepared::Prepared, timeline::Timeline};
use crate::{
    destination::{Acquired, Destination, Lease},
    error::ProxyError,
    probe,
    queue::Waiting,
    worker::Worker,
};

/// Leases a place for a request of which `bytes` are in memory.
pub(super) async fn lease<C: Client>(
    client: &mut C,
    worker: &Arc<Worker>,
    prepared: &Prepared,
    bytes: usize,
    timeline: &mut Timeline,
) -> Result<Lease, ProxyError> {
    match prepared.destination.acquire(bytes)? {
        Acquired::Lease(lease) => Ok(lease),
        Acquired::Held(waiting) => {
            timeline.held(&prepared.destination);
            probe::ensure_release(&prepared.destination, worker);
            let held = Box::pin(hold(client, prepared, waiting)).await;
            timeline.released();
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
            return Poll::Ready(lease.map_err(|_| ProxyError::UnknownHost));
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

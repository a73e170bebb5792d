//! Several pollers on one bucket: each event once, none by two at a time.

use super::bucket::Bucket;
use crate::{function::Function, poller::Poller, scenario::faults::is_soak, wait::until};

#[tokio::test(flavor = "multi_thread")]
async fn four_pollers_deliver_thousands_of_events_once_each() {
    // Each event is several writes that MinIO commits. `make soak` takes more of them.
    let thousands = if is_soak() { 10 } else { 2 };
    let (bucket, function) = (Bucket::new().await, Function::start().await);
    bucket.fill(0, thousands * 1_000).await;
    let flags = bucket.flags(&function.url());
    let pollers: Vec<Poller> = (0..4).map(|_| Poller::start(&flags)).collect();
    // A busy machine takes minutes for all of them.
    let count = usize::try_from(thousands).unwrap() * 1_000;
    for seen in (1_000..=count).step_by(1_000) {
        until("progress", async || function.count() >= seen).await;
    }
    until("all deleted", async || bucket.left().await == Some(0)).await;
    for poller in pollers {
        poller.stop().await;
    }
    assert_eq!((function.count(), function.by_id().len()), (count, count));
    assert_eq!(function.overlaps(), 0);
}

/// Handlers that take several times as long as a lease lasts.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_while_a_handler_runs() {
    let bucket = Bucket::new().await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let opened = std::sync::Arc::clone(&gate);
    let function = Function::with(move |_| {
        let gate = std::sync::Arc::clone(&opened);
        async move {
            gate.acquire().await.unwrap().forget();
            crate::function::status(200)
        }
    })
    .await;
    bucket.fill(0, 4).await;
    let flags = bucket.flags(&function.url());
    let pollers: Vec<Poller> = (0..2).map(|_| Poller::start(&flags)).collect();
    until("all run", async || function.count() == 4).await;
    let first = bucket.record(&super::bucket::pending(0)).await.lease.unwrap();
    // Another pod would have taken it by then.
    until("renewed past its first end", async || {
        let now = bucket.s3.clock().at_least().unwrap();
        let lease = bucket.record(&super::bucket::pending(0)).await.lease.unwrap();
        assert_eq!(lease.owner, first.owner);
        now > first.until_ms
    })
    .await;
    gate.add_permits(100);
    until("all deleted", async || bucket.left().await == Some(0)).await;
    for poller in pollers {
        poller.stop().await;
    }
    assert_eq!((function.count(), function.overlaps()), (4, 0));
}

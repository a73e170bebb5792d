//! Full queues: when to come again, and functions that keep out of each other's way.

use std::num::NonZeroUsize;

use kipper_interceptor::config::ProxyConfig;

use super::{hold_in_order, targets};
use crate::support::{Proxy, Recorder, function, ready, until};

fn bounded(requests: usize) -> ProxyConfig {
    ProxyConfig { max_held: NonZeroUsize::new(requests).unwrap(), ..ProxyConfig::default() }
}

/// `Retry-After` follows what this function's wakes took: here well under a second.
#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_the_observed_wake_time() {
    let proxy = Proxy::with(bounded(1)).await;
    let f = proxy.add(function("f"), &[]).await;
    let mut held = hold_in_order(&proxy, &targets(1)).await;
    let pod = Recorder::new().start_open();
    proxy.place(&f.id, &[ready(pod.address)]).await;
    assert_eq!(held[0].answer().await.status(), 200);
    proxy.place(&f.id, &[]).await;
    let _held = hold_in_order(&proxy, &targets(1)).await;
    let answer = proxy.client().await.get("f.test", "/").await;
    answer.assert_error(503, "queue_full");
    let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

/// One function at its bounds never keeps another one from waking.
#[tokio::test(flavor = "multi_thread")]
async fn full_queue_of_one_does_not_starve_another() {
    let proxy = Proxy::with(bounded(10)).await;
    proxy.add(function("f"), &[]).await;
    let other = proxy.add(function("g"), &[]).await;
    let _full = hold_in_order(&proxy, &targets(10)).await;
    assert_eq!(proxy.metric("held_requests", &[]), 10.0);
    assert!(proxy.metric("held_bytes", &[]) > 0.0);
    proxy.client().await.get("f.test", "/").await.assert_error(503, "queue_full");
    let mut client = proxy.client().await;
    client.send("GET /g HTTP/1.1\r\nHost: g.test\r\n\r\n").await;
    until("the other one is held", || other.held() == 1).await;
    let pod = Recorder::new().start_open();
    proxy.place(&other.id, &[ready(pod.address)]).await;
    assert_eq!(client.answer().await.text(), "/g");
    assert_eq!(proxy.f().held(), 10);
}

//! Full queues, deadlines, and functions that keep out of each other's way.

use std::{num::NonZeroUsize, time::Duration};

use kipper_interceptor::{config::ProxyConfig, source::RouteSpec};

use super::{hold_in_order, targets};
use crate::support::{Gate, Proxy, Recorder, function, ready, until};

fn bounded(requests: usize, bytes: usize) -> ProxyConfig {
    ProxyConfig {
        max_held: NonZeroUsize::new(requests).unwrap(),
        max_held_bytes: NonZeroUsize::new(bytes).unwrap(),
        ..ProxyConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_full_by_count_is_503() {
    let proxy = Proxy::with(bounded(3, 1 << 20)).await;
    proxy.add(function("f"), &[]).await;
    let clients = hold_in_order(&proxy, &targets(3)).await;
    let mut late = proxy.client().await;
    let answer = late.get("f.test", "/late").await;
    answer.assert_error(503, "queue_full");
    // Nothing was observed yet: the default.
    assert_eq!(answer.field("retry-after"), Some("3"));
    assert_eq!(proxy.f().held(), 3);
    // The connection is good for another try.
    late.get("f.test", "/late").await.assert_error(503, "queue_full");
    drop(clients);
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_full_by_bytes_is_503() {
    let proxy = Proxy::with(bounded(100, 20_000)).await;
    proxy.add(function("f"), &[]).await;
    let long = targets(2).iter().map(|t| format!("{t}{}", "a".repeat(8_000))).collect::<Vec<_>>();
    let clients = hold_in_order(&proxy, &long).await;
    let answer = proxy.client().await.get("f.test", &long[0]).await;
    answer.assert_error(503, "queue_full");
    assert!(answer.field("retry-after").is_some());
    // What fits is still held.
    let mut small = proxy.client().await;
    small.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    proxy.held(3).await;
    drop((clients, small));
    proxy.idle().await;
}

/// `Retry-After` follows what this function's wakes took: here well under a second.
#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_the_observed_wake_time() {
    let proxy = Proxy::with(bounded(1, 1 << 20)).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn hold_deadline_is_504() {
    let proxy = Proxy::start().await;
    let mut spec = function("f");
    spec.timeouts.cold_start = Duration::from_millis(150);
    proxy.add(spec, &[]).await;
    // A function that never had an endpoint.
    let answer = proxy.client().await.get("f.test", "/").await;
    answer.assert_error(504, "cold_start_timeout");
    assert!(answer.field("retry-after").is_some());
    // A body that was read ahead changes nothing.
    let answer = proxy.client().await.post("f.test", "/", "body").await;
    answer.assert_error(504, "cold_start_timeout");
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_deadline_behind_busy_pods_is_504() {
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    let pod = recorder.start(&gate);
    let proxy = Proxy::start().await;
    let mut spec = RouteSpec { concurrency: 1, ..function("f") };
    spec.timeouts.cold_start = Duration::from_millis(150);
    proxy.add(spec, &[ready(pod.address)]).await;
    let mut busy = proxy.client().await;
    busy.send("GET /busy HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    recorder.wait(1).await;
    let answer = proxy.client().await.get("f.test", "/").await;
    answer.assert_error(504, "saturated");
    gate.open();
    assert_eq!(busy.answer().await.status(), 200);
    assert_eq!(recorder.targets(), ["/busy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_function_answers_held_requests_404() {
    let proxy = Proxy::one(&[]).await;
    let mut clients = hold_in_order(&proxy, &targets(5)).await;
    let f = proxy.f();
    proxy.feed.remove(f.id.clone()).unwrap();
    for client in &mut clients {
        client.answer().await.assert_error(404, "unknown_host");
    }
    until("the function holds nothing", || f.held() == 0).await;
    proxy.client().await.get("f.test", "/").await.assert_error(404, "unknown_host");
}

/// One function at its bounds never keeps another one from waking.
#[tokio::test(flavor = "multi_thread")]
async fn full_queue_of_one_does_not_starve_another() {
    let proxy = Proxy::with(bounded(10, 1 << 20)).await;
    proxy.add(function("f"), &[]).await;
    let other = proxy.add(function("g"), &[]).await;
    let _full = hold_in_order(&proxy, &targets(10)).await;
    proxy.client().await.get("f.test", "/").await.assert_error(503, "queue_full");
    let mut client = proxy.client().await;
    client.send("GET /g HTTP/1.1\r\nHost: g.test\r\n\r\n").await;
    until("the other one is held", || other.held() == 1).await;
    let pod = Recorder::new().start_open();
    proxy.place(&other.id, &[ready(pod.address)]).await;
    assert_eq!(client.answer().await.text(), "/g");
    assert_eq!(proxy.f().held(), 10);
}

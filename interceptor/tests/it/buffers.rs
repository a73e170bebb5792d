//! What slow sides make the process keep is shared by all of them: answers that are not read, heads and
//! bodies that do not end, tunnels.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use kipper_interceptor::config::ProxyConfig;
use tokio::io::AsyncWriteExt as _;

use crate::{
    http2::{Client, answer, request},
    support::{Backend, Gate, Proxy, Recorder, Wire, function, ok, ready, until},
    tls::{self, Secure},
};

/// More than the kernel's buffers on one connection.
const LARGE: usize = 20_000_000;
const CLIENTS: usize = 40;
/// A quarter of what they would have kept.
const BUDGET: usize = CLIENTS * (64 << 10) / 4;
/// What each may have beyond it: the floor, and as much again in a vector that has grown.
const FLOOR: usize = 16 << 10;
/// A writer that moved nothing for this long is taken to be stalled.
const STALLED: Duration = Duration::from_millis(300);

/// Answers each request with zeros, and counts the answers that came to a halt once.
fn flooding(stalled: &Arc<AtomicUsize>) -> Backend {
    let stalled = Arc::clone(stalled);
    Backend::start(move |mut wire, _| {
        let stalled = Arc::clone(&stalled);
        async move {
            while wire.request().await.is_some() {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
                wire.send(head).await;
                let (zeros, mut left, mut told) = (vec![0; 64 << 10], LARGE, false);
                while left > 0 {
                    let piece = &zeros[..left.min(zeros.len())];
                    match tokio::time::timeout(STALLED, wire.stream.write(piece)).await {
                        Ok(Ok(n)) => left -= n,
                        Ok(Err(_)) => return,
                        Err(_) if !std::mem::replace(&mut told, true) => {
                            stalled.fetch_add(1, SeqCst);
                        }
                        Err(_) => {}
                    }
                }
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_share_a_budget() {
    let stalled = Arc::new(AtomicUsize::new(0));
    let pod = flooding(&stalled);
    let config = ProxyConfig {
        max_buffered_bytes: NonZeroUsize::new(BUDGET).unwrap(),
        body_timeout: Duration::from_secs(600),
        workers: NonZeroUsize::new(2),
        ..ProxyConfig::default()
    };
    let workers = 2;
    let proxy = Proxy::with(config).await;
    proxy.add(function("f"), &[ready(pod.address)]).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
        clients.push(client);
    }
    until("every answer has come to a halt", || stalled.load(SeqCst) == CLIENTS).await;
    let kept = proxy.metric("buffered_bytes", &[]);
    let bound = BUDGET + workers * (128 << 10) + CLIENTS * FLOOR;
    assert!(kept >= (BUDGET / 2) as f64 && kept <= bound as f64, "{kept} of {bound}");
    // Whoever begins to read gets all of it, and whoever is quick is served.
    let mut reader: Wire = clients.pop().unwrap();
    let answer = reader.answer().await;
    assert!(answer.body.len() == LARGE && answer.body.iter().all(|b| *b == 0));
    assert_eq!(proxy.client().await.get("f.test", "/").await.body.len(), LARGE);
    drop((reader, clients));
    proxy.idle().await;
    until("all of it is given back", || proxy.metric("buffered_bytes", &[]) == 0.0).await;
}

/// A proxy that keeps this much, in front of `pod`.
async fn keeping(budget: usize, pod: &Backend) -> Proxy {
    let config = ProxyConfig {
        max_buffered_bytes: NonZeroUsize::new(budget).unwrap(),
        header_timeout: Duration::from_secs(600),
        ..ProxyConfig::default()
    };
    let proxy = Proxy::with(config).await;
    proxy.add(function("f"), &[ready(pod.address)]).await;
    proxy
}

/// Longer than the floor.
const HEAD: usize = 20_000;
/// So much of a change is not counted.
const STEP: usize = 2 << 10;

/// The beginning of a request head with as many bytes.
fn beginning(bytes: usize) -> String {
    format!("{:x<bytes$}", "GET / HTTP/1.1\r\nHost: f.test\r\nX-Long: ")
}

/// Clients whose heads do not end, until the budget of `proxy` is used.
async fn use_up(proxy: &Proxy, budget: usize) -> Vec<Wire> {
    let mut clients = Vec::new();
    while proxy.metric("buffered_bytes", &[]) < budget as f64 {
        let mut client = proxy.client().await;
        client.send(beginning(HEAD)).await;
        clients.push(client);
        let all = (clients.len() * (HEAD - STEP)).min(budget) as f64;
        until("it is counted", || proxy.metric("buffered_bytes", &[]) >= all).await;
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_do_not_end_share_the_budget() {
    const BUDGET: usize = 100_000;
    let pod = Recorder::new().start_open();
    let proxy = keeping(BUDGET, &pod).await;
    let mut clients = use_up(&proxy, BUDGET).await;
    // What is longer than the floor is refused now, by name; what is not, is served.
    let mut refused = proxy.client().await;
    refused.send(beginning(12_000)).await;
    let answer = refused.answer().await;
    answer.assert_error(503, "overloaded");
    assert_eq!(answer.field("retry-after"), Some("1"));
    refused.closed().await;
    let mut usual = proxy.client().await;
    usual.send(beginning(7_000)).await;
    usual.send("\r\n\r\n").await;
    assert_eq!(usual.answer().await.status(), 200);
    assert_eq!(usual.get("f.test", "/").await.status(), 200);
    // Those that were there first go on, and with the first that is done there is room again.
    let mut first = clients.remove(0);
    first.send("\r\n\r\n").await;
    assert_eq!(first.answer().await.status(), 200);
    until("there is room", || proxy.metric("buffered_bytes", &[]) < BUDGET as f64).await;
    let mut large = proxy.client().await;
    large.send(beginning(12_000) + "\r\n\r\n").await;
    assert_eq!(large.answer().await.status(), 200);
    drop(clients);
    until("all of it is given back", || proxy.metric("buffered_bytes", &[]) == 0.0).await;
}

/// It was executed, so it is not answered with an error.
#[tokio::test(flavor = "multi_thread")]
async fn a_pods_long_head_waits_for_room() {
    const BUDGET: usize = 100_000;
    let (begun, gate) = (Gate::closed(), Gate::closed());
    let (begins, passes) = (begun.clone(), gate.clone());
    let pod = Backend::start(move |mut wire, _| {
        let (begins, passes) = (begins.clone(), passes.clone());
        async move {
            wire.request().await.unwrap();
            begins.open();
            passes.pass().await;
            let long = "x".repeat(100_000);
            wire.send(format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nContent-Length: 0\r\n\r\n"))
                .await;
        }
    });
    let proxy = keeping(BUDGET, &pod).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    begun.pass().await;
    let clients = use_up(&proxy, BUDGET).await;
    let before = proxy.metric("buffered_bytes", &[]);
    gate.open();
    until("its beginning is kept", || proxy.metric("buffered_bytes", &[]) > before).await;
    let kept = proxy.metric("buffered_bytes", &[]) - before;
    assert!(kept <= FLOOR as f64, "{kept}");
    drop(clients);
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.field("x-long").unwrap().len()), (200, 100_000));
}

/// A body without a length may fill the stream's window before it is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_sent_ahead_are_refused_without_room() {
    const BUDGET: usize = 100_000;
    let pod = Backend::answering(|_| ok("taken"));
    let proxy = keeping(BUDGET, &pod).await;
    let clients = use_up(&proxy, BUDGET).await;
    let mut client = Client::connect(proxy.address).await;
    let post = || request(http::Method::POST, "f.test", "/");
    let (answered, _body) = client.start(post(), false).await;
    let refused = answer(answered).await.unwrap();
    assert_eq!((refused.status, refused.fields["retry-after"].as_bytes()), (503, &b"1"[..]));
    let mut small = post();
    small.headers_mut().insert("content-length", http::HeaderValue::from_static("5"));
    let (answered, mut body) = client.start(small, false).await;
    body.send_data("small".into(), true).unwrap();
    assert_eq!(answer(answered).await.unwrap().status, 200);
    assert_eq!(client.get("f.test", "/").await.status, 200);
    drop(clients);
    until("there is room", || proxy.metric("buffered_bytes", &[]) < BUDGET as f64).await;
    let (answered, mut body) = client.start(post(), false).await;
    body.send_data("small".into(), true).unwrap();
    assert_eq!(answer(answered).await.unwrap().status, 200);
}

/// What it may keep beside the budget decides what a connection counts for.
#[tokio::test(flavor = "multi_thread")]
async fn connections_count_for_what_they_may_keep() {
    let secure = Secure::new();
    let pod = Backend::answering(|_| ok("taken"));
    let config = ProxyConfig { max_connections: NonZeroUsize::new(13).unwrap(), ..secure.config() };
    let proxy = Proxy::with(config).await;
    proxy.add(function("f"), &[ready(pod.address)]).await;
    let trusted = [&secure.certificate];
    let secured = async || tls::connect(proxy.tls.unwrap(), "f.test", &trusted, &["h2"]).await;
    let mut http2 = Client::connect(proxy.address).await;
    assert_eq!(http2.get("f.test", "/").await.status, 200);
    // Five are left. With TLS it is four, and HTTP/2 in it is four more.
    let refused = proxy.metric("connections_refused_total", &[]);
    drop(secured().await);
    until("it is refused", || proxy.metric("connections_refused_total", &[]) == refused + 1.0)
        .await;
    until("it is gone", || proxy.metric("connections", &[]) == 1.0).await;
    let mut plain = Vec::new();
    for _ in 0..5 {
        let mut client = proxy.client().await;
        assert_eq!(client.get("f.test", "/").await.status(), 200);
        plain.push(client);
    }
    proxy.client().await.closed().await;
    drop((http2, plain));
    until("they are gone", || proxy.metric("connections", &[]) == 0.0).await;
    let mut http2 = Client::handshake(secured().await.unwrap()).await;
    assert_eq!(http2.get("f.test", "/").await.status, 200);
}

/// A silent tunnel has no buffer, and one whose client does not read keeps what the budget allows.
#[tokio::test(flavor = "multi_thread")]
async fn tunnels_share_the_budget() {
    const BUDGET: usize = 100_000;
    let pod = Backend::start(|mut wire, _| async move {
        wire.request().await.unwrap();
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            .await;
        while wire.try_send(vec![b'x'; 64 << 10]).await.is_ok() {}
    });
    let proxy = keeping(BUDGET, &pod).await;
    let mut clients = Vec::new();
    for number in 1..=20 {
        let mut client = proxy.client().await;
        client
            .send("GET / HTTP/1.1\r\nHost: f.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            .await;
        assert_eq!(client.head().await.unwrap().status(), 101);
        clients.push(client);
        let kept = (number * (8 << 10)).min(BUDGET) as f64;
        until("its bytes wait", || proxy.metric("buffered_bytes", &[]) >= kept).await;
    }
    let kept = proxy.metric("buffered_bytes", &[]);
    assert!(kept <= (BUDGET + (128 << 10) + 20 * FLOOR) as f64, "{kept}");
    // Whoever begins to read gets it in order.
    let mut reader = clients.pop().unwrap();
    assert_eq!(reader.exactly(8 << 20).await.unwrap(), vec![b'x'; 8 << 20]);
    drop((reader, clients));
    proxy.idle().await;
    until("all of it is given back", || proxy.metric("buffered_bytes", &[]) == 0.0).await;
}

//! Clients that do not read large answers share one budget.

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

use crate::support::{Backend, Proxy, Wire, function, ready, until};

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

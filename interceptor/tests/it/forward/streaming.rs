//! Bodies in both directions: as they come, with trailers, and never faster than they are read.

use std::{
    hash::{DefaultHasher, Hasher as _},
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, sync::mpsc};

use crate::support::{Backend, Gate, Proxy, Wire, function, ready, within};

/// More than the kernel's buffers on both connections together.
const LARGE: usize = 50_000_000;
/// A writer that moved nothing for this long is taken to be stalled. When it is only slow, the
/// test checks less, and does not fail.
const STALLED: Duration = Duration::from_millis(300);

/// The `n`th piece of a large body.
fn piece(n: usize) -> Vec<u8> {
    let mut state = n as u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..50_000).map(|_| next()).collect()
}

fn digest(pieces: impl Iterator<Item = Vec<u8>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    pieces.for_each(|p| p.iter().for_each(|b| hasher.write_u8(*b)));
    hasher.finish()
}

fn expected() -> u64 {
    digest((0..LARGE / 50_000).map(piece))
}

/// Writes the large body; opens `stalled` when the other side takes no more, having checked that
/// this was before its end.
async fn write_large(wire: &mut Wire, stalled: &Gate) {
    let mut written = 0;
    for n in 0..LARGE / 50_000 {
        let bytes = piece(n);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let n = match tokio::time::timeout(STALLED, wire.stream.write(rest)).await {
                Ok(n) => n.unwrap(),
                Err(_) => {
                    stalled.open();
                    within("the other side reads", wire.stream.write(rest)).await.unwrap()
                }
            };
            written += n;
            rest = &rest[n..];
        }
    }
    assert_eq!(written, LARGE);
    // Had it never stalled, nobody would have slowed it down: the reader is still waiting.
    stalled.open();
}

async fn read_large(wire: &mut Wire) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut left = LARGE;
    while left > 0 {
        let n = left.min(50_000);
        wire.exactly(n).await.unwrap().iter().for_each(|b| hasher.write_u8(*b));
        left -= n;
    }
    hasher.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_upload_at_the_pods_pace() {
    let stalled = Gate::closed();
    let wait = stalled.clone();
    let pod = Backend::start(move |mut wire, _| {
        let wait = wait.clone();
        async move {
            wire.head().await.unwrap();
            wait.pass().await;
            let digest = read_large(&mut wire).await.to_string();
            wire.send(crate::support::ok(&digest)).await;
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send(format!("PUT / HTTP/1.1\r\nHost: f.test\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    write_large(&mut client, &stalled).await;
    assert_eq!(client.answer().await.text(), expected().to_string());
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_download_at_the_clients_pace() {
    let stalled = Gate::closed();
    let tell = stalled.clone();
    let pod = Backend::start(move |mut wire, _| {
        let tell = tell.clone();
        async move {
            wire.request().await.unwrap();
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await;
            write_large(&mut wire, &tell).await;
            wire.closed().await;
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    stalled.pass().await;
    assert_eq!(read_large(&mut client).await, expected());
    proxy.idle().await;
}

/// A writer that nobody reads from comes to a halt long before the body's end.
#[tokio::test(flavor = "multi_thread")]
async fn unread_bodies_are_not_buffered() {
    let enough = Gate::closed();
    let wait = enough.clone();
    let pod = Backend::start(move |mut wire, _| {
        let wait = wait.clone();
        async move {
            wire.head().await.unwrap();
            wait.pass().await;
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send(format!("PUT / HTTP/1.1\r\nHost: f.test\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    let (bytes, mut written) = (piece(0), 0);
    while let Ok(n) = tokio::time::timeout(STALLED, client.stream.write(&bytes)).await {
        written += n.unwrap();
        assert!(written < LARGE, "all of it was buffered somewhere");
    }
    // The pod gives up without having read it, and nothing is left behind.
    enough.open();
    client.try_answer().await.unwrap().assert_error(502, "upstream_closed");
    proxy.idle().await;
}

/// Chunks and trailers, both ways at once, piece by piece.
#[tokio::test(flavor = "multi_thread")]
async fn both_directions_at_the_same_time() {
    let pod = Backend::start(|mut wire, _| async move {
        let request = wire.head().await.unwrap();
        assert_eq!(request.field("transfer-encoding"), Some("chunked"));
        assert_eq!(request.field("te"), Some("trailers"));
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        loop {
            let chunk = wire.chunk().await.unwrap();
            let echo = format!("{:x}\r\n", chunk.len());
            if chunk.is_empty() {
                break;
            }
            wire.send([echo.as_bytes(), &chunk, b"\r\n"].concat()).await;
        }
        let trailers = wire.through(b"\r\n\r\n").await.unwrap();
        assert_eq!(String::from_utf8(trailers).unwrap(), "X-Sum: 7\r\n\r\n");
        wire.send("0\r\nX-Checked: 7\r\nX-Other: a\r\n\r\n").await;
        wire.closed().await;
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: f.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .await;
    for n in 0..50 {
        let text = format!("piece {n}");
        client.send(format!("{:x}\r\n{text}\r\n", text.len())).await;
        if n == 0 {
            assert_eq!(client.head().await.unwrap().status(), 200);
        }
        assert_eq!(client.chunk().await.unwrap(), text.as_bytes());
    }
    // Trailers must not frame or route (RFC 9110 section 6.5.1).
    client.send("0\r\nX-Sum: 7\r\nContent-Length: 5\r\nHost: g.test\r\n\r\n").await;
    assert!(client.chunk().await.unwrap().is_empty());
    let trailers = client.through(b"\r\n\r\n").await.unwrap();
    assert_eq!(String::from_utf8(trailers).unwrap(), "X-Checked: 7\r\nX-Other: a\r\n\r\n");
}

/// Server-sent events: each arrives before the next one is sent.
#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events() {
    let (next, wanted) = mpsc::unbounded_channel::<usize>();
    let wanted = std::sync::Arc::new(tokio::sync::Mutex::new(wanted));
    let pod = Backend::start(move |mut wire, _| {
        let wanted = std::sync::Arc::clone(&wanted);
        async move {
            wire.request().await.unwrap();
            wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
            let mut wanted = wanted.lock_owned().await;
            while let Some(n) = wanted.recv().await {
                wire.send(format!("data: {n}\n\n")).await;
            }
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    for n in 0..50 {
        next.send(n).unwrap();
        assert_eq!(client.chunk().await.unwrap(), format!("data: {n}\n\n").as_bytes());
    }
    drop(next);
    assert!(client.chunk().await.unwrap().is_empty());
}

/// A client that leaves an endless answer: the pod sees it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_stream() {
    let left = Gate::closed();
    let tell = left.clone();
    let pod = Backend::start(move |mut wire, _| {
        let tell = tell.clone();
        async move {
            wire.request().await.unwrap();
            wire.send("HTTP/1.1 200 OK\r\n\r\nfirst").await;
            wire.closed().await;
            tell.open();
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    client.head().await.unwrap();
    assert_eq!(client.chunk().await.unwrap(), b"first");
    drop(client);
    left.pass().await;
    proxy.idle().await;
}

/// A pod that takes the head and then nothing of a body, until its connection ends.
fn deaf() -> Backend {
    Backend::start(|wire, _| async move {
        use tokio::io::Interest;
        // The readiness mask of PRIORITY holds "read closed" but not "readable".
        let closed = wire.stream.ready(Interest::PRIORITY);
        within("the connection ends", closed).await.unwrap();
    })
}

/// Writes until nobody takes any more.
async fn fill(client: &mut Wire) {
    let head = format!("PUT / HTTP/1.1\r\nHost: f.test\r\nContent-Length: {LARGE}\r\n\r\n");
    client.send(head).await;
    let bytes = piece(0);
    while tokio::time::timeout(STALLED, client.stream.write(&bytes)).await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_takes_nothing_of_a_body_is_504() {
    let pod = deaf();
    let proxy = Proxy::start().await;
    let mut spec = function("f");
    spec.timeouts.response_header = Duration::from_millis(500);
    proxy.add(spec, &[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    fill(&mut client).await;
    client.try_answer().await.unwrap().assert_error(504, "response_timeout");
    proxy.idle().await;
}

/// The bytes that the pod does not take must not hide that the client is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_a_stalled_upload() {
    let pod = deaf();
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    fill(&mut client).await;
    assert_eq!(proxy.f().counters.in_flight(), 1);
    client.reset();
    proxy.idle().await;
}

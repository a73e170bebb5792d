//! Upgraded connections (WebSocket and the like): nothing before the pod agreed, then bytes both
//! ways until both sides are done.

use std::time::{Duration, Instant};

use kipper_interceptor::config::ProxyConfig;

use crate::support::{Backend, Gate, Proxy, Recorder, Wire, function, ok, ready};

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: f.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A pod that upgrades and then sends back every byte; it ends its side after the client's end.
fn echo() -> Backend {
    Backend::start(|mut wire, _| async move {
        let head = wire.head().await.unwrap();
        assert_eq!(head.field("connection"), Some("upgrade"));
        assert_eq!(head.field("upgrade"), Some("websocket"));
        assert!(head.field("sec-websocket-key").is_some());
        wire.send(SWITCHING).await;
        let (mut read, mut write) = wire.stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
}

async fn upgraded(proxy: &Proxy) -> Wire {
    let mut client = proxy.client().await;
    client.send(UPGRADE).await;
    let head = client.head().await.unwrap();
    assert_eq!(head.status(), 101);
    assert_eq!(head.field("connection"), Some("upgrade"));
    assert_eq!(head.field("upgrade"), Some("websocket"));
    assert_eq!(head.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_echo() {
    let pod = echo();
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = upgraded(&proxy).await;
    for n in 0..200 {
        let message = format!("message {n}");
        client.send(&message).await;
        assert_eq!(client.exactly(message.len()).await.unwrap(), message.as_bytes());
    }
    assert_eq!(proxy.f().counters.in_flight(), 1);
    drop(client);
    proxy.idle().await;
}

/// The client ends its side; what the pod still has to say arrives.
#[tokio::test(flavor = "multi_thread")]
async fn half_closed_by_the_client() {
    let pod = Backend::start(|mut wire, _| async move {
        wire.head().await.unwrap();
        wire.send(SWITCHING).await;
        let all = wire.rest().await.unwrap();
        wire.send(format!("{} bytes", all.len())).await;
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = upgraded(&proxy).await;
    client.send(vec![7; 300_000]).await;
    client.finish().await;
    assert_eq!(client.rest().await.unwrap(), b"300000 bytes");
    proxy.idle().await;
}

/// The pod ends its side; what the client still has to say arrives.
#[tokio::test(flavor = "multi_thread")]
async fn half_closed_by_the_pod() {
    let got_all = Gate::closed();
    let tell = got_all.clone();
    let pod = Backend::start(move |mut wire, _| {
        let tell = tell.clone();
        async move {
            wire.head().await.unwrap();
            // Its first bytes come right behind the head.
            wire.send(format!("{SWITCHING}bye")).await;
            wire.finish().await;
            assert_eq!(wire.rest().await.unwrap(), b"see you");
            tell.open();
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = upgraded(&proxy).await;
    assert_eq!(client.rest().await.unwrap(), b"bye");
    client.send("see you").await;
    client.finish().await;
    got_all.pass().await;
    proxy.idle().await;
}

/// A data plane whose connections may stand still this long.
async fn impatient(pod: &Backend, idle_timeout: Duration) -> Proxy {
    let proxy = Proxy::with(ProxyConfig { idle_timeout, ..ProxyConfig::default() }).await;
    proxy.add(function("f"), &[ready(pod.address)]).await;
    proxy
}

/// A tunnel on which nothing moves gives its place back, whoever has ended its side.
#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_stands_still_ends() {
    let closed = Gate::closed();
    let tell = closed.clone();
    let pod = Backend::start(move |mut wire, _| {
        let tell = tell.clone();
        async move {
            wire.head().await.unwrap();
            wire.send(format!("{SWITCHING}hello")).await;
            // It ends nothing by itself.
            let _ = wire.rest().await;
            tell.pass().await;
        }
    });
    let proxy = impatient(&pod, Duration::from_millis(200)).await;
    for half_closed in [false, true] {
        let mut client = upgraded(&proxy).await;
        assert_eq!(client.exactly(5).await.unwrap(), b"hello");
        if half_closed {
            client.finish().await;
        }
        client.closed().await;
        proxy.idle().await;
    }
    closed.open();
}

/// Bytes in one direction are enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_moves_stays() {
    let pod = Backend::start(|mut wire, _| async move {
        wire.head().await.unwrap();
        wire.send(SWITCHING).await;
        while wire.exactly(1).await.is_ok() {}
    });
    let idle = Duration::from_secs(2);
    let proxy = impatient(&pod, idle).await;
    let mut client = upgraded(&proxy).await;
    let started = Instant::now();
    while started.elapsed() < idle + idle / 2 {
        client.send("x").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(proxy.f().counters.in_flight(), 1);
    drop(client);
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_that_the_pod_refuses() {
    let pod = Backend::answering(|request| {
        ok(request.field("upgrade").unwrap_or("no upgrade asked for"))
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send(UPGRADE).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text()), (200, "websocket"));
    assert_eq!(answer.field("connection"), None);
    // The connection is an ordinary one still.
    assert_eq!(client.get("f.test", "/").await.text(), "no upgrade asked for");
}

/// `Upgrade` without the connection option is a field like any hop-by-hop one: dropped.
#[tokio::test(flavor = "multi_thread")]
async fn upgrade_field_without_the_option() {
    let pod = Backend::answering(|request| ok(request.field("upgrade").unwrap_or("none")));
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: f.test\r\nUpgrade: h2c\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "none");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_upgrade_before_101() {
    let recorder = Recorder::new();
    let recording = recorder.start_open();
    let proxy = Proxy::one(&[ready(recording.address)]).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: f.test\r\n\r\n";
    // Together with the head.
    let mut client = proxy.client().await;
    client.send(format!("{UPGRADE}{smuggled}")).await;
    client.answer().await.assert_error(400, "bad_request");
    client.closed().await;
    // While it is held.
    proxy.place(&proxy.f().id, &[]).await;
    let mut client = proxy.client().await;
    client.send(UPGRADE).await;
    proxy.held(1).await;
    client.send(smuggled).await;
    client.answer().await.assert_error(400, "bad_request");
    client.closed().await;
    proxy.idle().await;
    assert!(recorder.targets().is_empty());
}

/// The pod has the head, and is still to decide.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_upgrade_while_the_pod_decides() {
    let (asked, closed) = (Gate::closed(), Gate::closed());
    let (tell_asked, tell_closed) = (asked.clone(), closed.clone());
    let pod = Backend::start(move |mut wire, _| {
        let (asked, closed) = (tell_asked.clone(), tell_closed.clone());
        async move {
            wire.head().await.unwrap();
            asked.open();
            // Nothing but the end follows.
            wire.closed().await;
            closed.open();
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send(UPGRADE).await;
    asked.pass().await;
    client.send("early bytes").await;
    client.answer().await.assert_error(400, "bad_request");
    client.closed().await;
    closed.pass().await;
    proxy.idle().await;
}

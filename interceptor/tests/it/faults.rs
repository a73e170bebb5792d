//! Faults beside one request: pods that are left alone, connections that are retired or refused.

use kipper_interceptor::{config::ProxyConfig, source::RouteSpec};
use tokio::{sync::mpsc, task::JoinSet};

use crate::support::{Backend, Proxy, Recorder, Reserved, function, ready, until};

/// An HTTP/1.0 client takes the end of the connection for the end of the body, so only a reset
/// tells it.
#[tokio::test(flavor = "multi_thread")]
async fn cut_bodies_are_resets_for_http10_clients() {
    let pod = Backend::start(|mut wire, _| async move {
        wire.request().await.unwrap();
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n").await;
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\nHost: f.test\r\n\r\n").await;
    let cut = client.try_answer().await;
    assert_eq!(cut.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

/// A pod that refuses connections costs no request, and is left alone then.
#[tokio::test(flavor = "multi_thread")]
async fn refusing_pods_are_left_alone() {
    let dead = Reserved::new();
    let recorder = Recorder::new();
    let pod = recorder.start_open();
    let proxy = Proxy::one(&[ready(dead.address), ready(pod.address)]).await;
    let mut clients = JoinSet::new();
    for n in 0..100 {
        let mut client = proxy.client().await;
        let target = format!("/{n}");
        clients.spawn(async move { client.post("f.test", &target, "body").await.status() });
    }
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let mut executed = recorder.targets();
    assert_eq!(executed.len(), 100);
    executed.sort();
    executed.dedup();
    assert_eq!(executed.len(), 100, "each exactly once");
    assert!(!proxy.f().endpoints().all[0].load.usable(0));
    proxy.idle().await;
}

/// A pod that closes while a request is on its way: only that one fails, and it is not replayed.
/// The pod's `Keep-Alive: timeout` is undercut, so that this does not happen to idle ones.
#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_timeout_is_honoured() {
    let (closed, mut closes) = mpsc::unbounded_channel();
    let offering = |seconds: u32, closed: mpsc::UnboundedSender<u32>| {
        Backend::start(move |mut wire, _| {
            let closed = closed.clone();
            async move {
                while wire.request().await.is_some() {
                    wire.send(format!(
                        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout={seconds}\r\n\
                         Content-Length: 2\r\n\r\nok"
                    ))
                    .await;
                }
                closed.send(seconds).unwrap();
            }
        })
    };
    let (short, long) = (offering(1, closed.clone()), offering(60, closed));
    let proxy = Proxy::one(&[ready(short.address)]).await;
    proxy.add(function("g"), &[ready(long.address)]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.get("g.test", "/").await.text(), "ok");
    assert_eq!(client.get("f.test", "/").await.text(), "ok");
    // Only the one with the short timeout is retired.
    let retired = crate::support::within("it is retired", closes.recv()).await;
    assert_eq!(retired, Some(1));
    assert_eq!(client.get("g.test", "/").await.text(), "ok");
    assert_eq!(client.get("f.test", "/").await.text(), "ok");
    assert_eq!((short.accepted(), long.accepted()), (2, 1));
}

/// Clients beyond the cap are closed at once; those that are there are served.
#[tokio::test(flavor = "multi_thread")]
async fn connection_cap() {
    let pod = Recorder::new().start_open();
    let config = ProxyConfig {
        max_connections: std::num::NonZeroUsize::new(3).unwrap(),
        ..ProxyConfig::default()
    };
    let proxy = Proxy::with(config).await;
    let spec: RouteSpec = function("f");
    proxy.add(spec, &[ready(pod.address)]).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = proxy.client().await;
        assert_eq!(client.get("f.test", "/").await.status(), 200);
        clients.push(client);
    }
    proxy.client().await.closed().await;
    assert_eq!(clients[0].get("f.test", "/").await.status(), 200);
    assert_eq!(proxy.metric("connections_refused_total", &[]), 1.0);
    drop(clients.pop());
    until("its place is free", || proxy.metric("connections", &[]) <= 2.0).await;
    assert_eq!(proxy.client().await.get("f.test", "/").await.status(), 200);
}

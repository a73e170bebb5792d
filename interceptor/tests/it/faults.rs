//! Pods that hang, lie, break off or go away: a clear answer, no request executed twice, and
//! nothing left behind.

use std::{sync::Arc, time::Duration};

use kipper_interceptor::{config::ProxyConfig, source::RouteSpec};
use tokio::{sync::mpsc, task::JoinSet};

use crate::support::{
    Backend, Gate, Message, Proxy, Recorder, Reserved, Wire, function, ok, ready, until,
};

/// A pod whose first connection follows `script`; later ones answer well.
fn bad_first<F>(script: impl Fn(Wire) -> F + Send + Clone + Sync + 'static) -> Backend
where
    F: Future<Output = ()> + Send + 'static,
{
    Backend::start(move |mut wire, number| {
        let script = script.clone();
        async move {
            if number == 0 {
                return script(wire).await;
            }
            while let Some(request) = wire.request().await {
                wire.send(ok(request.target())).await;
            }
        }
    })
}

/// The first request meets `script` and ends like this; the next ones, on the same connection of
/// the client, are answered.
async fn fails_then_heals<F>(
    status: u16,
    reason: &str,
    script: impl Fn(Wire) -> F + Send + Clone + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let pod = bad_first(script);
    let proxy = Proxy::start().await;
    let mut spec = function("f");
    spec.timeouts.response_header = Duration::from_millis(200);
    proxy.add(spec, &[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    let answer = client.post("f.test", "/first", "body").await;
    answer.assert_error(status, reason);
    assert_eq!(answer.field("retry-after").is_some(), status == 504);
    assert_eq!(proxy.metric("errors_total", &[reason]), 1.0);
    proxy.idle().await;
    for n in 0..5 {
        let target = format!("/{n}");
        assert_eq!(client.post("f.test", &target, "body").await.text(), target);
    }
    assert_eq!(pod.accepted(), 2, "one bad connection, one good one");
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_that_hangs_is_504() {
    fails_then_heals(504, "response_timeout", |mut wire| async move {
        wire.request().await.unwrap();
        wire.closed().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_502() {
    fails_then_heals(502, "bad_response", |mut wire| async move {
        wire.request().await.unwrap();
        wire.send("SSH-2.0-OpenSSH_9.2\r\n").await;
        wire.rest().await.ok();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_answer_is_502() {
    fails_then_heals(502, "bad_response", |mut wire| async move {
        wire.request().await.unwrap();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        wire.rest().await.ok();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_head_is_502() {
    fails_then_heals(502, "bad_response", |mut wire| async move {
        wire.request().await.unwrap();
        let mut sent = wire.try_send("HTTP/1.1 200 OK\r\n").await;
        while sent.is_ok() {
            sent = wire.try_send("X-More: of the same\r\n").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn close_instead_of_an_answer_is_502() {
    fails_then_heals(502, "upstream_closed", |mut wire| async move {
        wire.request().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_instead_of_an_answer_is_502() {
    fails_then_heals(502, "upstream_closed", |mut wire| async move {
        wire.request().await.unwrap();
        wire.reset();
    })
    .await;
}

/// A body that breaks off is never passed on as a complete one.
#[tokio::test(flavor = "multi_thread")]
async fn cut_bodies_are_cut() {
    for (what, head) in [
        ("length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789"),
        ("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n"),
        ("inside a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n0123456789"),
        ("bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789zz"),
    ] {
        let pod = bad_first(move |mut wire| async move {
            wire.request().await.unwrap();
            wire.send(head).await;
        });
        let proxy = Proxy::one(&[ready(pod.address)]).await;
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
        let cut = client.try_answer().await;
        assert!(cut.is_err(), "{what}: {cut:?}");
        proxy.idle().await;
        assert_eq!(proxy.client().await.get("f.test", "/next").await.text(), "/next");
    }
}

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

/// A pod that answers the first request of a connection and resets it at the second, having
/// executed both; its later ones are good.
fn resetting(executed: &Recorder) -> Backend {
    let executed = executed.clone();
    Backend::start(move |mut wire, number| {
        let executed = executed.clone();
        async move {
            for n in 0.. {
                let Some(request) = wire.request().await else { return };
                executed.note(&request.line);
                if n == 1 && number == 0 {
                    return wire.reset();
                }
                wire.send(ok("fine")).await;
            }
        }
    })
}

/// Sends `/1` and `/2` with this method on one connection; the second answer.
async fn second_answer(spec: RouteSpec, pod: &Backend, method: &str) -> Message {
    let proxy = Proxy::start().await;
    proxy.add(spec, &[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send(format!("{method} /1 HTTP/1.1\r\nHost: f.test\r\n\r\n")).await;
    assert_eq!(client.answer().await.text(), "fine");
    client.send(format!("{method} /2 HTTP/1.1\r\nHost: f.test\r\n\r\n")).await;
    let answer = client.answer().await;
    proxy.idle().await;
    answer
}

/// The request may have been executed, so it is not sent again, whatever its method.
#[tokio::test(flavor = "multi_thread")]
async fn reset_on_reuse_is_not_replayed() {
    for method in ["POST", "GET"] {
        let executed = Recorder::new();
        let pod = resetting(&executed);
        let answer = second_answer(function("f"), &pod, method).await;
        answer.assert_error(502, "upstream_closed");
        assert_eq!(executed.targets().len(), 2, "{method}");
        assert_eq!(pod.accepted(), 1);
    }
}

/// A function may opt in to one more try, for idempotent methods only.
#[tokio::test(flavor = "multi_thread")]
async fn reset_on_reuse_is_replayed_once_on_request() {
    let spec = RouteSpec { retry_idempotent: true, ..function("f") };
    let executed = Recorder::new();
    let pod = resetting(&executed);
    let answer = second_answer(spec.clone(), &pod, "GET").await;
    assert_eq!(answer.text(), "fine");
    assert_eq!(executed.targets().len(), 3);
    assert_eq!(pod.accepted(), 2);
    let executed = Recorder::new();
    let pod = resetting(&executed);
    let answer = second_answer(spec, &pod, "POST").await;
    answer.assert_error(502, "upstream_closed");
    assert_eq!(executed.targets().len(), 2);
}

/// A refused connection costs nothing: another pod gets the request, once.
#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_go_elsewhere() {
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
    // It is left alone then, instead of being asked for each request.
    assert!(!proxy.f().endpoints().all[0].load.usable(0));
    proxy.idle().await;
}

/// The only pod dies and comes back while its function is still routed to it: held, not failed.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_pod_is_waited_for() {
    let reserved = Reserved::new();
    let proxy = Proxy::one(&[ready(reserved.address)]).await;
    let mut client = proxy.client().await;
    client.send("POST /x HTTP/1.1\r\nHost: f.test\r\nContent-Length: 4\r\n\r\nbody").await;
    proxy.held(1).await;
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    gate.open();
    let _pod = recorder.start_at(reserved, &gate);
    assert_eq!(client.answer().await.text(), "/x");
    assert_eq!(recorder.targets(), ["/x"]);
}

/// A pod that closes its connection after each answer, without having said so. Once its FIN is
/// there, no request meets it.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_closed_by_the_pod_are_not_used() {
    let (closed, mut closes) = mpsc::unbounded_channel();
    let pod = Backend::start(move |mut wire, _| {
        let closed = closed.clone();
        async move {
            let request = wire.request().await.unwrap();
            wire.send(ok(request.target())).await;
            drop(wire);
            closed.send(()).unwrap();
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    for n in 0..200 {
        let target = format!("/{n}");
        let answer = client.post("f.test", &target, "body").await;
        assert_eq!((answer.status(), answer.text()), (200, target.as_str()));
        closes.recv().await.unwrap();
    }
    assert_eq!(pod.accepted(), 200);
    assert_eq!(proxy.metric("errors_total", &[]), 0.0);
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

/// Clients that do not read, or do not send what they announced, are closed by our timers.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stand_still() {
    let config = ProxyConfig {
        header_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(200),
        body_min_rate: 1_000_000,
        ..ProxyConfig::default()
    };
    let large =
        format!("HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n{}", "x".repeat(20_000_000));
    let large = Arc::new(large);
    let pod = Backend::start(move |mut wire, _| {
        let large = Arc::clone(&large);
        async move {
            let Some(_request) = wire.request().await else { return };
            let _ = wire.try_send(large.as_bytes()).await;
        }
    });
    let proxy = Proxy::with(config).await;
    proxy.add(function("f"), &[ready(pod.address)]).await;
    // Nothing at all, and half a preface of HTTP/2: no answer is owed.
    for start in ["", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut client = proxy.client().await;
        client.send(start).await;
        client.closed().await;
    }
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: f.te").await;
    client.answer().await.assert_error(408, "request_timeout");
    client.closed().await;
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: f.test\r\nContent-Length: 50\r\n\r\nhello").await;
    client.answer().await.assert_error(408, "request_timeout");
    client.closed().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    until("it is cut", || proxy.metric("errors_total", &["slow_reader"]) == 1.0).await;
    assert!(client.try_answer().await.is_err(), "cut short");
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_deadline_is_504() {
    let pod = Backend::start(|mut wire, _| async move {
        wire.request().await.unwrap();
        wire.closed().await;
    });
    let proxy = Proxy::start().await;
    let mut spec = function("f");
    spec.timeouts.request = Some(Duration::from_millis(200));
    proxy.add(spec, &[ready(pod.address)]).await;
    let answer = proxy.client().await.get("f.test", "/").await;
    answer.assert_error(504, "request_deadline");
    proxy.idle().await;
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

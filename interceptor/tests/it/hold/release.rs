//! From the first pod that can answer to the last held request.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use kipper_interceptor::source::{Probe, RouteSpec};
use tokio::task::JoinSet;

use super::{hold_in_order, targets};
use crate::support::{
    Backend, Gate, Proxy, Recorder, Reserved, function, not_ready, ok, ready, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn first_come_first_served() {
    let proxy = Proxy::start().await;
    let spec = RouteSpec { concurrency: 1, ..function("f") };
    let f = proxy.add(spec, &[]).await;
    let mut clients = hold_in_order(&proxy, &targets(30)).await;
    let recorder = Recorder::new();
    let pod = recorder.start_open();
    proxy.place(&f.id, &[ready(pod.address)]).await;
    for client in &mut clients {
        assert_eq!(client.answer().await.status(), 200);
    }
    assert_eq!(recorder.targets(), targets(30));
    assert_eq!(recorder.peak(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answered_when_an_endpoint_gets_ready() {
    let proxy = Proxy::one(&[]).await;
    let mut client = proxy.client().await;
    let body = "b".repeat(100_000);
    let posting = tokio::spawn(async move { client.post("f.test", "/", &body).await });
    proxy.held(1).await;
    let length = |request: &crate::support::Message| ok(&request.body.len().to_string());
    let pod = Backend::answering(length);
    proxy.place(&proxy.f().id, &[ready(pod.address)]).await;
    let answer = posting.await.unwrap();
    assert_eq!(answer.text(), "100000");
    proxy.idle().await;
}

/// Nobody waits for a function of which it is known that it cannot start.
#[tokio::test(flavor = "multi_thread")]
async fn answered_when_it_cannot_start() {
    let proxy = Proxy::one(&[]).await;
    let id = proxy.f().id.clone();
    let clients = hold_in_order(&proxy, &targets(3)).await;
    proxy.fail(&id).await;
    for mut client in clients {
        client.answer().await.assert_error(502, "start_failed");
    }
    let mut client = proxy.client().await;
    client.get("f.test", "/").await.assert_error(502, "start_failed");
    proxy.idle().await;
    // The next try: it is waited for again.
    proxy.place(&id, &[]).await;
    let mut clients = hold_in_order(&proxy, &targets(1)).await;
    let pod = Backend::answering(|request| ok(request.target()));
    proxy.place(&id, &[ready(pod.address)]).await;
    assert_eq!(clients[0].answer().await.text(), "/0");
    // What answers goes before what is said.
    proxy.fail(&id).await;
    assert_eq!(client.get("f.test", "/").await.text(), "/");
}

/// A pod that listens answers although its readiness never turns true, on the probe's connection.
#[tokio::test(flavor = "multi_thread")]
async fn probed_before_it_is_ready() {
    let reserved = Reserved::new();
    let proxy = Proxy::one(&[not_ready(reserved.address)]).await;
    let mut client = proxy.client().await;
    client.send("GET /early HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    proxy.held(1).await;
    until("it is probed", || proxy.metric("probes_total", &[]) >= 3.0).await;
    assert_eq!(proxy.f().held(), 1);
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    gate.open();
    let pod = recorder.start_at(reserved, &gate);
    assert_eq!(client.answer().await.text(), "/early");
    assert_eq!(pod.accepted(), 1, "the probe's connection is the request's");
    assert_eq!(proxy.metric("upstream_connects_total", &[]), 0.0);
    // It stays usable.
    assert_eq!(client.get("f.test", "/later").await.text(), "/later");
}

/// With an HTTP probe, listening is not enough: 503 means not ready.
#[tokio::test(flavor = "multi_thread")]
async fn http_probe_decides() {
    let (up, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_up, counter) = (Arc::clone(&up), Arc::clone(&asked));
    let pod = Backend::answering(move |request| match request.target() {
        "/health" if is_up.load(SeqCst) => ok("up"),
        "/health" => {
            counter.fetch_add(1, SeqCst);
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
        target if is_up.load(SeqCst) => ok(target),
        _ => panic!("delivered to a pod that is not ready"),
    });
    let proxy = Proxy::start().await;
    let spec = RouteSpec { probe: Probe::Http("/health".to_owned()), ..function("f") };
    proxy.add(spec, &[not_ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send("GET /early HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    until("it is probed", || asked.load(SeqCst) >= 3).await;
    assert_eq!(proxy.f().held(), 1);
    up.store(true, SeqCst);
    assert_eq!(client.answer().await.text(), "/early");
    assert_eq!(proxy.metric("upstream_connects_total", &[]), 0.0);
}

/// Nobody probes for functions that hold nothing.
#[tokio::test(flavor = "multi_thread")]
async fn idle_functions_are_not_probed() {
    let reserved = Reserved::new();
    let proxy = Proxy::one(&[not_ready(reserved.address)]).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    until("it is probed", || proxy.metric("probes_total", &[]) >= 1.0).await;
    drop(client);
    proxy.idle().await;
    // The other function's cold start outlasts what was under way.
    let other = Reserved::new();
    proxy.add(function("g"), &[not_ready(other.address)]).await;
    let pod = Backend::start_at(reserved, |mut wire, _| async move {
        wire.closed().await;
    });
    let mut client = proxy.client().await;
    client.send("GET /g HTTP/1.1\r\nHost: g.test\r\n\r\n").await;
    let before = proxy.metric("probes_total", &[]);
    until("the other one is probed", || proxy.metric("probes_total", &[]) >= before + 20.0).await;
    // At most the probe that was under way when the client left.
    assert!(pod.accepted() <= 1, "{}", pod.accepted());
}

/// The per-pod limit holds exactly while far more requests wait.
#[tokio::test(flavor = "multi_thread")]
async fn concurrency_limit_is_exact() {
    const LIMIT: usize = 3;
    const REQUESTS: usize = 60;
    let (one, two, gate) = (Recorder::new(), Recorder::new(), Gate::closed());
    let pods = [one.start(&gate), two.start(&gate)];
    let proxy = Proxy::start().await;
    let spec = RouteSpec { concurrency: u32::try_from(LIMIT).unwrap(), ..function("f") };
    let f = proxy.add(spec, &[ready(pods[0].address), ready(pods[1].address)]).await;
    let mut clients = JoinSet::new();
    for target in targets(REQUESTS) {
        let mut client = proxy.client().await;
        clients.spawn(async move { client.get("f.test", &target).await.status() });
    }
    one.wait(LIMIT).await;
    two.wait(LIMIT).await;
    until("the rest is held", || f.held() == REQUESTS - 2 * LIMIT).await;
    assert_eq!((one.running(), two.running()), (LIMIT, LIMIT));
    gate.open();
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!((one.peak(), two.peak()), (LIMIT, LIMIT));
    assert_eq!(one.targets().len() + two.targets().len(), REQUESTS);
    proxy.idle().await;
}

/// Thousands released onto one pod with a small listen backlog: paced, so that none fails.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_released_onto_one_pod() {
    const REQUESTS: usize = 2_000;
    let reserved = Reserved::new();
    let proxy = Proxy::one(&[not_ready(reserved.address)]).await;
    let mut clients = Vec::with_capacity(REQUESTS);
    for n in 0..REQUESTS {
        let mut client = proxy.client().await;
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: f.test\r\n\r\n")).await;
        clients.push(client);
    }
    proxy.held(REQUESTS).await;
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    gate.open();
    let _pod = recorder.start_at(reserved, &gate);
    for (n, client) in clients.iter_mut().enumerate() {
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.text()), (200, format!("/{n}").as_str()));
    }
    let mut executed = recorder.targets();
    executed.sort();
    executed.dedup();
    assert_eq!(executed.len(), REQUESTS, "each exactly once");
    assert_eq!(recorder.targets().len(), REQUESTS);
    proxy.idle().await;
}

/// A new pod first gets a small window, which its answers open.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_pod_starts_slowly() {
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    let proxy = Proxy::one(&[]).await;
    let mut clients = hold_in_order(&proxy, &targets(200)).await;
    let pod = recorder.start(&gate);
    proxy.place(&proxy.f().id, &[ready(pod.address)]).await;
    recorder.wait(8).await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer().await.status(), 200);
    }
    assert_eq!(recorder.targets().len(), 200);
}

//! Several interceptors and a concurrency limit: exact, also where some own no pod, and every request
//! is served.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use kipper_interceptor::{
    config::ProxyConfig,
    fleet::share,
    source::{EndpointState, Fleet, FleetSink as _, Member, RouteSpec},
};

use crate::{
    http2::{Client, answer, request, write},
    support::{Backend, Gate, Proxy, Recorder, function, ok, ready, until},
};

/// Two interceptors that know each other, with one pod; who owns it comes first.
async fn two(pods: &[EndpointState]) -> [Proxy; 2] {
    two_with(&ProxyConfig::default(), pods).await
}

pub(crate) async fn two_with(config: &ProxyConfig, pods: &[EndpointState]) -> [Proxy; 2] {
    let proxies = [Proxy::with(config.clone()).await, Proxy::with(config.clone()).await];
    let member =
        |(i, p): (usize, &Proxy)| Member { name: format!("i-{i}"), address: Some(p.address) };
    let members: Vec<_> = proxies.iter().enumerate().map(member).collect();
    for (proxy, member) in proxies.iter().zip(&members) {
        proxy.add(RouteSpec { concurrency: 1, ..function("f") }, pods).await;
        proxy.router.set_fleet(Fleet { me: member.name.clone(), members: members.clone() });
    }
    let fleet = Fleet { me: "i-0".to_owned(), members };
    let [a, b] = proxies;
    if share(pods, &fleet).owners.is_empty() { [a, b] } else { [b, a] }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_exact_and_no_request_starves() {
    const EACH: usize = 20;
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    let pod = recorder.start(&gate);
    let proxies = two(&[ready(pod.address)]).await;
    let [owner, other] = &proxies;
    let mut asking = tokio::task::JoinSet::new();
    for (i, proxy) in proxies.iter().enumerate() {
        for n in 0..EACH {
            let mut client = proxy.client().await;
            asking.spawn(async move {
                let answer = client.get("f.test", &format!("/{i}/{n}")).await;
                assert_eq!(answer.status(), 200, "{answer:?}");
            });
        }
    }
    let f = owner.f();
    until("all wait with the owner", || f.held() + recorder.running() == 2 * EACH).await;
    assert_eq!((other.f().held(), other.f().counters.in_flight()), (0, 0), "counted once");
    gate.open();
    while let Some(answered) = asking.join_next().await {
        answered.unwrap();
    }
    assert_eq!((recorder.peak(), recorder.targets().len()), (1, 2 * EACH));
    let total = owner.f().counters.total() + other.f().counters.total();
    assert_eq!(total, 2 * EACH as u64, "counted once");
    for proxy in &proxies {
        proxy.idle().await;
    }
}

/// What was handed over reaches the pod as if it had come at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_handed_over_request_is_like_any_other() {
    let pod = Backend::answering(|request| {
        assert_eq!(request.field("kipper-hops"), None);
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(request.field("x-forwarded-host"), Some("f.test"));
        assert_eq!(request.field("traceparent"), Some("theirs"));
        ok(request.text())
    });
    let [_owner, other] = two(&[ready(pod.address)]).await;
    let mut client = other.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: f.test\r\ntraceparent: theirs\r\nContent-Length: 5\r\n\r\nhello",
        )
        .await;
    let first = client.answer().await;
    assert_eq!((first.status(), first.text()), (200, "hello"));
    assert_eq!(first.fields.iter().filter(|(n, _)| n == "content-security-policy").count(), 1);
    let mut client = Client::connect(other.address).await;
    let mut with_trace = request(Method::POST, "f.test", "/");
    with_trace.headers_mut().insert("traceparent", HeaderValue::from_static("theirs"));
    let (response, mut body) = client.start(with_trace, false).await;
    write(&mut body, Bytes::from_static(b"hello"), false).await;
    body.send_trailers(HeaderMap::new()).unwrap();
    assert_eq!(answer(response).await.unwrap().body, b"hello");
    other.idle().await;
}

/// Held with both, while there is no pod; then who owns it serves all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_ends_with_the_owner() {
    let proxies = two(&[]).await;
    let mut asking = tokio::task::JoinSet::new();
    for proxy in &proxies {
        for _ in 0..5 {
            let mut client = proxy.client().await;
            asking.spawn(async move { client.get("f.test", "/").await.status() });
        }
        proxy.held(5).await;
    }
    let recorder = Recorder::new();
    let pod = recorder.start_open();
    for proxy in &proxies {
        proxy.feed.set_endpoints(proxy.f().id.clone(), vec![ready(pod.address)]).unwrap();
    }
    while let Some(status) = asking.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!((recorder.peak(), recorder.targets().len()), (1, 10));
}

/// Interceptors that take each other for the owner do not send a request around without end.
#[tokio::test(flavor = "multi_thread")]
async fn a_disagreement_ends() {
    let recorder = Recorder::new();
    let pod = recorder.start_open();
    let pods = [ready(pod.address)];
    let proxies = two(&pods).await;
    let [owner, other] = &proxies;
    // The owner believes that somebody else has joined, who owns the pod and is the other one.
    let stranger = (0..).map(|n| Member { name: format!("x-{n}"), address: Some(other.address) });
    let fleet = |stranger: Member| {
        let me = Member { name: "me".to_owned(), address: Some(owner.address) };
        Fleet { me: "me".to_owned(), members: vec![me, stranger] }
    };
    let fleet = stranger.map(fleet).find(|f| !share(&pods, f).owners.is_empty()).unwrap();
    let known: Arc<Fleet> = owner.router.context().fleet.load_full();
    owner.router.set_fleet(fleet);
    let mut client = other.client().await;
    client.send("GET /waits HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    until("it goes around", || other.f().endpoints().all[0].load.in_flight() > 0).await;
    owner.router.set_fleet(Fleet::clone(&known));
    assert_eq!(client.answer().await.status(), 200);
    assert_eq!(recorder.targets(), ["/waits"]);
}

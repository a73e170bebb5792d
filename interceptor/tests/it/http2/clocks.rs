//! The clocks and retries of a request, for clients of HTTP/2: those of HTTP/1.1.

use std::time::Duration;

use bytes::Bytes;
use h2::{
    Reason,
    client::{Builder, SendRequest},
};
use http::Method;
use kipper_interceptor::{config::ProxyConfig, source::RouteSpec};
use tokio::net::TcpStream;

use super::client::{Answer, Client, answer, request};
use crate::support::{Backend, Proxy, function, ok, ready, within};

/// How long a body may stand still here.
const BODY_TIMEOUT: Duration = Duration::from_millis(300);

fn impatient() -> ProxyConfig {
    ProxyConfig { body_timeout: BODY_TIMEOUT, ..ProxyConfig::default() }
}

#[track_caller]
fn assert_error(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status);
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["reason"], reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_its_deadline() {
    let pod = Backend::start(|mut wire, _| async move {
        wire.request().await;
        wire.closed().await;
    });
    let proxy = Proxy::start().await;
    let mut spec = function("f");
    spec.timeouts.request = Some(Duration::from_millis(300));
    proxy.add(spec, &[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    assert_error(&client.get("f.test", "/").await, 504, "request_deadline");
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_request_is_retried_once() {
    let pod = Backend::start(|mut wire, number| async move {
        wire.request().await.unwrap();
        // The first connection breaks, and so do the third and the fourth.
        if number == 1 {
            wire.send(ok("again")).await;
            wire.finish().await;
        }
    });
    let proxy = Proxy::start().await;
    let spec = RouteSpec { retry_idempotent: true, ..function("f") };
    proxy.add(spec, &[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    assert_eq!(client.get("f.test", "/").await.body, b"again");
    assert_error(&client.get("f.test", "/").await, 502, "upstream_closed");
    assert_eq!((pod.accepted(), proxy.metric("replays_total", &[])), (4, 2.0));
    proxy.idle().await;
}

/// A body that never comes is answered 408, and gives its place to others: with `concurrency: 1`
/// everybody else waits for it that long and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_is_408() {
    let pod = Backend::answering(|_| ok("served"));
    let proxy = Proxy::with(impatient()).await;
    let spec = RouteSpec { concurrency: 1, ..function("f") };
    let f = proxy.add(spec, &[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let (silent, _body) = client.start(request(Method::POST, "f.test", "/silent"), false).await;
    crate::support::until("it has its place", || f.counters.in_flight() == 1).await;
    let (waiting, _) = client.start(request(Method::GET, "f.test", "/waiting"), true).await;
    assert_error(&answer(silent).await.unwrap(), 408, "request_timeout");
    assert_eq!(answer(waiting).await.unwrap().body, b"served");
    proxy.idle().await;
}

/// A connection whose streams have this window to begin with.
async fn with_window(proxy: &Proxy, window: u32) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let mut builder = Builder::new();
    builder.initial_window_size(window);
    let (send, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    send
}

/// Answers that nobody reads: the streams are reset, and their places given back.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_never_read_are_reset() {
    const STREAMS: usize = 256;
    let large = "x".repeat(200_000);
    let pod = Backend::answering(move |_| ok(&large));
    let proxy = Proxy::with(impatient()).await;
    proxy.add(function("f"), &[ready(pod.address)]).await;
    for window in [0, 1000] {
        let client = with_window(&proxy, window).await;
        let mut answers = Vec::new();
        for _ in 0..STREAMS {
            let mut sender = client.clone().ready().await.unwrap();
            let get = request(Method::GET, "f.test", "/");
            answers.push(sender.send_request(get, true).unwrap().0);
        }
        for response in answers {
            let mut body = within("a head", response).await.unwrap().into_body();
            let mut end = within("data or a reset", body.data()).await.unwrap();
            while end.is_ok() {
                // The window is not opened again.
                end = within("a reset", body.data()).await.unwrap();
            }
            assert_eq!(end.unwrap_err().reason(), Some(Reason::CANCEL));
        }
        proxy.idle().await;
    }
    assert_eq!(proxy.metric("errors_total", &["slow_reader"]), 2.0 * STREAMS as f64);
}

/// An answer of the proxy's own does not wait for a window either.
#[tokio::test(flavor = "multi_thread")]
async fn own_answers_that_are_never_read_are_reset() {
    let proxy = Proxy::with(impatient()).await;
    let client = with_window(&proxy, 0).await;
    let mut sender = client.ready().await.unwrap();
    let (response, _) = sender.send_request(request(Method::GET, "no.test", "/"), true).unwrap();
    let mut body = within("a head", response).await.unwrap().into_body();
    let end = within("a reset", body.data()).await.unwrap();
    assert_eq!(end.unwrap_err().reason(), Some(Reason::CANCEL));
}

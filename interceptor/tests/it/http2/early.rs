//! Pods that answer before they have read the request, and names that imitate ours.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};
use kipper_interceptor::source::{Protocol, RouteSpec};

use super::{
    client::{Client, answer, request, write},
    pods::{grpc_request, h2_pod},
};
use crate::support::{Backend, Gate, Proxy, Reserved, function, ok, ready};

/// The client gets the whole answer, and the rest of its upload is taken from it.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_answered_early_ends_well() {
    const UPLOAD: usize = 20_000_000;
    let answered = Gate::closed();
    let wait = answered.clone();
    let pod = Backend::start(move |mut wire, _| {
        let wait = wait.clone();
        async move {
            wire.head().await.unwrap();
            wire.send(ok("early")).await;
            wait.pass().await;
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let (response, mut body) = client.start(request(Method::POST, "f.test", "/"), false).await;
    let mut response = crate::support::within("a head", response).await.unwrap();
    answered.open();
    assert_eq!(response.status(), 200);
    proxy.idle().await;
    let mut left = UPLOAD;
    while left > 0 {
        let part = Bytes::from(vec![b'x'; left.min(1 << 20)]);
        left -= part.len();
        body.reserve_capacity(part.len());
        write(&mut body, part, left == 0).await;
    }
    let early = super::client::read(response.body_mut()).await.unwrap();
    assert_eq!(early, b"early");
    // Had it been reset, this would say so.
    let reset =
        futures_util::FutureExt::now_or_never(std::future::poll_fn(|cx| body.poll_reset(cx)));
    assert!(!matches!(reset, Some(Ok(_))), "{reset:?}");
    assert_eq!(client.get("f.test", "/next").await.body, b"early");
}

/// A client that goes on for ever is ended with NO_ERROR (RFC 9113 section 8.1).
#[tokio::test(flavor = "multi_thread")]
async fn an_endless_upload_is_ended_without_an_error() {
    let pod = Backend::start(|mut wire, _| async move {
        wire.head().await.unwrap();
        wire.send(ok("early")).await;
        wire.finish().await;
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let (response, mut body) = client.start(request(Method::POST, "f.test", "/"), false).await;
    assert_eq!(answer(response).await.unwrap().body, b"early");
    let ended = crate::support::within("the end", std::future::poll_fn(|cx| body.poll_reset(cx)));
    assert_eq!(ended.await.unwrap(), h2::Reason::NO_ERROR);
}

/// A gRPC server that refuses a call says so in its head, without reading a message.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_trailers_only() {
    let pod = h2_pod(Reserved::new(), |_, mut respond, _| async move {
        let mut head = Response::new(());
        let fields = head.headers_mut();
        fields.insert("content-type", HeaderValue::from_static("application/grpc"));
        fields.insert("grpc-status", HeaderValue::from_static("7"));
        respond.send_response(head, true).unwrap();
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..10 {
        let (response, mut body) = client.start(grpc_request("/svc/Stream"), false).await;
        let response = crate::support::within("a head", response).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "7");
        assert!(response.into_body().is_end_stream());
        write(&mut body, Bytes::from_static(b"a message"), true).await;
    }
    proxy.idle().await;
}

/// Names that a CGI-like server takes for ours reach no pod, in heads and in trailers; those that
/// frame are refused.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_imitate_ours() {
    let (http1, http2) = (
        Backend::answering(|request| {
            let seen = request.fields.iter().chain(&request.trailers);
            ok(&seen
                .filter(|(name, _)| name.contains('_'))
                .map(|(n, _)| n.as_str())
                .collect::<String>())
        }),
        h2_pod(Reserved::new(), |request, mut respond, _| async move {
            let mut seen: String =
                request.headers().keys().map(|k| k.as_str()).filter(|k| k.contains('_')).collect();
            let mut body = request.into_body();
            super::client::read(&mut body).await.unwrap();
            if let Some(trailers) = body.trailers().await.unwrap() {
                seen.extend(trailers.keys().map(|k| k.as_str()).filter(|k| k.contains('_')));
            }
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            write(&mut stream, seen.into(), true).await;
        }),
    );
    let proxy = Proxy::one(&[ready(http1.address)]).await;
    let spec = RouteSpec { protocol: Protocol::H2c, ..function("g") };
    proxy.add(spec, &[ready(http2.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    for host in ["f.test", "g.test"] {
        let mut post = request(Method::POST, host, "/");
        for name in ["x_forwarded_for", "x_real_ip", "x_request_id", "x_forwarded_proto", "my_own"]
        {
            post.headers_mut().insert(name, HeaderValue::from_static("6.6.6.6"));
        }
        let (response, mut body) = client.start(post, false).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x_forwarded_for", HeaderValue::from_static("6.6.6.6"));
        trailers.insert("my_sum", HeaderValue::from_static("1"));
        body.send_trailers(trailers).unwrap();
        assert_eq!(answer(response).await.unwrap().body, b"my_ownmy_sum", "{host}");
        let (response, mut body) = client.start(request(Method::POST, host, "/"), false).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("content_length", HeaderValue::from_static("1"));
        body.send_trailers(trailers).unwrap();
        assert_eq!(answer(response).await.unwrap().status, 400, "{host}");
    }
    proxy.idle().await;
}

//! Uploads that go on after their answer.

use bytes::Bytes;
use http::Method;

use super::client::{Client, answer, request, write};
use crate::support::{Backend, Gate, Proxy, ok, ready};

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

/// A client that never stops is ended with NO_ERROR (RFC 9113 section 8.1).
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

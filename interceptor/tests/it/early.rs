//! Pods that answer before they have read the request, for clients of HTTP/1.1.

use crate::support::{Backend, Gate, Proxy, ok, ready, within};

const UPLOAD: usize = 20_000_000;

/// A pod that takes no more of a body, answers and closes: the client reads the whole answer, and
/// what it still sends of the body is never taken for its next request.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_closes_under_an_upload() {
    let stalled = Gate::closed();
    let wait = stalled.clone();
    let pod = Backend::start(move |mut wire, _| {
        let wait = wait.clone();
        async move {
            let head = wire.head().await.unwrap();
            assert_eq!(head.target(), "/upload");
            wait.pass().await;
            // Behind unread bytes, the close is a reset: writing to it fails.
            wire.send(ok("early")).await;
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    let head = format!("POST /upload HTTP/1.1\r\nHost: f.test\r\nContent-Length: {UPLOAD}\r\n\r\n");
    client.send(head).await;
    // Enough to fill every buffer on the way, so that the proxy has bytes in hand.
    let part = "GET /smuggled HTTP/1.1\r\nHost: f.test\r\n\r\n".repeat(1000);
    let mut left = UPLOAD;
    loop {
        let writing = tokio::io::AsyncWriteExt::write(
            &mut client.stream,
            &part.as_bytes()[..left.min(part.len())],
        );
        match tokio::time::timeout(std::time::Duration::from_millis(300), writing).await {
            Ok(n) => left -= n.unwrap(),
            Err(_) => break,
        }
        assert!(left > 0, "all of it was buffered somewhere");
    }
    stalled.open();
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text()), (200, "early"));
    assert_eq!(answer.field("connection"), Some("close"));
    proxy.idle().await;
    assert_eq!(proxy.f().counters.total(), 1);
}

/// The rest of an upload is taken from the client after its answer, within bounds.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_answered_early_ends_well() {
    let pod = Backend::start(|mut wire, _| async move {
        wire.head().await.unwrap();
        wire.send(ok("early")).await;
        wire.finish().await;
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    let head = format!("POST / HTTP/1.1\r\nHost: f.test\r\nContent-Length: {UPLOAD}\r\n\r\n");
    client.send(head).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text()), (200, "early"));
    client.send(vec![b'x'; UPLOAD]).await;
    client.finish().await;
    assert!(within("the end", client.rest()).await.unwrap().is_empty());
    proxy.idle().await;
}

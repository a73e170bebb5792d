//! 1xx responses: relayed as they come, never made up, never without end.

use crate::support::{Backend, Gate, Proxy, ok, ready};

#[tokio::test(flavor = "multi_thread")]
async fn expect_100_continue_is_the_pods_to_answer() {
    let (asked, go) = (Gate::closed(), Gate::closed());
    let (tell, wait) = (asked.clone(), go.clone());
    let pod = Backend::start(move |mut wire, _| {
        let (tell, wait) = (tell.clone(), wait.clone());
        async move {
            let mut request = wire.head().await.unwrap();
            assert_eq!(request.field("expect"), Some("100-continue"));
            assert!(wire.buffer.is_empty());
            tell.open();
            wait.pass().await;
            wire.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            wire.body(&mut request).await.unwrap();
            wire.send(ok(request.text())).await;
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: f.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        )
        .await;
    asked.pass().await;
    go.open();
    assert_eq!(client.head().await.unwrap().status(), 100);
    client.send("hello").await;
    assert_eq!(client.answer().await.text(), "hello");
}

/// A final answer instead of 100: the body is not sent, and the connection ends.
#[tokio::test(flavor = "multi_thread")]
async fn expectation_that_the_pod_refuses() {
    let pod = Backend::start(|mut wire, _| async move {
        wire.head().await.unwrap();
        wire.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno").await;
        wire.closed().await;
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: f.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        )
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text()), (417, "no"));
    client.closed().await;
    proxy.idle().await;
}

/// A final answer before the whole body was sent is passed on, too.
#[tokio::test(flavor = "multi_thread")]
async fn early_answer_to_an_unfinished_body() {
    let pod = Backend::start(|mut wire, _| async move {
        wire.head().await.unwrap();
        wire.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").await;
        wire.rest().await.ok();
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    let body = "x".repeat(1000);
    client
        .send(format!("POST / HTTP/1.1\r\nHost: f.test\r\nContent-Length: 100000\r\n\r\n{body}"))
        .await;
    assert_eq!(client.answer().await.status(), 413);
    client.closed().await;
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_are_relayed() {
    let go = Gate::closed();
    let wait = go.clone();
    let pod = Backend::start(move |mut wire, _| {
        let wait = wait.clone();
        async move {
            wire.request().await.unwrap();
            wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n").await;
            wait.pass().await;
            wire.send(ok("page")).await;
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    let hints = client.head().await.unwrap();
    assert_eq!(hints.status(), 103);
    assert_eq!(hints.field("link"), Some("</a.css>; rel=preload"));
    // Headers of the final answer belong to the final answer only.
    assert_eq!(hints.field("content-security-policy"), None);
    go.open();
    assert_eq!(client.answer().await.text(), "page");
}

/// HTTP/1.0 has no interim responses (RFC 9110 section 15.2).
#[tokio::test(flavor = "multi_thread")]
async fn http10_clients_get_no_interim_responses() {
    let hinting = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (proxy, _pod) = super::answering(hinting).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\nHost: f.test\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text()), (200, "ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_interim_responses_is_502() {
    let pod = Backend::start(|mut wire, _| async move {
        wire.request().await.unwrap();
        while wire.try_send("HTTP/1.1 102 Processing\r\n\r\n").await.is_ok() {}
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    let mut relayed = 0;
    loop {
        let mut answer = client.head().await.unwrap();
        if answer.status() == 102 {
            relayed += 1;
            continue;
        }
        client.body(&mut answer).await.unwrap();
        answer.assert_error(502, "bad_response");
        break;
    }
    assert!(relayed <= 16, "{relayed}");
    proxy.idle().await;
}

/// 101 to a request that asked for no upgrade.
#[tokio::test(flavor = "multi_thread")]
async fn unexpected_101_is_502() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    let (proxy, _pod) = super::answering(switching).await;
    let answer = proxy.client().await.get("f.test", "/").await;
    answer.assert_error(502, "bad_response");
}

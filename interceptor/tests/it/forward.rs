//! HTTP/1.1 connections of clients, HTTP/1.0, and the choice between pods.

use crate::support::{Backend, Gate, Message, Proxy, Recorder, ok, ready, until};

/// A data plane before a pod that answers everything like this.
async fn answering(answer: &'static str) -> (Proxy, Backend) {
    let pod = Backend::answering(move |_| answer);
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    (proxy, pod)
}

/// Pipelined requests are answered one after the other, each from its own exchange.
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let pod = Backend::answering(|request| ok(&format!("{} {}", request.target(), request.text())));
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    let mut all = String::new();
    for n in 0..20 {
        all += &match n % 3 {
            0 => format!("GET /{n} HTTP/1.1\r\nHost: f.test\r\n\r\n"),
            1 => format!("POST /{n} HTTP/1.1\r\nHost: f.test\r\nContent-Length: 5\r\n\r\nhello"),
            _ => format!(
                "POST /{n} HTTP/1.1\r\nHost: f.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n0\r\n\r\n"
            ),
        };
    }
    client.send(all).await;
    for n in 0..20 {
        let body = if n % 3 == 0 { "" } else { "hello" };
        assert_eq!(client.answer().await.text(), format!("/{n} {body}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_close_of_the_client_is_honoured() {
    let (proxy, _pod) = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: f.test\r\nConnection: close\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.text(), answer.field("connection")), ("ok", Some("close")));
    client.closed().await;
}

/// What a client sends behind the request it called its last is not served, and does not cost it
/// the answer: closing over unread bytes would reset the connection.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_behind_the_last_request() {
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    let pod = recorder.start(&gate);
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let last =
        "POST /last HTTP/1.1\r\nHost: f.test\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody";
    let mut together = proxy.client().await;
    together.send(format!("{last}GET /more HTTP/1.1\r\nHost: f.test\r\n\r\n")).await;
    let mut later = proxy.client().await;
    later.send(last).await;
    until("both run", || recorder.running() == 2).await;
    later.send(vec![b'x'; 200_000]).await;
    gate.open();
    for client in [&mut together, &mut later] {
        assert_eq!(client.answer().await.text(), "/last");
        assert!(client.rest().await.unwrap().is_empty());
    }
    assert_eq!(recorder.targets(), ["/last", "/last"]);
}

/// HTTP/1.0 knows no chunks: the end of the connection ends the body.
#[tokio::test(flavor = "multi_thread")]
async fn http10_clients_get_close_delimited_bodies() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n";
    let (proxy, _pod) = answering(chunked).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\nHost: f.test\r\nConnection: keep-alive\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(answer.text(), "hello world");
}

#[tokio::test(flavor = "multi_thread")]
async fn http10_clients_may_keep_the_connection() {
    let (proxy, _pod) = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nHost: f.test\r\nConnection: keep-alive\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!(answer.field("connection"), Some("keep-alive"));
        assert_eq!(answer.text(), "ok");
    }
    client.send("GET / HTTP/1.0\r\nHost: f.test\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "ok");
    client.closed().await;
}

/// HTTP/1.0 has no interim responses (RFC 9110 section 15.2).
#[tokio::test(flavor = "multi_thread")]
async fn http10_clients_get_no_interim_responses() {
    let hinting = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (proxy, _pod) = answering(hinting).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\nHost: f.test\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text()), (200, "ok"));
}

/// The least loaded of two pods gets the next request, and a terminating one gets none.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_balanced() {
    let (one, two) = (Recorder::new(), Recorder::new());
    let gate = Gate::closed();
    let (a, b) = (one.start(&gate), two.start(&gate));
    let proxy = Proxy::one(&[ready(a.address), ready(b.address)]).await;
    let mut clients = Vec::new();
    for n in 0..10 {
        let mut client = proxy.client().await;
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: f.test\r\n\r\n")).await;
        let arrived = || one.running() + two.running() == n + 1;
        until("the request arrives", arrived).await;
        clients.push(client);
    }
    assert_eq!((one.running(), two.running()), (5, 5));
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer().await.status(), 200);
    }
    let mut leaving = ready(a.address);
    leaving.terminating = true;
    proxy.place(&proxy.f().id, &[leaving, ready(b.address)]).await;
    let leaving_known = || !proxy.f().endpoints().all[0].load.usable(u64::MAX);
    until("the terminating pod is known", leaving_known).await;
    let before = one.targets().len();
    for _ in 0..20 {
        let answer: Message = clients[0].get("f.test", "/").await;
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(one.targets().len(), before);
}

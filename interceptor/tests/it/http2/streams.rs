//! HTTP/2 clients of pods that speak HTTP/1.1.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use super::client::{Client, answer, read, request, write};
use crate::support::{
    Backend, Gate, Proxy, Recorder, Reserved, Wire, function, not_ready, ok, ready, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_a_connection() {
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    let pod = recorder.start(&gate);
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let mut responses = Vec::new();
    for n in 0..20 {
        let get = request(Method::GET, "f.test", &format!("/{n}"));
        responses.push(client.start(get, true).await.0);
    }
    recorder.wait(8).await;
    gate.open();
    for (n, response) in responses.into_iter().enumerate() {
        let answer = answer(response).await.unwrap();
        assert_eq!(answer.body, format!("/{n}").as_bytes());
        assert_eq!(answer.fields["x-content-type-options"], "nosniff");
    }
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_answers_have_the_json_shape() {
    let proxy = Proxy::one(&[]).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client.get("nobody.test", "/").await;
    assert_eq!(answer.status, 404);
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["reason"], "unknown_host");
    assert_eq!(body["requestId"], answer.fields["x-request-id"].to_str().unwrap());
}

/// Bodies and trailers, both ways, between h2 and h1.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_to_and_from_an_http1_pod() {
    let pod = Backend::start(|mut wire, _| async move {
        let request = wire.request().await.unwrap();
        assert_eq!(request.field("transfer-encoding"), Some("chunked"));
        assert_eq!(request.field("te"), Some("trailers"));
        assert_eq!(request.field("cookie"), Some("a=1; b=2"));
        assert_eq!(request.text(), "hello");
        let trailer = ("x-sum".to_owned(), "5".to_owned());
        assert_eq!(request.trailers, [trailer]);
        wire.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbye\r\n0\r\n\
             X-Checked: 5\r\n\r\n",
        )
        .await;
        wire.closed().await;
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let mut post = request(Method::POST, "f.test", "/");
    post.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    post.headers_mut().append("cookie", HeaderValue::from_static("a=1"));
    post.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
    let (response, mut body) = client.start(post, false).await;
    write(&mut body, Bytes::from_static(b"hello"), false).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("5"));
    trailers.insert("content-length", HeaderValue::from_static("9"));
    body.send_trailers(trailers).unwrap();
    let answer = answer(response).await.unwrap();
    assert_eq!(answer.body, b"bye");
    assert_eq!(answer.trailers.unwrap()["x-checked"], "5");
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_streams_are_answered() {
    let reserved = Reserved::new();
    let proxy = Proxy::one(&[not_ready(reserved.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let (response, _) = client.start(request(Method::GET, "f.test", "/cold"), true).await;
    proxy.held(1).await;
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    gate.open();
    let _pod = recorder.start_at(reserved, &gate);
    let answer = answer(response).await.unwrap();
    assert_eq!(answer.body, b"/cold");
    assert!(answer.fields.contains_key("server-timing"));
}

/// A client that resets a held stream, or closes with streams held, leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn held_streams_are_dropped_with_their_client() {
    let proxy = Proxy::one(&[]).await;
    let mut client = Client::connect(proxy.address).await;
    let mut streams = Vec::new();
    for n in 0..10 {
        let post = request(Method::POST, "f.test", &format!("/{n}"));
        streams.push(client.start(post, false).await);
    }
    proxy.held(10).await;
    for (_, body) in &mut streams[..5] {
        body.send_reset(h2::Reason::CANCEL);
    }
    proxy.held(5).await;
    drop((streams, client));
    proxy.idle().await;
    let recorder = Recorder::new();
    let pod = recorder.start_open();
    proxy.place(&proxy.f().id, &[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    assert_eq!(client.get("f.test", "/stayed").await.status, 200);
    assert_eq!(recorder.targets(), ["/stayed"]);
}

/// A client that resets a running stream ends the pod's connection, too.
#[tokio::test(flavor = "multi_thread")]
async fn running_streams_are_dropped_with_their_client() {
    let (asked, left) = (Gate::closed(), Gate::closed());
    let (tell_asked, tell_left) = (asked.clone(), left.clone());
    let pod = Backend::start(move |mut wire, _| {
        let (asked, left) = (tell_asked.clone(), tell_left.clone());
        async move {
            wire.request().await.unwrap();
            asked.open();
            wire.closed().await;
            left.open();
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let (response, mut body) = client.start(request(Method::GET, "f.test", "/"), true).await;
    asked.pass().await;
    body.send_reset(h2::Reason::CANCEL);
    drop(response);
    left.pass().await;
    proxy.idle().await;
}

/// A client that grants no window slows the pod down; then everything arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_window_slows_the_pod_down() {
    const LARGE: usize = 50_000_000;
    let stalled = Gate::closed();
    let tell = stalled.clone();
    let pod = Backend::start(move |mut wire, _| {
        let tell = tell.clone();
        async move {
            wire.request().await.unwrap();
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await;
            stall(&mut wire, LARGE, &tell).await;
            wire.closed().await;
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let (response, _) = client.start(request(Method::GET, "f.test", "/"), true).await;
    let mut body = response.await.unwrap().into_body();
    stalled.pass().await;
    assert_eq!(read(&mut body).await.unwrap().len(), LARGE);
    proxy.idle().await;
}

/// Writes `n` bytes; opens `stalled` once no more are taken, which has to be before their end.
async fn stall(wire: &mut Wire, n: usize, stalled: &Gate) {
    use tokio::io::AsyncWriteExt as _;
    let (part, mut left, mut waited) = (vec![b'x'; 50_000], n, false);
    while left > 0 {
        let writing = wire.stream.write(&part[..left.min(part.len())]);
        let pause = std::time::Duration::from_millis(300);
        match tokio::time::timeout(pause, writing).await {
            Ok(written) => left -= written.unwrap(),
            Err(_) => {
                waited = true;
                stalled.open();
            }
        }
    }
    assert!(waited, "all of it was buffered somewhere");
}

/// A pod that does not read slows the client down.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_does_not_read_slows_the_client_down() {
    const LARGE: usize = 50_000_000;
    let go = Gate::closed();
    let wait = go.clone();
    let pod = Backend::start(move |mut wire, _| {
        let wait = wait.clone();
        async move {
            let mut request = wire.head().await.unwrap();
            wait.pass().await;
            wire.body(&mut request).await.unwrap();
            wire.send(ok(&request.body.len().to_string())).await;
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let (response, mut body) = client.start(request(Method::POST, "f.test", "/"), false).await;
    let mut sent = 0;
    let part = Bytes::from(vec![b'x'; 16_384]);
    while sent < LARGE {
        body.reserve_capacity(part.len());
        let granted = std::future::poll_fn(|cx| body.poll_capacity(cx));
        let pause = std::time::Duration::from_millis(300);
        let Ok(granted) = tokio::time::timeout(pause, granted).await else {
            go.open();
            continue;
        };
        let n = granted.unwrap().unwrap().min(LARGE - sent).min(part.len());
        sent += n;
        body.send_data(part.slice(..n), sent == LARGE).unwrap();
    }
    go.open();
    let answer = answer(response).await.unwrap();
    assert_eq!(answer.body, LARGE.to_string().as_bytes());
    proxy.idle().await;
}

/// A pod that breaks off: the stream is reset, never ended well, and the connection goes on.
#[tokio::test(flavor = "multi_thread")]
async fn cut_bodies_are_reset_streams() {
    let pod = Backend::start(|mut wire, number| async move {
        wire.request().await.unwrap();
        match number {
            0 => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").await,
            1 => {
                let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n";
                wire.send(chunks).await;
            }
            _ => wire.send(ok("well")).await,
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..2 {
        let (response, _) = client.start(request(Method::GET, "f.test", "/"), true).await;
        assert!(answer(response).await.is_err());
    }
    assert_eq!(client.get("f.test", "/").await.body, b"well");
    proxy.idle().await;
}

/// A pod that takes nothing of a body has as long as one that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_takes_nothing_of_a_body_is_504() {
    let pod = Backend::start(|wire, _| async move {
        let closed = wire.stream.ready(tokio::io::Interest::PRIORITY);
        within("the connection ends", closed).await.unwrap();
    });
    let proxy = Proxy::start().await;
    let mut spec = function("f");
    spec.timeouts.response_header = std::time::Duration::from_millis(500);
    proxy.add(spec, &[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let (response, mut body) = client.start(request(Method::PUT, "f.test", "/"), false).await;
    let writing = tokio::spawn(async move {
        let part = Bytes::from(vec![b'x'; 16_384]);
        loop {
            body.reserve_capacity(part.len());
            let granted = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
            let Some(Ok(n)) = granted else { return };
            if body.send_data(part.slice(..n.min(part.len())), false).is_err() {
                return;
            }
        }
    });
    let answer = answer(response).await.unwrap();
    assert_eq!(answer.status, 504);
    drop(client);
    within("the writer ends", writing).await.unwrap();
    proxy.idle().await;
}

//! gRPC: calls that go to pods over HTTP/2 by their content type.

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Method, Request, Response};

use super::{
    client::{Client, answer, read, request, write},
    frames::{GOAWAY, HEADERS, PREFACE, SETTINGS, frame, read_kind},
};
use crate::support::{Backend, Proxy, Reserved, Wire, not_ready, ready, within};

/// A pod that serves each stream with `serve`.
fn h2_pod<F>(
    reserved: Reserved,
    serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + Clone + 'static,
) -> Backend
where
    F: Future<Output = ()> + Send + 'static,
{
    Backend::start_at(reserved, move |wire, _| {
        let serve = serve.clone();
        async move {
            let Ok(mut connection) = h2::server::handshake(wire.stream).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(serve(request, respond));
            }
        }
    })
}

/// Reads the body and answers as a gRPC server does: a message, then the status as trailers.
async fn grpc(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(request.uri().authority().unwrap(), "f.test");
    assert_eq!(request.headers()["x-forwarded-for"], "127.0.0.1");
    let mut body = request.into_body();
    let message = read(&mut body).await.unwrap();
    let mut head = Response::new(());
    let kind = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert("content-type", kind);
    let mut stream = respond.send_response(head, false).unwrap();
    write(&mut stream, message.into(), false).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers).unwrap();
}

fn grpc_request(target: &str) -> Request<()> {
    let mut call = request(Method::POST, "f.test", target);
    call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    call.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    call
}

async fn call(client: &mut Client) -> super::client::Answer {
    let (response, mut body) = client.start(grpc_request("/svc/Unary"), false).await;
    write(&mut body, Bytes::from_static(b"\0\0\0\0\x02hi"), true).await;
    answer(response).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_unary() {
    let pod = h2_pod(Reserved::new(), grpc);
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..20 {
        let answer = call(&mut client).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"\0\0\0\0\x02hi"[..]));
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    }
    assert_eq!(pod.accepted(), 1, "one multiplexed connection");
    proxy.idle().await;
}

/// A cold start over HTTP/2 to the pod.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_from_zero() {
    let reserved = Reserved::new();
    let proxy = Proxy::one(&[not_ready(reserved.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let (response, mut body) = client.start(grpc_request("/svc/Unary"), false).await;
    write(&mut body, Bytes::from_static(b"hi"), true).await;
    proxy.held(1).await;
    let _pod = h2_pod(reserved, grpc);
    let answer = answer(response).await.unwrap();
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    assert!(answer.fields.contains_key("server-timing"));
}

/// Messages both ways on one stream, each answered before the next is sent.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_streaming() {
    let pod = h2_pod(Reserved::new(), |request, mut respond| async move {
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        let mut body = request.into_body();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            write(&mut stream, data, false).await;
        }
        stream.send_trailers(HeaderMap::new()).unwrap();
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let (response, mut body) = client.start(grpc_request("/svc/Chat"), false).await;
    let mut answers = within("a head before the body's end", response).await.unwrap().into_body();
    for n in 0..100 {
        let message = Bytes::from(format!("message {n}"));
        write(&mut body, message.clone(), false).await;
        let mut got = Vec::new();
        while got.len() < message.len() {
            let data = within("the echo", answers.data()).await.unwrap().unwrap();
            answers.flow_control().release_capacity(data.len()).unwrap();
            got.extend_from_slice(&data);
        }
        assert_eq!(got, message);
    }
    body.send_data(Bytes::new(), true).unwrap();
    assert!(read(&mut answers).await.unwrap().is_empty());
    proxy.idle().await;
}

/// A pod that shuts down its connection for good: the next call goes over a new one.
#[tokio::test(flavor = "multi_thread")]
async fn goaway_is_followed_by_a_new_connection() {
    let pod = Backend::start(|wire: Wire, number| async move {
        let mut connection = h2::server::handshake(wire.stream).await.unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(grpc(request, respond));
            if number == 0 {
                connection.graceful_shutdown();
            }
        }
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..5 {
        assert_eq!(call(&mut client).await.status, 200);
    }
    assert_eq!(pod.accepted(), 2);
}

/// A pod that answers its first connection's first request with a GOAWAY naming `last` as the last
/// stream it processed, and closes; it serves later connections. It reads on until the proxy has
/// closed too: a close over unread bytes would be a reset, which may overtake the GOAWAY, and then
/// nobody can know that the stream was not processed.
fn goaway_pod(last: u32) -> Backend {
    Backend::start(move |mut wire: Wire, number| async move {
        if number > 0 {
            let mut connection = h2::server::handshake(wire.stream).await.unwrap();
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(grpc(request, respond));
            }
            return;
        }
        wire.exactly(PREFACE.len()).await.unwrap();
        wire.send(frame(SETTINGS, 0, 0, &[])).await;
        read_kind(&mut wire, HEADERS, 1).await.unwrap();
        let goaway = [last.to_be_bytes(), 0_u32.to_be_bytes()].concat();
        wire.send(frame(GOAWAY, 0, 0, &goaway)).await;
        wire.finish().await;
        let _ = wire.rest().await;
    })
}

/// A GOAWAY that names an earlier stream says that this one was not processed: it is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_behind_a_goaway_is_replayed() {
    let pod = goaway_pod(0);
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    assert_eq!(call(&mut client).await.status, 200);
    assert_eq!((pod.accepted(), proxy.metric("replays_total", &[])), (2, 1.0));
}

/// A stream that a GOAWAY counts as processed may have been executed: it is not sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_before_a_goaway_is_not_replayed() {
    let pod = goaway_pod(1);
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    // No body: the answer comes as soon as the pod has the head, maybe before a body is written.
    let (response, _) = client.start(grpc_request("/svc/Unary"), true).await;
    assert_eq!(answer(response).await.unwrap().status, 502);
    assert_eq!(proxy.metric("replays_total", &[]), 0.0);
    proxy.idle().await;
}

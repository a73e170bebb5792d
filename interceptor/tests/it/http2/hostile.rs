//! Peers that try to make this proxy work or remember without end (RFC 9113 section 10.5).

use kipper_interceptor::config::ProxyConfig;

use super::{
    client::{Client, answer, request},
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, GOAWAY, HEADERS,
        REFUSED_STREAM, RST_STREAM, SETTINGS, connect, fields, frame, get, read, read_kind,
    },
};
use crate::support::{Backend, Proxy, Recorder, Wire, function, ok, ready};

/// Sends until the connection ends; what the server's last word was.
async fn flood(wire: &mut Wire, mut next: impl FnMut(u32) -> Vec<u8>, most: u32) -> Frame {
    let mut sent = 0;
    while sent < most && wire.try_send(next(sent)).await.is_ok() {
        sent += 1;
    }
    read_kind(wire, GOAWAY, 0).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_header_list_limit() {
    let recorder = Recorder::new();
    let pod = recorder.start_open();
    let config = ProxyConfig { max_header_bytes: 4096, ..ProxyConfig::default() };
    let proxy = Proxy::with(config).await;
    proxy.add(function("f"), &[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let mut large = request(http::Method::GET, "f.test", "/large");
    large.headers_mut().insert("x-large", "a".repeat(8192).parse().unwrap());
    let (response, _) = client.start(large, true).await;
    let status = answer(response).await.map(|a| a.status);
    assert!(matches!(status, Ok(431) | Err(_)), "{status:?}");
    // Compression does not get around it: one entry of the table, referred to again and again.
    let mut wire = connect(proxy.address).await;
    let entry = "a".repeat(100);
    let mut block = get("f.test", &[]);
    block.extend([0x40, 3, b'x', b'-', b'a', 100]);
    block.extend(entry.as_bytes());
    block.extend([0x80 | 62; 1000]);
    wire.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
    while let Ok(answer) = read(&mut wire).await {
        // A status that is not in the static table: 431, and surely not 200.
        assert!(answer.kind != HEADERS || answer.payload[0] != 0x80 | 8, "{answer:?}");
        if matches!(answer.kind, HEADERS | RST_STREAM | GOAWAY) {
            break;
        }
    }
    assert!(recorder.targets().is_empty());
    // The limit is the connection's, not the process's.
    let mut other = Client::connect(proxy.address).await;
    assert_eq!(other.get("f.test", "/small").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_stream_limit() {
    const LIMIT: u32 = 4;
    let config = ProxyConfig { h2_max_streams: LIMIT, ..ProxyConfig::default() };
    let proxy = Proxy::with(config).await;
    proxy.add(function("f"), &[]).await;
    let mut wire = connect(proxy.address).await;
    let settings = read_kind(&mut wire, SETTINGS, 0).await.unwrap();
    let announced = settings.payload.chunks(6).any(|s| s == [0, 3, 0, 0, 0, 4]);
    assert!(announced, "{settings:?}");
    for n in 0..LIMIT {
        wire.send(frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * n, &get("f.test", &[]))).await;
    }
    proxy.held(4).await;
    let one_more = 1 + 2 * LIMIT;
    wire.send(frame(HEADERS, END_HEADERS | END_STREAM, one_more, &get("f.test", &[]))).await;
    let refused = read_kind(&mut wire, RST_STREAM, one_more).await.unwrap();
    assert_eq!(refused.error(), REFUSED_STREAM);
    assert_eq!(proxy.f().held(), 4);
    drop(wire);
    proxy.idle().await;
}

/// Streams opened and reset at once (CVE-2023-44487).
#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset() {
    let recorder = Recorder::new();
    let proxy = Proxy::one(&[]).await;
    let mut wire = connect(proxy.address).await;
    let cancel = 8_u32.to_be_bytes();
    let pair = |n: u32| {
        let stream = 1 + 2 * n;
        let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("f.test", &[]));
        [open, frame(RST_STREAM, 0, stream, &cancel)].concat()
    };
    // All in one go, so that no stream is looked at before its reset is there.
    let batch: Vec<u8> = (0..20_000).flat_map(pair).collect();
    let _ = wire.try_send(batch).await;
    let end = read_kind(&mut wire, GOAWAY, 0).await.unwrap();
    assert_eq!(end.error(), ENHANCE_YOUR_CALM);
    proxy.idle().await;
    let pod = recorder.start_open();
    proxy.place(&proxy.f().id, &[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    assert_eq!(client.get("f.test", "/after").await.status, 200);
    assert_eq!(recorder.targets(), ["/after"]);
}

/// A header block that never ends (CVE-2024-27316).
#[tokio::test(flavor = "multi_thread")]
async fn continuation_flood() {
    let proxy = Proxy::one(&[]).await;
    for part in [fields(&[("x-a", &"b".repeat(100))]), Vec::new()] {
        let mut wire = connect(proxy.address).await;
        wire.send(frame(HEADERS, END_STREAM, 1, &get("f.test", &[]))).await;
        let next = |_| frame(CONTINUATION, 0, 1, &part);
        let end = flood(&mut wire, next, 1_000_000).await;
        assert_ne!(end.error(), 0, "{end:?}");
    }
    assert_eq!(proxy.f().counters.total(), 0);
    proxy.idle().await;
}

/// h2 leaves them out before anybody can refuse them.
#[tokio::test(flavor = "multi_thread")]
async fn pseudo_fields_of_trailers_go_no_further() {
    let pod =
        Backend::answering(|request| ok(&format!("{} {:?}", request.target(), request.trailers)));
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut wire = connect(proxy.address).await;
    let head =
        [(":method", "POST"), (":scheme", "http"), (":authority", "f.test"), (":path", "/raw")];
    wire.send(frame(HEADERS, END_HEADERS, 1, &fields(&head))).await;
    wire.send(frame(DATA, 0, 1, b"hello")).await;
    let trailers = fields(&[(":path", "/event"), (":authority", "g.test"), ("x-sum", "5")]);
    wire.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)).await;
    let answer = read_kind(&mut wire, DATA, 1).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.payload), r#"/raw [("x-sum", "5")]"#);
}

/// What frames or routes a message differently in HTTP/1.1, or is malformed, ends here.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_reach_no_pod() {
    let recorder = Recorder::new();
    let pod = recorder.start_open();
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let bad: &[&[(&str, &str)]] = &[
        &[("transfer-encoding", "chunked")],
        &[("connection", "keep-alive")],
        &[("te", "gzip")],
        &[("Upper", "case")],
        &[("transfer_encoding", "chunked")],
        &[("content_length", "5")],
        &[("host", "other.test")],
        &[("content-length", "5")],
        &[("x-a", "b\r\nx-c: d")],
        &[("x-a", "b\0")],
        &[(":path", "/twice")],
    ];
    for more in bad {
        let mut wire = connect(proxy.address).await;
        wire.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("f.test", more))).await;
        loop {
            let answer = match read(&mut wire).await {
                Ok(answer) => answer,
                Err(_) => break,
            };
            match answer.kind {
                RST_STREAM | GOAWAY => break,
                // `:status 400` is entry 12 of the static table (RFC 7541 appendix A).
                HEADERS => {
                    assert_eq!(answer.payload[0], 0x80 | 12, "{more:?}");
                    break;
                }
                _ => {}
            }
        }
    }
    assert_eq!(recorder.targets(), [""; 0]);
    // What gRPC sends stays.
    let mut wire = connect(proxy.address).await;
    let block = get("f.test", &[("te", "trailers")]);
    wire.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
    let answer = read_kind(&mut wire, HEADERS, 1).await.unwrap();
    assert_eq!(answer.payload[0], 0x80 | 8, "status 200");
    assert_eq!(recorder.targets(), ["/raw"]);
}

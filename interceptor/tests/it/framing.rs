//! What two parsers could read differently never reaches a pod, and what is refused is refused in
//! the same JSON shape everywhere.

use kipper_interceptor::{config::ProxyConfig, source::RouteSpec};

use crate::support::{Backend, Gate, Message, Proxy, Recorder, function, ok, ready};

/// Sends `request` on a connection of its own: the answer, after which the connection is closed.
async fn refused(proxy: &Proxy, request: impl AsRef<[u8]>) -> Message {
    let mut client = proxy.client().await;
    client.send(request).await;
    let answer = client.answer().await;
    client.closed().await;
    answer
}

/// Each of these requests is refused like that and reaches no pod; then the pod is still served.
async fn check_refused(cases: &[(&str, &str, u16, &str)]) {
    let recorder = Recorder::new();
    let pod = recorder.start_open();
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    for (name, request, status, reason) in cases {
        let answer = refused(&proxy, request).await;
        assert_eq!(answer.status(), *status, "{name}: {answer:?}");
        answer.assert_error(*status, reason);
    }
    let answer = proxy.client().await.get("f.test", "/after").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(recorder.targets(), ["/after"]);
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_lengths() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: f.test\r\n{fields}\r\n\r\n");
    let both = post("Content-Length: 5\r\nTransfer-Encoding: chunked");
    let reversed = post("Transfer-Encoding: chunked\r\nContent-Length: 5");
    let twice = post("Content-Length: 5\r\nContent-Length: 5");
    let different = post("Content-Length: 5\r\nContent-Length: 6");
    let list = post("Content-Length: 5, 5");
    let signed = post("Content-Length: +5");
    let coding = post("Transfer-Encoding: gzip, chunked");
    let doubled = post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked");
    let quoted = post("Transfer-Encoding: \"chunked\"");
    check_refused(&[
        ("CL and TE", &both, 400, "bad_request"),
        ("TE and CL", &reversed, 400, "bad_request"),
        ("duplicate CL", &twice, 400, "bad_request"),
        ("different CL", &different, 400, "bad_request"),
        ("list of CL", &list, 400, "bad_request"),
        ("signed CL", &signed, 400, "bad_request"),
        ("unknown coding", &coding, 501, "transfer_coding"),
        ("duplicate TE", &doubled, 400, "bad_request"),
        ("quoted coding", &quoted, 400, "bad_request"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_lines() {
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: f.test\r\n{fields}\r\n\r\n");
    let folded = get("X-A: 1\r\n  Transfer-Encoding: chunked");
    let bare_lf = get("X-A: 1\nX-B: 2");
    let bare_cr = get("X-A: 1\rX-B: 2");
    let nul = get("X-A: 1\0");
    let spaced = get("Transfer-Encoding : chunked");
    let underscore = get("Transfer_Encoding: chunked");
    let length_underscore = get("Content_Length: 5");
    let hosts = get("Host: g.test");
    let no_host = "GET / HTTP/1.1\r\nX-A: 1\r\n\r\n";
    check_refused(&[
        ("obs-fold", &folded, 400, "bad_request"),
        ("bare LF", &bare_lf, 400, "bad_request"),
        ("bare CR", &bare_cr, 400, "bad_request"),
        ("NUL", &nul, 400, "bad_request"),
        ("space before the colon", &spaced, 400, "bad_request"),
        ("Transfer_Encoding", &underscore, 400, "bad_request"),
        ("Content_Length", &length_underscore, 400, "bad_request"),
        ("two hosts", &hosts, 400, "bad_request"),
        ("no host", no_host, 400, "bad_request"),
        ("HTTP/2.0", "GET / HTTP/2.0\r\nHost: f.test\r\n\r\n", 505, "http_version"),
        ("HTTP/1.10", "GET / HTTP/1.10\r\nHost: f.test\r\n\r\n", 400, "bad_request"),
        (
            "CONNECT",
            "CONNECT f.test:80 HTTP/1.1\r\nHost: f.test\r\n\r\n",
            405,
            "method_not_allowed",
        ),
    ])
    .await;
}

/// RFC 9112 section 3.2.2: a target that names an authority is for that one, whatever `Host` says,
/// and `Host` is generated from it. RFC 9110 section 2.5: a higher minor version is no other one.
#[tokio::test(flavor = "multi_thread")]
async fn authorities_of_targets_and_minor_versions() {
    let pod = Backend::answering(|request| {
        ok(&format!("{} {}", request.target(), request.field("host").unwrap_or("none")))
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let check = async |line: &str, host: &str, expected: &str| {
        let mut client = proxy.client().await;
        client.send(format!("{line}\r\nHost: {host}\r\n\r\n")).await;
        let answer = client.answer().await;
        match expected {
            "unknown_host" => answer.assert_error(404, expected),
            expected => assert_eq!((answer.status(), answer.text()), (200, expected), "{line}"),
        }
    };
    check("GET http://f.test/x HTTP/1.1", "g.test", "/x f.test").await;
    check("GET http://f.test:80/x HTTP/1.1", "f.test", "/x f.test:80").await;
    check("GET http://f.test/x HTTP/1.1", "f.test:80", "/x f.test").await;
    check("GET https://F.Test?y HTTP/1.1", "g.test", "/?y F.Test").await;
    check("GET http://g.test/ HTTP/1.1", "f.test", "unknown_host").await;
    check("GET /x HTTP/1.2", "f.test", "/x f.test").await;
    check("GET /x HTTP/1.9", "f.test", "/x f.test").await;
    proxy.idle().await;
}

/// Bytes that are not even UTF-8 are the pod's to read.
#[tokio::test(flavor = "multi_thread")]
async fn targets_pass_byte_by_byte() {
    let target = b"GET /\xe9\xff%C3\"<>|?\xfe=\x80 HTTP/1.1\r\n";
    let pod = Backend::start(move |mut wire, _| async move {
        let line = wire.through(b"\r\n").await.unwrap();
        assert_eq!(line.escape_ascii().to_string(), target.escape_ascii().to_string());
        wire.through(b"\r\n\r\n").await.unwrap();
        wire.send(ok("fine")).await;
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send([&target[..], b"Host: f.test\r\n\r\n"].concat()).await;
    assert_eq!(client.answer().await.text(), "fine");
}

/// Which bound was hit, the answer says.
#[tokio::test(flavor = "multi_thread")]
async fn too_large_heads_name_their_bound() {
    let proxy = Proxy::start().await;
    let fields = "x: y\r\n".repeat(1000);
    let many = refused(&proxy, format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
    many.assert_error(431, "headers_too_large");
    assert!(many.text().contains("more than 100 header fields"), "{}", many.text());
    let long = "a".repeat(40_000);
    let long = refused(&proxy, format!("GET / HTTP/1.1\r\nHost: a\r\nx: {long}\r\n\r\n")).await;
    long.assert_error(431, "headers_too_large");
    assert!(long.text().contains("longer than 32768 bytes"), "{}", long.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn http10_with_transfer_encoding() {
    let request = "POST / HTTP/1.0\r\nHost: f.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    check_refused(&[("HTTP/1.0 with TE", request, 400, "bad_request")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_heads_are_refused_as_soon_as_they_are_too_long() {
    let config = ProxyConfig { max_header_bytes: 2048, ..ProxyConfig::default() };
    let proxy = Proxy::with(config).await;
    let long = "a".repeat(2048);
    let endless = format!("GET / HTTP/1.1\r\nHost: f.test\r\nX-Long: {long}");
    refused(&proxy, endless).await.assert_error(431, "headers_too_large");
}

/// A body that turns out to be malformed: the pod never gets a complete request.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_chunks() {
    let bodies: &[&[u8]] = &[
        b"5\r\nhello\r\n0x1\r\na\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX-Bare: lf\n\r\n\r\n",
    ];
    let recorder = Recorder::new();
    let pod = recorder.start_open();
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    for body in bodies {
        let mut client = proxy.client().await;
        client
            .send(b"POST /bad HTTP/1.1\r\nHost: f.test\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        client.send(body).await;
        client.answer().await.assert_error(400, "bad_request");
        client.closed().await;
    }
    proxy.idle().await;
    assert_eq!(recorder.targets(), [""; 0]);
}

/// Chunk extensions are dropped and chunks are framed anew.
#[tokio::test(flavor = "multi_thread")]
async fn chunk_extensions_end_here() {
    let pod = Backend::start(|mut wire, _| async move {
        wire.head().await.unwrap();
        let raw = wire.through(b"0\r\n\r\n").await.unwrap();
        assert_eq!(String::from_utf8_lossy(&raw), "5\r\nhello\r\n0\r\n\r\n");
        wire.send(ok("fine")).await;
    });
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client
        .send(
            b"POST / HTTP/1.1\r\nHost: f.test\r\nTransfer-Encoding: chunked\r\n\r\n\
              5;name=\"value\"\r\nhello\r\n0;last\r\n\r\n",
        )
        .await;
    assert_eq!(client.answer().await.text(), "fine");
}

/// A refused request's tail is never read as the next request.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_behind_a_refused_request() {
    let recorder = Recorder::new();
    let pod = recorder.start_open();
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let smuggled = "POST / HTTP/1.1\r\nHost: f.test\r\nContent-Length: 5\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: f.test\r\n\r\n";
    refused(&proxy, smuggled).await.assert_error(400, "bad_request");
    // Nor is the body of a request that its function did not read.
    let gate = Gate::closed();
    gate.open();
    let unread = "POST /event HTTP/1.1\r\nHost: e.test\r\nContent-Length: 38\r\n\r\n\
        GET /smuggled HTTP/1.1\r\nHost: f.test\r\n\r\n";
    let event = RouteSpec { event_trigger: true, ..function("e") };
    proxy.add(event, &[ready(pod.address)]).await;
    refused(&proxy, unread).await.assert_error(404, "event_path");
    assert!(recorder.targets().is_empty());
}

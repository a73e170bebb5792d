//! The access log: a line for each way in which a request can end, as a process writes it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    http2,
    support::{Backend, Gate, Process, Recorder, Wire, ok, until},
};

const FLAGS: [&str; 3] = ["--access-log", "--drain-delay", "0s"];

/// Lines so far.
fn lines(process: &Process) -> Vec<Value> {
    let log = process.log();
    let objects = log.lines().filter(|line| line.starts_with('{'));
    objects.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Compares what is `expected` of a line; null = it is not there.
#[track_caller]
fn check(line: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(line.get(key).unwrap_or(&Value::Null), value, "{key} of {line}");
    }
    let text = |key: &str| line[key].as_str().unwrap_or_else(|| panic!("{key} of {line}"));
    assert!(text("time").ends_with('Z'), "{line}");
    assert!(!text("requestId").is_empty());
    assert!(line["durationMs"].as_f64().unwrap() >= 0.0);
}

/// Waits for the next line.
async fn next(process: &Process, n: &mut usize, expected: Value) -> Value {
    until("a line is written", || lines(process).len() > *n).await;
    let line = lines(process)[*n].clone();
    check(&line, &expected);
    *n += 1;
    line
}

fn phases(line: &Value) -> BTreeSet<&str> {
    line["phasesMs"].as_object().unwrap().keys().map(String::as_str).collect()
}

fn route(name: &str, pods: &[&Backend]) -> Value {
    let endpoints: Vec<_> = pods.iter().map(|pod| pod.address.to_string()).collect();
    let hosts = [format!("{name}.test")];
    json!({"namespace": "it", "name": name, "hosts": hosts, "endpoints": endpoints})
}

#[tokio::test(flavor = "multi_thread")]
async fn answered_requests() {
    let pod = Backend::answering(|request| ok(request.text()));
    let flags = [&FLAGS[..], &["--trusted-proxies", "127.0.0.0/8"]].concat();
    let process = Process::start(&json!([route("f", &[&pod])]), &flags).await;
    let mut n = 0;
    let mut client = Wire::connect(process.address).await;
    client
        .send(
            "GET /a/b?secret=1 HTTP/1.1\r\nHost: f.test\r\nUser-Agent: \"it\\1\"\r\n\
             Cookie: secret=1\r\nX-Request-Id: id-1\r\nX-Forwarded-For: 192.0.2.1, 198.51.100.7, 127.0.0.9\r\n\
             traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n\r\n",
        )
        .await;
    client.answer().await;
    let expected = json!({
        "namespace": "it", "function": "f", "method": "GET", "host": "f.test", "path": "/a/b",
        "protocol": "HTTP/1.1", "status": 200, "reason": null, "requestId": "id-1",
        "traceId": "0af7651916cd43dd8448eb211c80319c", "bytesReceived": 0, "bytesSent": 0,
        "client": "198.51.100.7", "userAgent": "\"it\\1\"", "pod": pod.address.to_string(),
    });
    let line = next(&process, &mut n, expected).await;
    assert_eq!(phases(&line), BTreeSet::from(["connect", "ttfb"]));
    client
        .send(
            "POST / HTTP/1.1\r\nHost: f.test\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n",
        )
        .await;
    client.answer().await;
    let expected = json!({
        "method": "POST", "bytesReceived": 5, "bytesSent": 5, "client": "127.0.0.1",
        "userAgent": null, "traceId": null,
    });
    next(&process, &mut n, expected).await;
    // Not UTF-8, UTF-8, and what would end a string or a line.
    client.send(b"GET /\xff\"\\%0a HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    client.answer().await;
    next(&process, &mut n, json!({"path": "/%FF\"\\%0a"})).await;
    client.send("GET /gr\u{fc}n HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    client.answer().await;
    next(&process, &mut n, json!({"path": "/gr\u{fc}n"})).await;
    let long = "x".repeat(5000);
    client.get("f.test", &format!("/{long}")).await;
    next(&process, &mut n, json!({"path": format!("/{}", &long[..1023])})).await;
    let mut client = http2::Client::connect(process.address).await;
    client.get("f.test", "/two?secret=1").await;
    next(&process, &mut n, json!({"protocol": "HTTP/2", "path": "/two", "status": 200})).await;
    assert!(!process.log().contains("secret"), "{}", process.log());
    process.terminate();
    assert_eq!(process.exited().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_no_function_answers() {
    let closing = Backend::start(|mut wire, _| async move {
        wire.request().await;
    });
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    let silent = recorder.start(&gate);
    let routes = [route("closing", &[&closing]), route("silent", &[&silent]), route("cold", &[])];
    let process = Process::start(&json!(routes), &FLAGS).await;
    let mut n = 0;
    let refused = [
        ("GET /a?b HTTP/1.1\r\nHost: nobody.test\r\n\r\n", 404, "unknown_host", json!("/a")),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request", Value::Null),
    ];
    for (text, status, reason, path) in refused {
        let mut client = Wire::connect(process.address).await;
        client.send(text).await;
        let answer = client.answer().await;
        let expected = json!({
            "status": status, "reason": reason, "path": path, "function": null, "pod": null,
            "requestId": answer.field("x-request-id").unwrap(), "client": "127.0.0.1",
            "bytesSent": answer.body.len(), "phasesMs": null,
        });
        next(&process, &mut n, expected).await;
    }
    let mut client = Wire::connect(process.address).await;
    let long = "x".repeat(40_000);
    client.send(format!("GET / HTTP/1.1\r\nHost: f.test\r\nX: {long}\r\n\r\n")).await;
    client.answer().await;
    let expected = json!({"status": 431, "reason": "headers_too_large", "method": null});
    next(&process, &mut n, expected).await;
    let mut client = Wire::connect(process.address).await;
    client.get("closing.test", "/").await.assert_error(502, "upstream_closed");
    let expected = json!({
        "status": 502, "reason": "upstream_closed", "function": "closing",
        "pod": closing.address.to_string(),
    });
    next(&process, &mut n, expected).await;
    let mut client = Wire::connect(process.address).await;
    client.send("GET /left HTTP/1.1\r\nHost: silent.test\r\n\r\n").await;
    recorder.wait(1).await;
    client.reset();
    let gone = json!({"status": 499, "reason": "client_gone", "path": "/left", "bytesSent": 0});
    next(&process, &mut n, gone).await;
    let mut client = Wire::connect(process.address).await;
    client.send("GET /held HTTP/1.1\r\nHost: cold.test\r\n\r\n").await;
    let metrics = "kipper_interceptor_held_requests 1";
    held(&process, metrics).await;
    client.reset();
    let gone = json!({"status": 499, "path": "/held", "function": "cold", "pod": null});
    let line = next(&process, &mut n, gone).await;
    assert_eq!(phases(&line), BTreeSet::from(["queue", "ready", "wake"]));
    gate.open();
}

/// Waits until the metrics say so.
async fn held(process: &Process, line: &str) {
    let waiting = async {
        while !process.admin_body("/metrics").await.text().contains(line) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    crate::support::within(line, waiting).await;
}

/// A tunnel is one request, and is told of when it is over.
#[tokio::test(flavor = "multi_thread")]
async fn tunnels() {
    let pod = Backend::start(|mut wire, _| async move {
        wire.head().await.unwrap();
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            .await;
        let all = wire.rest().await.unwrap();
        wire.send(format!("{} bytes", all.len())).await;
    });
    let process = Process::start(&json!([route("f", &[&pod])]), &FLAGS).await;
    let mut client = Wire::connect(process.address).await;
    client
        .send("GET /ws HTTP/1.1\r\nHost: f.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        .await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    assert!(lines(&process).is_empty(), "it is not over");
    client.send(vec![7; 300_000]).await;
    client.finish().await;
    assert_eq!(client.rest().await.unwrap(), b"300000 bytes");
    let expected = json!({"status": 101, "path": "/ws", "bytesReceived": 300_000, "bytesSent": 12});
    next(&process, &mut 0, expected).await;
}

/// What is not over by the deadline of a drain is told of when it is cut.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_a_drain_cuts() {
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    let silent = recorder.start(&gate);
    let begun = Backend::start(|mut wire, _| async move {
        wire.request().await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart").await;
        wire.closed().await;
    });
    let switched = Backend::start(|mut wire, _| async move {
        wire.request().await;
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n";
        wire.send(&format!("{head}hello")).await;
        wire.closed().await;
    });
    let routes = [
        route("silent", &[&silent]),
        route("begun", &[&begun]),
        route("cold", &[]),
        route("switched", &[&switched]),
    ];
    let flags = [&FLAGS[..], &["--drain-deadline", "300ms"]].concat();
    let process = Process::start(&json!(routes), &flags).await;
    let mut running = Wire::connect(process.address).await;
    running.send("GET / HTTP/1.1\r\nHost: silent.test\r\n\r\n").await;
    recorder.wait(1).await;
    let mut reading = http2::Client::connect(process.address).await;
    let asked = http2::request(http::Method::GET, "begun.test", "/");
    let (response, _) = reading.start(asked, true).await;
    let response = crate::support::within("the head of an answer", response).await.unwrap();
    let mut waiting = Wire::connect(process.address).await;
    waiting.send("GET / HTTP/1.1\r\nHost: cold.test\r\n\r\n").await;
    held(&process, "kipper_interceptor_held_requests 1").await;
    let mut tunnel = Wire::connect(process.address).await;
    let upgrade = "Connection: upgrade\r\nUpgrade: a\r\n\r\n";
    tunnel.send(&format!("GET / HTTP/1.1\r\nHost: switched.test\r\n{upgrade}")).await;
    assert_eq!(tunnel.head().await.unwrap().status(), 101);
    assert_eq!(tunnel.exactly(5).await.unwrap(), b"hello");
    process.terminate();
    until("each of them has a line", || lines(&process).len() == 4).await;
    let cut = |name: &str, status: u16| {
        let lines = lines(&process);
        let line = lines.iter().find(|line| line["function"] == name).unwrap();
        check(line, &json!({"status": status, "reason": "shutting_down"}));
    };
    // The status that the client has seen, if it has.
    cut("silent", 503);
    cut("begun", 200);
    cut("cold", 503);
    let lines = lines(&process);
    let line = lines.iter().find(|line| line["function"] == "switched").unwrap();
    check(line, &json!({"status": 101, "reason": null, "bytesSent": 5}));
    assert!(running.try_answer().await.is_err() && waiting.try_answer().await.is_err());
    assert!(http2::read(&mut response.into_body()).await.is_err());
    assert_eq!(process.exited().await, Some(0));
}

/// A stdout that is not read costs lines, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_it() {
    /// Lines that wait, and what a pipe and a piece take of lines of more than a KiB.
    const TAKEN: usize = 4096 + 2 * 128;
    let pod = Backend::answering(|_| ok("ok"));
    let process = Process::start_unread(&json!([route("f", &[&pod])]), &FLAGS).await;
    let mut client = Wire::connect(process.address).await;
    let path = format!("/{}", "x".repeat(1023));
    for _ in 0..TAKEN + 100 {
        assert_eq!(client.get("f.test", &path).await.status(), 200);
    }
    let metrics = process.admin_body("/metrics").await;
    let name = "kipper_interceptor_access_log_dropped_total ";
    let dropped = metrics.text().lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert!(dropped.parse::<u64>().unwrap() >= 100, "{dropped}");
    process.terminate();
    assert_eq!(process.exited().await, Some(0));
}

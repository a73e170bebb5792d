//! Real clients that upload a lot to a pod that answers at once and reads nothing of it: each gets
//! the whole answer.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response};
use kipper_counts::{CountsReport, counts_client::CountsClient};
use kipper_interceptor::source::{FunctionId, RouteSpec};
use tempfile::NamedTempFile;
use tokio::process::Command;
use tonic::Code;

use super::program;
use crate::support::{Backend, Proxy, closed, ready, within};

/// More than every buffer and window on the way.
const UPLOAD: u64 = 100_000_000;
/// Longer than one read, too.
const ANSWER: usize = 199_998;
/// `go run` compiles Go's own library where nothing is cached.
const PATIENCE: Duration = Duration::from_secs(600);

fn text() -> String {
    "early ".repeat(ANSWER / 6)
}

/// A pod that answers as soon as it has a head, and then takes nothing more.
async fn serving() -> (Proxy, Backend, String) {
    let pod = Backend::start(|mut wire, _| async move {
        if wire.head().await.is_err() {
            return;
        }
        // It reads nothing more, so its connection is of no use to others.
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {ANSWER}");
        wire.send(format!("{head}\r\n\r\n{}", text())).await;
        let _ = closed(&wire.stream).await;
    });
    let proxy = at_127_0_0_1(&pod).await;
    let url = format!("http://{}/upload", proxy.address);
    (proxy, pod, url)
}

async fn at_127_0_0_1(pod: &Backend) -> Proxy {
    let proxy = Proxy::start().await;
    let hosts = vec!["127.0.0.1".to_owned()];
    let spec = RouteSpec::new(FunctionId::new("it", "early"), hosts);
    proxy.add(spec, &[ready(pod.address)]).await;
    proxy
}

fn source(name: &str) -> String {
    let places: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/it/suites/early", name].iter().collect();
    places.to_str().unwrap().to_owned()
}

/// Runs a program to its end.
async fn run(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    let running = command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, running).await.expect("it ends").unwrap()
}

/// What it prints, having ended well.
async fn printed(program: &Path, arguments: &[&str]) -> String {
    let output = run(program, arguments).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?} {arguments:?}: {} {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The program prints the answer, after `before`.
async fn gets_it_all(program: PathBuf, arguments: &[&str], before: &str) {
    let (proxy, _pod, url) = serving().await;
    let arguments: Vec<_> = arguments.iter().map(|a| a.replace("URL", &url)).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    for _ in 0..3 {
        let got = printed(&program, &arguments).await;
        let start: String = got.chars().take(200).collect();
        assert_eq!(got.len(), before.len() + text().len(), "{arguments:?}: {start}");
        assert!(got == before.to_owned() + &text(), "{arguments:?}: {start}");
    }
    proxy.idle().await;
}

fn large_file() -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(UPLOAD).unwrap();
    file
}

fn curl(file: &NamedTempFile) -> Vec<&str> {
    let path = file.path().to_str().unwrap();
    vec!["-sS", "-N", "-H", "Expect:", "-X", "POST", "-T", path, "URL"]
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_http1() {
    let (curl_path, file) = (program("curl", "apt-get install curl"), large_file());
    gets_it_all(curl_path, &[&["--http1.1"], &curl(&file)[..]].concat(), "").await;
}

/// curl 7.88 reads nothing more once it has a whole answer, and so waits without end for the window
/// that the rest of its upload needs; it does the same with haproxy. And it drops an answer that it
/// reads together with the end of the stream, which follows two seconds later: on a busy machine
/// it may get to read no sooner.
#[tokio::test(flavor = "multi_thread")]
async fn curl_http2() {
    const ATTEMPTS: usize = 20;
    const STUCK: Option<i32> = Some(28);
    const DROPPED: Option<i32> = Some(92);
    let (proxy, _pod, url) = serving().await;
    let (curl_path, file) = (program("curl", "apt-get install curl"), large_file());
    let flags = ["--http2-prior-knowledge", "--speed-limit", "1", "--speed-time", "10"];
    let arguments = [&flags, &curl(&file)[..]].concat();
    let arguments: Vec<_> = arguments.iter().map(|a| a.replace("URL", &url)).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    for attempt in 1.. {
        let output = run(&curl_path, &arguments).await;
        let (status, errors) = (output.status, String::from_utf8_lossy(&output.stderr));
        if status.code() == DROPPED && attempt < ATTEMPTS {
            continue;
        }
        assert!(status.success() || status.code() == STUCK, "{status}: {errors}");
        assert!(output.stdout == text().as_bytes(), "{} bytes: {errors}", output.stdout.len());
        break;
    }
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nghttp_http2() {
    let file = large_file();
    let nghttp = program("nghttp", "apt-get install nghttp2-client");
    gets_it_all(nghttp, &["-d", file.path().to_str().unwrap(), "URL"], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_http1_and_http2() {
    let go = program("go", "apt-get install golang-go");
    for version in ["1", "2"] {
        let upload = source("upload.go");
        gets_it_all(go.clone(), &["run", &upload, version, "URL"], "200 ").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_http1_and_http2() {
    let node = program("node", "apt-get install nodejs");
    for version in ["1", "2"] {
        gets_it_all(node.clone(), &[&source("upload.js"), version, "URL"], "200 ").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_http1() {
    let python = program("python3", "apt-get install python3");
    gets_it_all(python, &[&source("upload1.py"), "URL"], "200 ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_http2() {
    // Debian's own, which has Debian's library.
    let python = PathBuf::from("/usr/bin/python3");
    gets_it_all(python, &[&source("upload2.py"), "URL"], "200 ").await;
}

/// A pod that refuses each call with a head that ends the stream, having read nothing.
fn refusing() -> Backend {
    Backend::start(|wire, _| async move {
        let Ok(mut connection) = h2::server::handshake(wire.stream).await else { return };
        let mut unread = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut head = Response::new(());
            let fields = head.headers_mut();
            fields.insert("content-type", HeaderValue::from_static("application/grpc"));
            fields.insert("grpc-status", HeaderValue::from_static("7"));
            fields.insert("grpc-message", HeaderValue::from_static("not you"));
            let _ended: Result<h2::SendStream<Bytes>, _> = respond.send_response(head, true);
            unread.push(request.into_body());
        }
    })
}

/// A client that streams on and on sees the status, whether it is sent at once or not.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_answer_that_is_only_trailers() {
    let pod = refusing();
    let proxy = at_127_0_0_1(&pod).await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", proxy.address));
    let channel = within("connect", endpoint.unwrap().connect()).await.unwrap();
    let mut client = CountsClient::new(channel);
    for _ in 0..3 {
        let report = CountsReport { interceptor: "x".repeat(1_000_000), ..Default::default() };
        let reports = futures_util::stream::iter(std::iter::repeat_n(report, 30));
        let called = within("the call ends", client.report(reports)).await;
        let status = called.expect_err("refused");
        assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "not you"));
    }
    drop(client);
    proxy.idle().await;
}

//! h2spec: conformance with RFC 9113 and RFC 7541, on the plain port and over TLS.

use std::{net::SocketAddr, process::Stdio};

use kipper_interceptor::source::{FunctionId, RouteSpec};
use tokio::process::Command;

use super::program;
use crate::{
    support::{Backend, Proxy, ok, ready, within},
    tls::Secure,
};

const INSTALL: &str = ".ci/setup test";
/// Every test there is.
const ALL: &str = "145 tests, 145 passed, 0 skipped, 0 failed";
/// The plain port speaks HTTP/1.1, too, and what is no preface is a malformed HTTP/1.1 request: it
/// is told so before the connection ends. See `README.md`.
const BUT_THE_PREFACE: &str = "145 tests, 144 passed, 0 skipped, 1 failed";
const PREFACE_TEST: &str = "× 2: Sends invalid connection preface";

/// A function that answers at the address h2spec names as its authority.
async fn serving(config: kipper_interceptor::config::ProxyConfig) -> (Proxy, Backend) {
    let pod = Backend::answering(|_| ok("hello"));
    let proxy = Proxy::with(config).await;
    let hosts = vec!["127.0.0.1".to_owned()];
    let spec = RouteSpec::new(FunctionId::new("it", "h2spec"), hosts);
    proxy.add(spec, &[ready(pod.address)]).await;
    (proxy, pod)
}

/// Runs h2spec: its report and the summary in it.
async fn run(address: SocketAddr, flags: &[&str]) -> (String, String) {
    let running = Command::new(program("h2spec", INSTALL))
        .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
        .args(flags)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within("h2spec ends", running).await.unwrap();
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary = report.lines().find(|l| l.contains(" tests, ")).unwrap_or("no summary");
    println!("h2spec {flags:?}: {summary}");
    let summary = summary.trim().to_owned();
    (report, summary)
}

#[tokio::test(flavor = "multi_thread")]
async fn h2spec_plaintext() {
    let (proxy, _pod) = serving(Default::default()).await;
    let (report, summary) = run(proxy.address, &[]).await;
    assert_eq!(summary, BUT_THE_PREFACE, "{report}");
    let failed: Vec<_> = report.lines().filter(|l| l.trim().starts_with('×')).collect();
    assert!(failed.iter().all(|l| l.trim() == PREFACE_TEST), "{failed:?}");
    proxy.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h2spec_tls() {
    let secure = Secure::new();
    let (proxy, _pod) = serving(secure.config()).await;
    let (report, summary) = run(proxy.tls.unwrap(), &["--tls", "--insecure"]).await;
    assert_eq!(summary, ALL, "{report}");
    proxy.idle().await;
}

//! slowhttptest: clients that send or read a little at a time are closed by our timers, and others
//! do not notice.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use kipper_interceptor::{
    config::ProxyConfig,
    source::{FunctionId, RouteSpec},
};
use tokio::{process::Command, task::JoinHandle};

use super::program;
use crate::support::{Backend, Proxy, Wire, ok, ready, until, within};

const INSTALL: &str = "apt-get install slowhttptest";
const CONNECTIONS: u32 = 200;
/// What slowhttptest says when the server closed every one of its connections by itself.
const ALL_CLOSED: &str = "No open connections left";
/// How long it would go on otherwise, in seconds.
const LONGEST: &str = "50";

/// Short timers, and a function whose answers are larger than every buffer on the way.
async fn serving() -> (Proxy, Backend) {
    let large = Arc::new(ok(&"x".repeat(8_000_000)));
    let pod = Backend::answering(move |request| match request.target() {
        "/small" => ok("small").into_bytes(),
        _ => large.as_bytes().to_vec(),
    });
    let config = ProxyConfig {
        header_timeout: Duration::from_secs(2),
        body_timeout: Duration::from_secs(2),
        ..ProxyConfig::default()
    };
    let proxy = Proxy::with(config).await;
    let hosts = vec!["127.0.0.1".to_owned()];
    let spec = RouteSpec::new(FunctionId::new("it", "slow"), hosts);
    proxy.add(spec, &[ready(pod.address)]).await;
    (proxy, pod)
}

/// A client that asks again and again, on old and new connections, until it is told to stop.
struct Others {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<usize>,
}

impl Others {
    fn start(proxy: &Proxy) -> Self {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), proxy.address);
        let stopped = Arc::clone(&stop);
        let asking = tokio::spawn(async move {
            let mut answered = 0;
            while !stopped.load(SeqCst) {
                let mut client = Wire::connect(address).await;
                for _ in 0..5 {
                    let answer = client.post("127.0.0.1", "/small", "body").await;
                    assert_eq!((answer.status(), answer.text()), (200, "small"));
                    answered += 1;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            answered
        });
        Self { stop, asking }
    }

    /// All were answered; there were some.
    async fn unharmed(self) -> usize {
        self.stop.store(true, SeqCst);
        let answered = within("the others end", self.asking).await.unwrap();
        assert!(answered > 0);
        answered
    }
}

/// slowhttptest in one of its modes; killed with the test.
fn slowhttptest(proxy: &Proxy, mode: &str, flags: &[&str]) -> Command {
    let connections = CONNECTIONS.to_string();
    let mut command = Command::new(program("slowhttptest", INSTALL));
    command
        .args([mode, "-u", &format!("http://{}/", proxy.address)])
        .args(["-c", &connections, "-r", &connections, "-l", LONGEST, "-v", "1"])
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// It runs until the server has closed every connection.
async fn survives(mode: &str, flags: &[&str]) {
    let (proxy, _pod) = serving().await;
    let others = Others::start(&proxy);
    let running = slowhttptest(&proxy, mode, flags).output();
    let output = within("slowhttptest ends", running).await.unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    // Only its last screen.
    let report = report.rsplit("status on").next().unwrap_or_default();
    assert!(report.contains(ALL_CLOSED), "{report}");
    println!("slowhttptest {mode}: {} requests of others answered", others.unharmed().await);
    proxy.idle().await;
}

/// A head that never ends.
#[tokio::test(flavor = "multi_thread")]
async fn slowhttptest_slow_headers() {
    survives("-H", &["-i", "1", "-x", "10"]).await;
}

/// A body of which a few bytes come at a time.
#[tokio::test(flavor = "multi_thread")]
async fn slowhttptest_slow_body() {
    survives("-B", &["-i", "1", "-s", "100000", "-x", "10"]).await;
}

/// An answer that is read a few bytes at a time. In this mode slowhttptest does not see that its
/// connections were reset, so what counts is what this proxy says.
#[tokio::test(flavor = "multi_thread")]
async fn slowhttptest_slow_read() {
    let (proxy, _pod) = serving().await;
    let others = Others::start(&proxy);
    let flags = ["-w", "10", "-y", "20", "-n", "1", "-z", "5", "-k", "1"];
    let mut running = slowhttptest(&proxy, "-X", &flags).spawn().unwrap();
    let cut = || proxy.metric("errors_total", &["slow_reader"]);
    until("every slow reader is cut", || cut() >= f64::from(CONNECTIONS)).await;
    assert!(running.try_wait().unwrap().is_none(), "it would have gone on");
    running.kill().await.unwrap();
    println!("slowhttptest -X: {} requests of others answered", others.unharmed().await);
    proxy.idle().await;
}

/// Connections on which nothing is ever sent.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_send_nothing() {
    let (proxy, _pod) = serving().await;
    let others = Others::start(&proxy);
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        silent.push(proxy.client().await);
    }
    for client in &mut silent {
        client.closed().await;
    }
    others.unharmed().await;
}

//! The orderly end, and starts that must not succeed.

use std::{io::Write as _, time::Duration};

use kipper_interceptor::source::RouteSpec;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    Backend, Gate, Process, Proxy, Recorder, Wire, free_address, function, ready, until, within,
};

const HELD: usize = 200;
const RUNNING: usize = 50;
const TUNNELS: usize = 5;

/// Waits until new connections are refused.
async fn port_closed(address: std::net::SocketAddr) {
    let waiting = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within("the port closes", waiting).await;
}

/// A pod that echoes on upgraded connections.
fn echo() -> Backend {
    Backend::start(|mut wire, _| async move {
        if wire.head().await.is_err() {
            return;
        }
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await;
        let (mut read, mut write) = wire.stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
}

async fn tunnel(address: std::net::SocketAddr) -> Wire {
    let mut client = Wire::connect(address).await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: ws.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    client
}

async fn ping(client: &mut Wire) {
    client.send("ping").await;
    assert_eq!(client.exactly(4).await.unwrap(), b"ping");
}

/// Sends one request per target; the answers' statuses come with the set.
async fn send_all(address: std::net::SocketAddr, n: usize) -> JoinSet<(u16, Option<String>)> {
    let mut clients = JoinSet::new();
    for i in 0..n {
        let mut client = Wire::connect(address).await;
        client.send(format!("GET /{i} HTTP/1.1\r\nHost: f.test\r\n\r\n")).await;
        clients.spawn(async move {
            let answer = client.answer().await;
            client.closed().await;
            (answer.status(), answer.field("connection").map(str::to_owned))
        });
    }
    clients
}

/// Held, running and upgraded: none is lost inside the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_in_a_drain() {
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    let (pod, echo) = (recorder.start(&gate), echo());
    let proxy = Proxy::start().await;
    let limited = RouteSpec { concurrency: u32::try_from(RUNNING).unwrap(), ..function("f") };
    let f = proxy.add(limited, &[ready(pod.address)]).await;
    proxy.add(function("ws"), &[ready(echo.address)]).await;
    let cold = proxy.add(function("cold"), &[]).await;
    let address = proxy.address;
    let mut tunnels = Vec::new();
    for _ in 0..TUNNELS {
        tunnels.push(tunnel(address).await);
    }
    let mut idle = proxy.client().await;
    assert_eq!(idle.get("nobody.test", "/").await.status(), 404);
    let mut clients = send_all(address, HELD + RUNNING).await;
    // The ramp-up window opens with time until the limit is reached.
    until("as many run as may", || recorder.running() == RUNNING).await;
    until("the others are held", || f.held() == HELD).await;
    let mut waking = proxy.client().await;
    waking.send("GET /cold HTTP/1.1\r\nHost: cold.test\r\n\r\n").await;
    until("it is held", || cold.held() == 1).await;

    proxy.shut_down();
    port_closed(address).await;
    // An idle connection has nothing to wait for.
    idle.closed().await;
    for tunnel in &mut tunnels {
        ping(tunnel).await;
    }
    // A wake goes on to its end.
    let warm = Recorder::new().start_open();
    proxy.place(&cold.id, &[ready(warm.address)]).await;
    assert_eq!(waking.answer().await.text(), "/cold");
    gate.open();
    while let Some(answer) = clients.join_next().await {
        assert_eq!(answer.unwrap().0, 200);
    }
    assert_eq!(recorder.targets().len(), HELD + RUNNING);
    for mut tunnel in tunnels {
        ping(&mut tunnel).await;
        tunnel.finish().await;
        tunnel.closed().await;
    }
    assert_eq!(proxy.drained().await, 0);
}

fn routes(pod: &Backend, echo: &Backend) -> Value {
    json!([
        {"namespace": "it", "name": "f", "hosts": ["f.test"], "endpoints": [pod.address],
         "concurrency": RUNNING},
        {"namespace": "it", "name": "ws", "hosts": ["ws.test"], "endpoints": [echo.address]},
    ])
}

/// What `/routes` says about `f`.
async fn counts(process: &Process) -> (u64, u64) {
    let answer = process.admin_body("/routes").await;
    let list: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
    let f = list.iter().find(|f| f["name"] == "f").unwrap();
    (f["inFlight"].as_u64().unwrap(), f["held"].as_u64().unwrap())
}

async fn counts_are(process: &Process, expected: (usize, usize)) {
    let expected = (expected.0 as u64, expected.1 as u64);
    let waiting = async {
        while counts(process).await != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("the counts are reached", waiting).await;
}

/// SIGTERM to the real process: admin answers throughout, another process takes the port over.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm() {
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    let (pod, echo) = (recorder.start(&gate), echo());
    let routes = routes(&pod, &echo);
    let process = Process::start(&routes, &["--drain-delay", "300ms"]).await;
    let mut tunnels = Vec::new();
    for _ in 0..TUNNELS {
        tunnels.push(tunnel(process.address).await);
    }
    let mut clients = send_all(process.address, HELD + RUNNING).await;
    counts_are(&process, (RUNNING, HELD)).await;

    process.terminate();
    // Not ready at once, while it still accepts.
    let unready = async { while process.admin("/readyz").await != 503 {} };
    within("it says that it is not ready", unready).await;
    port_closed(process.address).await;
    for path in ["/livez", "/metrics", "/routes"] {
        assert_eq!(process.admin(path).await, 200, "{path}");
    }
    // A second one takes new requests on the same port, while the first one finishes its own.
    let second = Process::start_at(process.address, &routes, &["--drain-delay", "0s"]).await;
    let mut new = tunnel(second.address).await;
    ping(&mut new).await;
    counts_are(&process, (RUNNING, HELD)).await;
    gate.open();
    while let Some(answer) = clients.join_next().await {
        assert_eq!(answer.unwrap().0, 200);
    }
    for mut tunnel in tunnels {
        ping(&mut tunnel).await;
        assert_eq!(process.admin("/livez").await, 200);
        tunnel.finish().await;
        tunnel.closed().await;
    }
    assert_eq!(process.exited().await, Some(0));
    assert_eq!(recorder.targets().len(), HELD + RUNNING);
    drop(new);
    second.terminate();
    assert_eq!(second.exited().await, Some(0));
}

/// Between the signal and the end of accepting, clients in use are asked to come back on another
/// connection, so that none is closed under a request.
#[tokio::test(flavor = "multi_thread")]
async fn connections_in_use_are_closed_by_their_answers() {
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    let (pod, echo) = (recorder.start(&gate), echo());
    gate.open();
    // Longer than the test: the port stays open.
    let process = Process::start(&routes(&pod, &echo), &["--drain-delay", "600s"]).await;
    let mut kept = Wire::connect(process.address).await;
    assert_eq!(kept.get("f.test", "/before").await.field("connection"), None);
    process.terminate();
    let unready = async { while process.admin("/readyz").await != 503 {} };
    within("it says that it is not ready", unready).await;
    let mut new = Wire::connect(process.address).await;
    for client in [&mut kept, &mut new] {
        let answer = client.get("f.test", "/after").await;
        assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
        client.closed().await;
    }
}

/// What is not over by the deadline is cut, and the process ends.
#[tokio::test(flavor = "multi_thread")]
async fn deadline_of_a_drain() {
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    let (pod, echo) = (recorder.start(&gate), echo());
    let flags = ["--drain-delay", "0s", "--drain-deadline", "300ms"];
    let process = Process::start(&routes(&pod, &echo), &flags).await;
    let mut running = Wire::connect(process.address).await;
    running.send("GET /stuck HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    recorder.wait(1).await;
    let mut tunnel = tunnel(process.address).await;
    process.terminate();
    assert!(running.try_answer().await.is_err(), "cut");
    tunnel.closed().await;
    assert_eq!(process.exited().await, Some(0));
}

/// One clear line on stderr, and this exit code.
async fn refused(flags: &[&str], code: i32, says: &str) {
    let mut routes = tempfile::NamedTempFile::new().unwrap();
    routes.write_all(b"[]").unwrap();
    let common = ["--static-routes", routes.path().to_str().unwrap()];
    let (exit, stderr) = Process::refused(&[&common, flags].concat()).await;
    let errors: Vec<_> = stderr.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{flags:?}: {stderr}");
    assert!(errors[0].contains(says), "{flags:?}: {stderr}");
    assert_eq!(exit, Some(code), "{flags:?}: {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_flags() {
    refused(&["--no-such-flag"], 64, "--no-such-flag").await;
    refused(&["--listen", "nowhere"], 64, "--listen").await;
    refused(&["--header-timeout", "soon"], 64, "--header-timeout").await;
    refused(&["--trusted-proxies", "10.0.0.0/99"], 64, "--trusted-proxies").await;
    refused(&["--max-header-bytes", "1"], 64, "--max-header-bytes").await;
    refused(&["--tls-listen", "127.0.0.1:0"], 64, "--tls-cert-dir").await;
    refused(&["--otlp-endpoint", "otel:4317"], 64, "--otlp-endpoint").await;
    refused(&["--otlp-headers", "a=b"], 64, "--otlp-endpoint").await;
    refused(&["--trace-sampling", "1.5"], 64, "--trace-sampling").await;
    let no_ca = ["--otlp-endpoint", "https://otel.test", "--otlp-ca", "/nonexistent/ca.crt"];
    refused(&no_ca, 1, "/nonexistent/ca.crt").await;
    // Nothing else says which hosts are a cluster's.
    let (exit, stderr) = Process::refused(&["--listen", "127.0.0.1:0"]).await;
    assert!(exit == Some(64) && stderr.contains("--cluster-domain"), "{exit:?}: {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_routes() {
    let mut routes = tempfile::NamedTempFile::new().unwrap();
    routes.write_all(b"[{\"name\": 1}]").unwrap();
    let path = routes.path().to_str().unwrap();
    for file in [path, "/nonexistent/routes.json"] {
        let (exit, stderr) = Process::refused(&["--static-routes", file]).await;
        let errors = stderr.lines().filter(|l| l.starts_with("error: ") && l.contains(file));
        assert_eq!((errors.count(), exit), (1, Some(1)), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_certificates() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().to_str().unwrap();
    let (listen, tls) = (free_address().to_string(), free_address().to_string());
    let common = ["--listen", &listen, "--tls-listen", &tls, "--admin-listen", "127.0.0.1:0"];
    let with = |path| [&common[..], &["--tls-cert-dir", path]].concat();
    refused(&with("/nonexistent/certificates"), 1, "/nonexistent/certificates").await;
    refused(&with(path), 1, "no certificate with its key").await;
    std::fs::write(directory.path().join("a.crt"), "not a certificate").unwrap();
    std::fs::write(directory.path().join("a.key"), "not a key").unwrap();
    refused(&with(path), 1, "/a.key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let other = free_address().to_string();
    refused(&["--listen", &address, "--admin-listen", &other], 1, &address).await;
    refused(&["--listen", &other, "--admin-listen", &address], 1, &address).await;
    drop(taken);
}

//! The admin port as probes and scrapers see it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kipper_process::{
    admin::{AdminResponse, AdminServer, MAX_CONNECTIONS},
    metrics,
    readiness::Readiness,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Generous: only a hang may reach it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Admin {
    addr: SocketAddr,
    readiness: Readiness,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start() -> Admin {
    let readiness = Readiness::new();
    let registry = metrics::registry("test", "1.2.3").unwrap();
    let server = AdminServer::bind("127.0.0.1:0".parse().unwrap(), readiness.clone(), registry)
        .await
        .unwrap();
    let server = server.route_for(
        "/elsewhere",
        |ip| ip == std::net::Ipv4Addr::new(192, 0, 2, 1),
        Arc::new(|| AdminResponse::json("{}")),
    );
    let server =
        server.route_for("/here", |ip| ip.is_loopback(), Arc::new(|| AdminResponse::json("{}")));
    let server = server.route("/routes", Arc::new(|| AdminResponse::json(r#"{"routes":[]}"#)));
    let addr = server.local_addr();
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.serve(stop.clone()));
    Admin { addr, readiness, stop, task }
}

impl Admin {
    /// One request on a connection of its own; the whole answer as text.
    async fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn readyz_names_what_is_missing() {
    let admin = start().await;
    let routes = admin.readiness.block("routes");
    let listener = admin.readiness.block("listener");
    let answer = admin.ask("GET", "/readyz").await;
    assert_eq!(status(&answer), 503);
    assert_eq!(body(&answer), "not ready: listener, routes\n");

    routes.ready();
    listener.ready();
    assert_eq!(status(&admin.ask("GET", "/readyz").await), 200);

    admin.readiness.set_draining();
    assert_eq!(body(&admin.ask("GET", "/readyz").await), "not ready: draining\n");
    assert_eq!(status(&admin.ask("GET", "/livez").await), 200);
    admin.stop().await;
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let admin = start().await;
    let answer = admin.ask("GET", "/metrics").await;
    assert_eq!(status(&answer), 200);
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("# HELP kipper_build_info "), "{answer}");
    assert!(answer.contains(r#"process="test""#), "{answer}");
    admin.stop().await;
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let admin = start().await;
    let answer = admin.ask("GET", "/routes?x=1").await;
    assert_eq!((status(&answer), body(&answer)), (200, r#"{"routes":[]}"#));
    assert_eq!(status(&admin.ask("GET", "/").await), 404);
    assert_eq!(status(&admin.ask("GET", "/here").await), 200);
    assert_eq!(status(&admin.ask("GET", "/elsewhere").await), 403);
    assert_eq!(status(&admin.ask("GET", "/livez/").await), 404);
    let refused = admin.ask("POST", "/livez").await;
    assert_eq!(status(&refused), 405);
    assert!(refused.contains("allow: GET, HEAD\r\n"), "{refused}");

    let head = admin.ask("HEAD", "/livez").await;
    assert_eq!((status(&head), body(&head)), (200, ""));
    assert!(head.contains("content-length: 3\r\n"), "{head}");
    admin.stop().await;
}

#[tokio::test]
async fn serve_ends_although_a_client_stays_connected() {
    let admin = start().await;
    let mut idle = TcpStream::connect(admin.addr).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: admin\r\n\r\n").await.unwrap();
    let mut answer = [0; 512];
    let read = timeout(PATIENCE, idle.read(&mut answer)).await.unwrap().unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
    admin.stop().await;
    assert_eq!(timeout(PATIENCE, idle.read(&mut answer)).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn at_the_cap_a_connection_waits_and_is_served_when_another_ends() {
    let admin = start().await;
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(admin.addr).await.unwrap();
        // An answer proves that the connection was accepted and holds its place.
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: admin\r\n\r\n").await.unwrap();
        let mut answer = [0; 512];
        assert!(timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap() > 0);
        open.push(stream);
    }
    // Served either because a place is given up or because an idle one timed out; never refused.
    open.pop();
    assert_eq!(status(&admin.ask("GET", "/livez").await), 200);
    drop(open);
    admin.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it() {
    let admin = start().await;
    let registry = metrics::registry("test", "1.2.3").unwrap();
    let Err(error) = AdminServer::bind(admin.addr, Readiness::new(), registry).await else {
        panic!("the port is in use");
    };
    assert_eq!(error.to_string(), format!("bind admin port {}", admin.addr));
    assert_eq!(status(&admin.ask("GET", "/livez").await), 200);
    admin.stop().await;
}

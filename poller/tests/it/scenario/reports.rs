//! What the poller tells the scaler-adapters while it cannot keep up.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use kipper_process::port::HttpPort;
use kipper_trigger::{Count, backlog_path};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    function::{Function, status},
    poller::Poller,
    table::Table,
    wait::until,
};

const TOKEN: &str = "sesame";

/// A scaler-adapter that takes every report, or none.
struct Adapter {
    address: String,
    reports: Arc<Mutex<Vec<u64>>>,
    _server: AbortOnDropHandle<()>,
}

impl Adapter {
    async fn start(answer: StatusCode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let reports = Arc::<Mutex<Vec<u64>>>::default();
        let to = Arc::clone(&reports);
        let port =
            HttpPort { name: "adapter", max_connections: 8, keep_alive: false, lifetime: None };
        let answer = move |request: Request<Incoming>| {
            let to = Arc::clone(&to);
            async move {
                assert_eq!(request.uri().path(), backlog_path("ns", "fn"));
                assert_eq!(bearer(request.headers()), format!("Bearer {TOKEN}"));
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let Count::Waiting(waiting) = serde_json::from_slice(&body).unwrap() else {
                    panic!("{body:?}")
                };
                to.lock().unwrap().push(waiting);
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = answer;
                response
            }
        };
        let server = tokio::spawn(port.serve(listener, answer, CancellationToken::new()));
        Self { address, reports, _server: AbortOnDropHandle::new(server) }
    }

    fn reports(&self) -> Vec<u64> {
        self.reports.lock().unwrap().clone()
    }
}

fn bearer(headers: &HeaderMap) -> &str {
    headers.get(AUTHORIZATION).unwrap().to_str().unwrap()
}

/// A handler that answers nothing before the gate is open.
async fn gated() -> (Function, watch::Sender<bool>) {
    let gate = watch::Sender::new(false);
    let opened = gate.subscribe();
    let function = Function::with(move |_| {
        let mut opened = opened.clone();
        async move {
            opened.wait_for(|is_open: &bool| *is_open).await.unwrap();
            status(200)
        }
    });
    (function.await, gate)
}

/// What it cannot keep up with is told, until it is over; a few rows are told to nobody.
pub(crate) async fn backlog(database: impl Table) {
    let adapter = Adapter::start(StatusCode::NO_CONTENT).await;
    let (function, gate) = gated().await;
    let mut flags = database.flags(&function.url());
    flags.push(format!("--backlog-address={}", adapter.address));
    flags.push(format!("--backlog-token={TOKEN}"));
    let poller = Poller::start(&flags);
    gate.send_replace(true);
    database.fill(10).await;
    until("the first marked", async || database.count("done").await == 10).await;
    assert!(adapter.reports().is_empty());
    gate.send_replace(false);
    database.fill(500).await;
    until("a report", async || adapter.reports().len() >= 2).await;
    assert!(adapter.reports().iter().all(|waiting| *waiting == 500), "{:?}", adapter.reports());
    gate.send_replace(true);
    until("all marked", async || database.count("done").await == 510).await;
    until("the end told", async || adapter.reports().last().is_some_and(|last| *last <= 16)).await;
    poller.stop().await;
    assert_eq!(function.count(), 510);
}

/// Nobody takes its reports: it goes on all the same.
pub(crate) async fn refused(database: impl Table) {
    let adapter = Adapter::start(StatusCode::UNAUTHORIZED).await;
    for address in [&*adapter.address, "127.0.0.1:9", "no-such-host.invalid:9093"] {
        let (function, gate) = gated().await;
        let mut flags = database.flags(&function.url());
        flags.push(format!("--backlog-address={address}"));
        flags.push(format!("--backlog-token={TOKEN}"));
        let poller = Poller::start(&flags);
        let done = database.count("done").await;
        database.fill(100).await;
        if address == adapter.address {
            until("a report", async || !adapter.reports().is_empty()).await;
        }
        gate.send_replace(true);
        until("all marked", async || database.count("done").await == done + 100).await;
        poller.stop().await;
        assert_eq!(function.count(), 100);
    }
}

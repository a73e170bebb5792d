//! What functions tell from inside their pods: which request they execute, on which pod, by which
//! code. And a gate that keeps a starting function from listening.
//!
//! The ledger is a server on the bridge, in this process. A function waits for its answer before
//! it answers itself, so an execution is written down even if its pod is killed a moment later,
//! and its log with it. Requests without an id are not written down.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Node;
use kipper_cluster::{Cluster, functions};
use kipper_function::Function;
use kube::{Api, api::ListParams};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    requests::ID,
    run::{PATIENCE, POLL},
};

const CODE: &str = include_str!("ledger.js");
const GATED: &str = include_str!("gated.js");
const POD: &str = "x-pod";
const VERSION: &str = "x-version";
const GATE: &str = "/gate";

/// One request that a function began to execute.
#[derive(Clone, Debug)]
pub(super) struct Execution {
    pub(super) id: String,
    pub(super) pod: String,
    pub(super) version: String,
    pub(super) at: Instant,
}

#[derive(Default)]
struct Pages {
    executed: Mutex<Vec<Execution>>,
    /// Requests for the gate that wait.
    gate: watch::Sender<bool>,
}

/// The server. It ends with this value.
pub(super) struct Ledger {
    pub(super) addr: SocketAddr,
    pages: Arc<Pages>,
    _server: JoinSet<()>,
}

impl Ledger {
    /// Listens where pods can reach it.
    pub(super) async fn start(cluster: &Cluster) -> Result<Self, anyhow::Error> {
        let listener = TcpListener::bind((bridge(cluster).await?.as_str(), 0)).await?;
        let addr = listener.local_addr()?;
        let pages = Arc::<Pages>::default();
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&pages)));
        Ok(Self { addr, pages, _server: server })
    }

    /// A function that writes each request down, then takes `delay`, then answers its version.
    pub(super) fn function(&self, name: &str, version: &str, delay: Duration) -> Function {
        let code = format!("const version = '{version}';\n{CODE}");
        let mut function = functions::inline(name, "node", &code, &[]);
        let delay = delay.as_millis().to_string();
        function.spec.env.insert("DELAY_MS".to_owned(), delay);
        self.known_to(function)
    }

    /// A function that does not listen before [`Self::open`].
    pub(super) fn gated(&self, name: &str) -> Function {
        self.known_to(functions::inline(name, "node", GATED, &[]))
    }

    fn known_to(&self, mut function: Function) -> Function {
        function.spec.env.insert("LEDGER".to_owned(), self.addr.to_string());
        soon_stopped(function)
    }

    /// Lets every gated function start.
    pub(super) fn open(&self) {
        self.pages.gate.send_replace(true);
    }

    /// Resolves once a gated function has come to its gate.
    pub(super) async fn until_at_the_gate(&self) -> Result<(), anyhow::Error> {
        let arrived = async {
            while self.pages.gate.is_closed() {
                sleep(POLL).await;
            }
        };
        timeout(PATIENCE, arrived).await.context("no function comes to the gate")
    }

    /// Everything executed so far.
    pub(super) fn executed(&self) -> Vec<Execution> {
        self.pages.executed().clone()
    }

    /// Resolves once this many more requests were executed: the load is on its way.
    pub(super) async fn until_more(&self, count: usize) -> Result<(), anyhow::Error> {
        let wanted = self.pages.executed().len() + count;
        let waiting = async {
            while self.pages.executed().len() < wanted {
                sleep(POLL).await;
            }
        };
        timeout(PATIENCE, waiting).await.context("requests are not executed any more")
    }
}

impl Pages {
    /// Only held for one statement, never across an await.
    fn executed(&self) -> std::sync::MutexGuard<'_, Vec<Execution>> {
        self.executed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same function with pods that stop within 40 s instead of 310: Kubernetes removes a namespace
/// no sooner than after half of the time that its pods may take, whether they take it or not.
pub(super) fn soon_stopped(mut function: Function) -> Function {
    let timeouts = function.spec.timeouts.get_or_insert_default();
    timeouts.response_header_seconds = Some(30);
    function
}

/// This machine's address that pods can reach: the node is this machine.
pub(super) async fn bridge(cluster: &Cluster) -> Result<String, anyhow::Error> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let nodes = nodes.list(&ListParams::default()).await?;
    let addresses = nodes.items.into_iter().filter_map(|node| node.status?.addresses).flatten();
    let mut internal = addresses.filter(|address| address.type_ == "InternalIP");
    Ok(internal.next().context("a node without an address")?.address)
}

async fn accept(listener: TcpListener, pages: Arc<Pages>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let pages = Arc::clone(&pages);
        connections.spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&pages), request));
            // A connection that breaks belonged to a pod that ended.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    pages: Arc<Pages>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    if request.uri().path() == GATE {
        // The sender lives as long as this server.
        let _ = pages.gate.subscribe().wait_for(|open| *open).await;
    } else {
        let (id, pod, version) = (header(ID), header(POD), header(VERSION));
        pages.executed().push(Execution { id, pod, version, at: Instant::now() });
    }
    Ok(Response::new(Empty::new()))
}

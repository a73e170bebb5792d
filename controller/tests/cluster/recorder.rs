//! What handlers say of themselves: each tells which event it begins and ends, in which pod. They
//! may be held at the beginning, so that a test decides what happens while they run.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kipper_cluster::names::BRIDGE;
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::watch};

/// Everything that was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// By event, how often it was begun.
    pub(crate) begun: BTreeMap<String, u32>,
    /// By event, how often it was ended.
    pub(crate) ended: BTreeMap<String, u32>,
    /// Pods that began one.
    pub(crate) pods: BTreeSet<String>,
    /// Events that were begun while they ran.
    pub(crate) overlapping: BTreeSet<String>,
    running: BTreeSet<String>,
}

/// A server on the bridge, which pods reach.
#[derive(Clone)]
pub(crate) struct Recorder {
    address: SocketAddr,
    record: Arc<Mutex<Record>>,
    open: Arc<watch::Sender<bool>>,
}

impl Recorder {
    /// Starts one that holds every handler.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((BRIDGE, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let recorder =
            Self { address, record: Arc::default(), open: Arc::new(watch::Sender::new(false)) };
        let serving = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let recorder = serving.clone();
                let service = service_fn(move |request| {
                    let recorder = recorder.clone();
                    async move { Ok::<_, Infallible>(recorder.answer(request).await) }
                });
                // A pod that goes breaks its connections.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        recorder
    }

    /// Lets handlers through, or holds those that begin from now on.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    pub(crate) fn record(&self) -> Record {
        self.record.lock().clone()
    }

    /// Node code of a handler that tells of the event that `id` (an expression over `event`) names.
    pub(crate) fn handler(&self, id: &str) -> String {
        let address = self.address;
        format!(
            "const pod = require('os').hostname();
             const tell = (what, id) => fetch(`http://{address}/${{what}}/${{pod}}/${{id}}`, {{ method: 'POST' }});
             module.exports = async (event) => {{
               const id = {id};
               await tell('begin', id);
               await new Promise((resolve) => setTimeout(resolve, 20));
               await tell('end', id);
               return {{ ok: true }};
             }};"
        )
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts[..] {
            ["begin", pod, id] => {
                self.begin(pod, id);
                // The sender lives as long as the recorder.
                let _ = self.open.subscribe().wait_for(|open| *open).await;
            }
            ["end", _, id] => self.end(id),
            _ => panic!("a handler asked for {path}"),
        }
        Response::new(Full::default())
    }

    fn begin(&self, pod: &str, id: &str) {
        let mut record = self.record.lock();
        record.pods.insert(pod.to_owned());
        *record.begun.entry(id.to_owned()).or_default() += 1;
        if !record.running.insert(id.to_owned()) {
            record.overlapping.insert(id.to_owned());
        }
    }

    fn end(&self, id: &str) {
        let mut record = self.record.lock();
        record.running.remove(id);
        *record.ended.entry(id.to_owned()).or_default() += 1;
    }
}

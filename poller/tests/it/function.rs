//! The function: a handler on loopback that keeps a log of what it was sent.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// One delivery, as the handler saw it.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// `ce-id`.
    pub(crate) id: String,
    /// `kipper-attempt`.
    pub(crate) attempt: u32,
    /// The row.
    pub(crate) row: Value,
    /// The row as it came.
    pub(crate) body: Bytes,
    pub(crate) headers: hyper::HeaderMap,
}

impl Delivery {
    /// The row's `id`.
    pub(crate) fn row_id(&self) -> i64 {
        self.row["id"].as_i64().unwrap()
    }
}

/// What the handler answers.
pub(crate) type Reply = Response<Full<Bytes>>;

pub(crate) fn status(code: u16) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::from_u16(code).unwrap();
    reply
}

/// Closes the connection instead of an answer.
pub(crate) fn no_answer() -> Reply {
    let mut reply = Response::default();
    reply.extensions_mut().insert(NoAnswer);
    reply
}

/// The handler gives no answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

type Handler = Arc<dyn Fn(Delivery) -> BoxFuture<'static, Reply> + Send + Sync>;

#[derive(Default)]
struct Log {
    deliveries: Vec<Delivery>,
    running: HashSet<String>,
    overlaps: usize,
}

/// A running function. Dropping it closes its port and its connections.
pub(crate) struct Function {
    addr: SocketAddr,
    log: Arc<Mutex<Log>>,
    stop: CancellationToken,
}

impl Function {
    /// Answers 200 to everything.
    pub(crate) async fn start() -> Self {
        Self::with(|_| async { status(200) }).await
    }

    /// Answers what `handler` does.
    pub(crate) async fn with<F>(handler: impl Fn(Delivery) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        Self::listen("127.0.0.1:0".parse().unwrap(), handler).await
    }

    /// The same on an address of the caller's.
    pub(crate) async fn listen<F>(
        addr: SocketAddr,
        handler: impl Fn(Delivery) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind(addr).await.unwrap();
        let function = Self {
            addr: listener.local_addr().unwrap(),
            log: Arc::default(),
            stop: CancellationToken::new(),
        };
        let handler: Handler = Arc::new(move |delivery| Box::pin(handler(delivery)));
        let (log, stop) = (Arc::clone(&function.log), function.stop.clone());
        tokio::spawn(async move {
            stop.run_until_cancelled(serve(listener, handler, log, stop.clone())).await
        });
        function
    }

    /// Goes away, as if dropped, and keeps its log.
    pub(crate) fn close(&self) {
        self.stop.cancel();
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/event", self.addr)
    }

    /// Everything delivered so far, in the order it began.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.log.lock().unwrap().deliveries.clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.log.lock().unwrap().deliveries.len()
    }

    /// How often each event was delivered.
    pub(crate) fn by_id(&self) -> HashMap<String, usize> {
        by_id(&self.log)
    }

    /// [`Self::by_id`] for a moment when this may be gone, with all that it ever saw.
    pub(crate) fn log(&self) -> impl Fn() -> HashMap<String, usize> + use<> {
        let log = Arc::clone(&self.log);
        move || by_id(&log)
    }

    /// Deliveries that began while the same event was being handled.
    pub(crate) fn overlaps(&self) -> usize {
        self.log.lock().unwrap().overlaps
    }
}

fn by_id(log: &Mutex<Log>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for delivery in &log.lock().unwrap().deliveries {
        *counts.entry(delivery.id.clone()).or_default() += 1;
    }
    counts
}

impl Drop for Function {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(
    listener: TcpListener,
    handler: Handler,
    log: Arc<Mutex<Log>>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).unwrap();
        let (handler, log, stop) = (Arc::clone(&handler), Arc::clone(&log), stop.clone());
        let service =
            service_fn(move |request| answer(request, Arc::clone(&handler), Arc::clone(&log)));
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            stop.run_until_cancelled(connection).await
        });
    }
}

/// Takes the event off the list of what runs, however its handler ends.
struct Running(Arc<Mutex<Log>>, String);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().unwrap().running.remove(&self.1);
    }
}

async fn answer(
    request: Request<Incoming>,
    handler: Handler,
    log: Arc<Mutex<Log>>,
) -> Result<Reply, NoAnswer> {
    if request.uri().path() != "/event" {
        return Ok(status(200));
    }
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(status(400)) };
    let body = body.to_bytes();
    let text = |name: &str| head.headers[name].to_str().unwrap().to_owned();
    let delivery = Delivery {
        id: text("ce-id"),
        attempt: text("kipper-attempt").parse().unwrap(),
        row: serde_json::from_slice(&body).unwrap(),
        body,
        headers: head.headers.clone(),
    };
    let _running = {
        let mut seen = log.lock().unwrap();
        seen.deliveries.push(delivery.clone());
        if !seen.running.insert(delivery.id.clone()) {
            seen.overlaps += 1;
        }
        Running(Arc::clone(&log), delivery.id.clone())
    };
    let reply = handler(delivery).await;
    match reply.extensions().get() {
        Some(no_answer) => Err(*no_answer),
        None => Ok(reply),
    }
}

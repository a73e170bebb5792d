//! The server: connections, requests that wait for their answers, restarts.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body as ClientBody};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;

/// Generous: reached only when something is broken, or on paused time when nothing else is due.
pub const DEADLINE: Duration = Duration::from_secs(600);
/// Bytes on their way between client and server in memory.
const STREAM_BYTES: usize = 64 << 10;

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Requests = mpsc::UnboundedSender<Asked>;
/// Where clients in memory hand their connections in; `None` while the server is down.
type Door = Arc<std::sync::Mutex<Option<mpsc::UnboundedSender<DuplexStream>>>>;

/// The server; it ends with the test.
pub struct ApiServer {
    place: Place,
    requests: Requests,
    asked: mpsc::UnboundedReceiver<Asked>,
    serving: JoinSet<()>,
}

enum Place {
    Socket(SocketAddr),
    Memory(Door),
}

/// A request that waits for its answer. Dropped, it is never answered.
pub struct Asked {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Its query, as it stands in the URL.
    pub query: String,
    /// Its credentials, or nothing.
    pub authorization: String,
    /// Its content type, or nothing.
    pub content_type: String,
    /// Its body.
    pub body: String,
    answer: oneshot::Sender<Response<Body>>,
}

/// The open body of a watch.
pub struct Watch(mpsc::Sender<Result<Frame<Bytes>, io::Error>>);

impl ApiServer {
    /// On a free port of this machine.
    pub async fn start() -> Self {
        let place = Place::Socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        Self::at(place).await
    }

    /// Without sockets.
    pub async fn in_memory() -> Self {
        Self::at(Place::Memory(Arc::default())).await
    }

    async fn at(place: Place) -> Self {
        let (requests, asked) = mpsc::unbounded_channel();
        let mut server = Self { place, requests, asked, serving: JoinSet::new() };
        server.up().await;
        server
    }

    /// A client of it, which tries nothing again by itself.
    pub fn client(&self) -> Client {
        match &self.place {
            Place::Socket(_) => {
                let mut config = kube::Config::new(self.url().parse().unwrap());
                config.default_retry = false;
                Client::try_from(config).unwrap()
            }
            Place::Memory(door) => {
                let door = Arc::clone(door);
                let service = tower::service_fn(move |request| {
                    let server = door.lock().unwrap().clone();
                    async move { send(request, server).await.map_err(io::Error::other) }
                });
                Client::new(service, "default")
            }
        }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        let Place::Socket(addr) = &self.place else { panic!("it has no address") };
        format!("http://{addr}")
    }

    /// A file for `KUBECONFIG`, with which a process finds it.
    pub fn kubeconfig(&self) -> String {
        let url = self.url();
        format!(
            r#"{{"apiVersion":"v1","kind":"Config","current-context":"test",
            "clusters":[{{"name":"test","cluster":{{"server":"{url}"}}}}],
            "users":[{{"name":"test","user":{{}}}}],
            "contexts":[{{"name":"test","context":{{"cluster":"test","user":"test"}}}}]}}"#
        )
    }

    /// Cuts every connection, forgets every request and takes no new connection.
    pub async fn down(&mut self) {
        if let Place::Memory(door) = &self.place {
            *door.lock().unwrap() = None;
        }
        self.serving.shutdown().await;
        while self.asked.try_recv().is_ok() {}
    }

    /// Takes connections again, at the same address.
    pub async fn up(&mut self) {
        let requests = self.requests.clone();
        match &mut self.place {
            Place::Socket(addr) => {
                let listener = TcpListener::bind(*addr).await.unwrap();
                *addr = listener.local_addr().unwrap();
                self.serving.spawn(async move {
                    let mut connections = JoinSet::new();
                    while let Ok((stream, _)) = listener.accept().await {
                        connections.spawn(serve(stream, requests.clone()));
                    }
                });
            }
            Place::Memory(door) => {
                let (entry, mut streams) = mpsc::unbounded_channel();
                *door.lock().unwrap() = Some(entry);
                self.serving.spawn(async move {
                    let mut connections = JoinSet::new();
                    while let Some(stream) = streams.recv().await {
                        connections.spawn(serve(stream, requests.clone()));
                    }
                });
            }
        }
    }

    /// The next request.
    pub async fn asked(&mut self) -> Asked {
        tokio::time::timeout(DEADLINE, self.asked.recv()).await.expect("a request").unwrap()
    }

    /// The next request, which must list `path`.
    pub async fn list(&mut self, path: &str) -> Asked {
        let asked = self.asked().await;
        assert_eq!((asked.path.as_str(), asked.value("watch")), (path, None), "{}", asked.query);
        asked
    }

    /// The next request, which must watch `path` from `version`; opens its body.
    pub async fn watch(&mut self, path: &str, version: &str) -> Watch {
        self.watch_request(path, version).await.stream()
    }

    /// The next request, which must watch `path` from `version`.
    pub async fn watch_request(&mut self, path: &str, version: &str) -> Asked {
        let asked = self.asked().await;
        let found = (asked.path.as_str(), asked.value("watch"));
        assert_eq!(found, (path, Some("true")), "{}", asked.query);
        assert_eq!(asked.value("resourceVersion"), Some(version));
        assert_eq!(asked.value("allowWatchBookmarks"), Some("true"));
        asked
    }
}

/// Sends one request over a connection of its own.
async fn send(
    request: Request<ClientBody>,
    server: Option<mpsc::UnboundedSender<DuplexStream>>,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let (client, stream) = tokio::io::duplex(STREAM_BYTES);
    let server = server.ok_or("connection refused")?;
    server.send(stream).map_err(|_| "connection refused")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(client)).await?;
    // Ends with the response's body, or when that is dropped.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, requests: Requests) {
    let service = service_fn(|request| respond(request, requests.clone()));
    let server = hyper::server::conn::http1::Builder::new();
    // A cut connection is part of the tests.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn respond(
    request: Request<Incoming>,
    requests: Requests,
) -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
    Box::pin(async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let (answer, answered) = oneshot::channel();
        let text =
            |name| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let _ = requests.send(Asked {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            authorization: text("authorization"),
            content_type: text("content-type"),
            body: String::from_utf8(body.to_vec()).unwrap(),
            answer,
        });
        match answered.await {
            Ok(response) => Ok(response),
            Err(_) => std::future::pending().await,
        }
    })
}

impl Asked {
    /// A query parameter, as it stands in the URL.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }

    /// Answers with JSON.
    pub fn answer(self, status: u16, json: &str) {
        let body = Full::new(Bytes::from(json.to_owned())).map_err(|never| match never {});
        self.send(status, body.boxed_unsync());
    }

    /// Answers with a stream of watch events.
    pub fn stream(self) -> Watch {
        let (tx, rx) = mpsc::channel(16);
        self.send(200, StreamBody::new(ReceiverStream::new(rx)).boxed_unsync());
        Watch(tx)
    }

    fn send(self, status: u16, body: Body) {
        let response = Response::builder()
            .status(StatusCode::from_u16(status).unwrap())
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        assert!(self.answer.send(response).is_ok(), "the client left");
    }
}

impl Watch {
    /// Sends one event.
    pub async fn event(&self, line: &str) {
        self.0.send(Ok(Frame::data(Bytes::from(format!("{line}\n"))))).await.unwrap();
    }

    /// Cuts the connection in the middle of the stream. Dropping ends it cleanly instead.
    pub async fn cut(self) {
        self.0.send(Err(io::Error::other("cut"))).await.unwrap();
    }
}

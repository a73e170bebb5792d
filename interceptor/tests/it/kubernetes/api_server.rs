//! An API server whose every answer the test gives.
//!
//! Each request waits until the test takes it and answers it, so there is nothing to wait for by
//! the clock: what the test did not answer has not happened.

use std::{convert::Infallible, io, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::Client;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;

/// Generous: reached only when something is broken.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The server; it ends with the test.
pub(super) struct ApiServer {
    url: String,
    asked: mpsc::UnboundedReceiver<Asked>,
    _serving: JoinSet<()>,
}

/// A request that waits for its answer.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) content_type: String,
    pub(super) body: String,
    answer: oneshot::Sender<Response<Body>>,
}

/// The open body of a watch.
pub(super) struct Watch(mpsc::Sender<Result<Frame<Bytes>, io::Error>>);

impl ApiServer {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let tell = tell.clone();
                connections.spawn(async move {
                    let service = service_fn(|request| respond(request, tell.clone()));
                    // A cut connection is part of the tests.
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, asked, _serving: serving }
    }

    pub(super) fn client(&self) -> Client {
        Client::try_from(kube::Config::new(self.url.parse().unwrap())).unwrap()
    }

    /// The next request.
    pub(super) async fn asked(&mut self) -> Asked {
        tokio::time::timeout(DEADLINE, self.asked.recv()).await.expect("a request").unwrap()
    }

    /// The next request, which must list `path`.
    pub(super) async fn list(&mut self, path: &str) -> Asked {
        let asked = self.asked().await;
        assert_eq!((asked.path.as_str(), asked.value("watch")), (path, None), "{}", asked.query);
        asked
    }

    /// The next request, which must watch `path` from `version`; opens its body.
    pub(super) async fn watch(&mut self, path: &str, version: &str) -> Watch {
        self.watch_request(path, version).await.stream()
    }

    /// The next request, which must watch `path` from `version`.
    pub(super) async fn watch_request(&mut self, path: &str, version: &str) -> Asked {
        let asked = self.asked().await;
        assert_eq!(
            (asked.path.as_str(), asked.value("watch")),
            (path, Some("true")),
            "{}",
            asked.query
        );
        assert_eq!(asked.value("resourceVersion"), Some(version));
        assert_eq!(asked.value("allowWatchBookmarks"), Some("true"));
        asked
    }
}

fn respond(
    request: Request<Incoming>,
    tell: mpsc::UnboundedSender<Asked>,
) -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
    Box::pin(async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let (answer, answered) = oneshot::channel();
        let text =
            |name| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let _ = tell.send(Asked {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            content_type: text("content-type"),
            body: String::from_utf8(body.to_vec()).unwrap(),
            answer,
        });
        match answered.await {
            Ok(response) => Ok(response),
            // Dropped by the test: never answered.
            Err(_) => std::future::pending().await,
        }
    })
}

impl Asked {
    /// A query parameter, as it stands in the URL.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }

    /// Answers with JSON.
    pub(super) fn answer(self, status: u16, json: &str) {
        let body = Full::new(Bytes::from(json.to_owned())).map_err(|never| match never {});
        self.send(status, body.boxed_unsync());
    }

    /// Answers with a stream of watch events.
    pub(super) fn stream(self) -> Watch {
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
    pub(super) async fn event(&self, line: &str) {
        self.0.send(Ok(Frame::data(Bytes::from(format!("{line}\n"))))).await.unwrap();
    }

    /// Cuts the connection in the middle of the stream. Dropping ends it cleanly instead.
    pub(super) async fn cut(self) {
        self.0.send(Err(io::Error::other("cut"))).await.unwrap();
    }
}

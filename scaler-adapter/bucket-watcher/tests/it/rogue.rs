//! An S3 in this process that says what no service should, and one beside it that is well: what one
//! tenant's service does is that tenant's trouble alone.

use std::{
    convert::Infallible,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Request, Response, StatusCode, header::DATE};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kipper_bucket::Endpoint;
use kipper_bucket_watcher::{BucketArgs, BucketTrigger, Leader};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tokio::{net::TcpListener, task::JoinSet};

use crate::world::{Handler, Watcher, World, keys, until};

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// Every answer is from the end of time.
    Clock,
    /// Every answer is a head, and then nothing.
    Stall,
    /// Lists of the watched bucket have no end, and nothing in them.
    Endless,
    /// Lists of the watched bucket have no end, and a megabyte of keys on each page.
    Flood,
    /// The answer to a list has no end.
    Bloat,
}

type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Clone)]
struct Rogue {
    service: S3Service,
    fault: Arc<Mutex<Fault>>,
    /// Answers that were wrong.
    wrong: Arc<AtomicUsize>,
    pages: Arc<AtomicUsize>,
}

impl Rogue {
    /// Serves a directory until the set is dropped.
    async fn start(directory: &Path, tasks: &mut JoinSet<()>) -> (Self, Endpoint) {
        let mut service = S3ServiceBuilder::new(FileSystem::new(directory).unwrap());
        service.set_auth(SimpleAuth::from_single("access", "secret"));
        let rogue = Self {
            service: service.build(),
            fault: Arc::new(Mutex::new(Fault::Nothing)),
            wrong: Arc::default(),
            pages: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = rogue.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let rogue = serving.clone();
                connections.spawn(async move {
                    let answer = service_fn(move |request| {
                        let rogue = rogue.clone();
                        async move { Ok::<_, Infallible>(rogue.answer(request).await) }
                    });
                    let server = hyper::server::conn::http1::Builder::new();
                    // Clients leave when their tests end.
                    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        let (access_key, secret_key) = ("access".to_owned(), "secret".to_owned());
        (rogue, Endpoint { url, access_key, secret_key, authority: None })
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let fault = *self.fault.lock().unwrap();
        let query = request.uri().query().unwrap_or_default();
        let is_watched = request.uri().path().starts_with("/photos");
        let is_list = is_watched && query.contains("list-type=2");
        match fault {
            Fault::Endless if is_list => return self.wrong(self.page(0)),
            Fault::Flood if is_list => return self.wrong(self.page(1_000)),
            Fault::Bloat if is_list => {
                let part = Bytes::from(vec![b' '; 1 << 16]);
                let parts = stream::repeat(part).map(|part| Ok(Frame::data(part)));
                return self.wrong(StreamBody::new(parts).boxed_unsync());
            }
            Fault::Stall => return self.wrong(StreamBody::new(stream::pending()).boxed_unsync()),
            _ => {}
        }
        let answer = self.service.call(request.map(s3s::Body::from)).await.unwrap();
        let mut answer = answer.map(|body| body.boxed_unsync());
        if fault == Fault::Clock {
            self.wrong.fetch_add(1, Ordering::Relaxed);
            let date = HeaderValue::from_static("Fri, 31 Dec 9999 23:59:59 GMT");
            answer.headers_mut().insert(DATE, date);
        }
        answer
    }

    fn wrong(&self, body: Body) -> Response<Body> {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        let mut answer = Response::new(body);
        *answer.status_mut() = StatusCode::OK;
        answer
    }

    /// A page of a list, with so many keys of a kilobyte.
    fn page(&self, keys: usize) -> Body {
        let page = self.pages.fetch_add(1, Ordering::Relaxed);
        let object = |n: usize| {
            let key = format!("{page:010}{n:014}{}", "k".repeat(1_000));
            format!(
                "<Contents><Key>{key}</Key><LastModified>9999-12-31T23:59:59Z</LastModified>\
                 <ETag>\"e\"</ETag><Size>1</Size></Contents>"
            )
        };
        let objects: String = (0..keys).map(object).collect();
        let page = format!(
            "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>true</IsTruncated>\
             <NextContinuationToken>{page}</NextContinuationToken>{objects}</ListBucketResult>"
        );
        Full::<Bytes>::from(page).map_err(|never| match never {}).boxed_unsync()
    }
}

/// Two tenants: one whose service is the rogue, and one on a real server.
struct Tenants {
    rogue: Rogue,
    at_rogue: World,
    well: World,
    triggers: [BucketTrigger; 2],
    _directory: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

impl Tenants {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut tasks = JoinSet::new();
        let (rogue, endpoint) = Rogue::start(directory.path(), &mut tasks).await;
        let (at_rogue, well) = (World::at(endpoint).await, World::new().await);
        let troubled = BucketTrigger { namespace: "rogue".to_owned(), ..at_rogue.trigger() };
        let triggers = [troubled, well.trigger()];
        Self { rogue, at_rogue, well, triggers, _directory: directory, _tasks: tasks }
    }

    async fn watcher(&self, max_held_bytes: usize) -> Watcher {
        let config = BucketArgs { bucket_max_held_bytes: max_held_bytes, ..self.well.config() };
        Watcher::start(&config, &self.triggers).await
    }

    /// The well one is served, whatever the other one does.
    async fn well_is_served(&self, handler: &mut Handler, uploads: usize) {
        let before = handler.handled.len();
        let new: Vec<String> = keys(uploads).iter().map(|key| format!("{before}-{key}")).collect();
        self.well.upload_all(&new).await;
        handler.handle_until(before + uploads).await;
    }
}

async fn until_told(watcher: &Watcher, words: &str) {
    until(words, async || {
        watcher.pending.trouble("rogue", "thumbs").is_some_and(|told| told.contains(words))
    })
    .await;
}

/// Each of these once made the process exit, hold more than it may, or list for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_service_says_is_its_own_triggers_trouble() {
    let tenants = Tenants::new().await;
    let watcher = tenants.watcher(16 << 20).await;
    let mut handler = Handler::new(&tenants.well);
    until("both are watched", async || watcher.metric("lists_total", "ok") >= 4).await;
    tenants.well_is_served(&mut handler, 5).await;
    for (fault, words) in [
        (Fault::Endless, "pages without an object"),
        (Fault::Flood, "bytes would be held in memory for the bucket of rogue/thumbs"),
        (Fault::Bloat, "bytes would be held in memory for the bucket of rogue/thumbs"),
    ] {
        tenants.rogue.set(fault);
        until_told(&watcher, words).await;
        // KEDA asks any adapter, so each of them knows.
        let other = Leader::Other(None);
        let counting = Watcher::with(&tenants.well.config(), &tenants.triggers, other).await;
        until_told(&counting, words).await;
        drop(counting);
        tenants.well_is_served(&mut handler, 5).await;
        let held = watcher.gauge("held_bytes");
        assert!(held <= 16 << 20, "{fault:?}: {held} bytes");
        tenants.rogue.set(Fault::Nothing);
        until("it is watched again", async || watcher.pending.trouble("rogue", "thumbs").is_none())
            .await;
    }
    assert_eq!(watcher.metric("panics_total", ""), 0);
}

/// The SDK's signing panics when it reckons with such a date.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_at_the_end_of_time_ends_nobody() {
    let tenants = Tenants::new().await;
    let watcher = tenants.watcher(64 << 20).await;
    let mut handler = Handler::new(&tenants.well);
    until("both are watched", async || watcher.metric("lists_total", "ok") >= 4).await;
    tenants.rogue.set(Fault::Clock);
    let wrong = tenants.rogue.wrong.load(Ordering::Relaxed);
    until("absurd answers", async || tenants.rogue.wrong.load(Ordering::Relaxed) >= wrong + 5)
        .await;
    tenants.well_is_served(&mut handler, 5).await;
    tenants.rogue.set(Fault::Nothing);
    // Its uploads are found again once its clock is right.
    let mut at_rogue = Handler::of(&tenants.at_rogue, "rogue");
    tenants.at_rogue.upload("late.jpg").await;
    at_rogue.handle_until(1).await;
    assert_eq!(watcher.metric("panics_total", ""), 0);
}

/// Heads without bodies, on every connection there is; afterwards everything goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stalls_in_its_answers_is_watched_again() {
    let tenants = Tenants::new().await;
    let watcher = tenants.watcher(64 << 20).await;
    let mut handler = Handler::new(&tenants.well);
    until("both are watched", async || watcher.metric("lists_total", "ok") >= 4).await;
    tenants.rogue.set(Fault::Stall);
    until("stalled answers", async || tenants.rogue.wrong.load(Ordering::Relaxed) >= 3).await;
    tenants.well_is_served(&mut handler, 5).await;
    tenants.rogue.set(Fault::Nothing);
    let mut at_rogue = Handler::of(&tenants.at_rogue, "rogue");
    tenants.at_rogue.upload("late.jpg").await;
    at_rogue.handle_until(1).await;
}

/// What all functions of a namespace have together leaves room for another namespace.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_leaves_room_for_others() {
    let tenants = Tenants::new().await;
    tenants.rogue.set(Fault::Flood);
    let config = BucketArgs { bucket_max_held_bytes: 16 << 20, ..tenants.well.config() };
    let greedy = (0..8)
        .map(|n| BucketTrigger { function: format!("thumbs{n}"), ..tenants.triggers[0].clone() });
    let triggers: Vec<_> = greedy.chain([tenants.triggers[1].clone()]).collect();
    let watcher = Watcher::start(&config, &triggers).await;
    let mut handler = Handler::new(&tenants.well);
    until("all eight are refused", async || {
        (0..8).all(|n| watcher.pending.trouble("rogue", &format!("thumbs{n}")).is_some())
    })
    .await;
    until("the other one is watched", async || watcher.metric("lists_total", "ok") >= 1).await;
    tenants.well_is_served(&mut handler, 5).await;
}

/// What notifications are read into is bounded for all of them together.
#[tokio::test]
async fn notifications_beyond_their_budget_have_to_come_again() {
    let world = World::new().await;
    let config = BucketArgs {
        bucket_max_held_bytes: 1 << 20,
        ..world.listening(([127, 0, 0, 1], 0).into())
    };
    let watcher = Watcher::start(&config, &[world.trigger()]).await;
    watcher.watches().await;
    let addr = watcher.webhook.unwrap();
    // An eighth of the whole, and four times its size while it is read.
    assert_eq!(crate::webhook::post(addr, "/", &" ".repeat(64 << 10)).await, 503);
    assert_eq!(crate::webhook::post(addr, "/", r#"{"Records":[]}"#).await, 200);
}

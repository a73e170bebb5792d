//! A bucket whose list has no end, with keys of a kilobyte: what it makes the process keep that watches
//! it, before it is given up.
//!
//! One function has a quarter of what all buckets together may take, so four times its process is
//! counted. It is the one of `kip dev`; in a cluster the same watcher is a part of the scaler-adapter.

#![allow(clippy::cast_precision_loss)] // of kilobytes

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kipper_measure::{
    child::ChildProcess,
    processes::{Size, kib},
};
use tokio::{
    net::TcpListener,
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::run::{PATIENCE, POLL, Run};

const BUCKET: &str = "photos";
/// Keys of a page: as many as S3 answers with.
const KEYS: usize = 1_000;
/// A kilobyte is the longest that S3 takes.
const KEY_BYTES: usize = 1_000;
/// Of every object.
const ETAG: &str = "\"e\"";
/// Functions that have all there is together.
const FUNCTIONS: f64 = 4.0;
/// What it says when it gives the bucket up.
const GIVEN_UP: &str = "would be held in memory for the bucket";

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let further = run.size(Duration::from_secs(30), Duration::from_secs(5));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let service = listener.local_addr()?;
    let mut serving = JoinSet::new();
    serving.spawn(serve(listener));
    let mut watcher = start(run, service)?;
    let end = Instant::now() + PATIENCE;
    while !watcher.log_tail().contains(GIVEN_UP) {
        watcher.check_running()?;
        let tail = watcher.log_tail();
        anyhow::ensure!(Instant::now() < end, "the bucket is never given up{tail}");
        sleep(POLL).await;
    }
    // It is listed again and again.
    sleep(further).await;
    let ended = watcher.check_running().is_err();
    let peak = if ended { u64::MAX } else { kib(watcher.pid(), Size::Peak)? };
    println!("   {peak} KiB at most, with one function's share used");
    run.outcome.condition("worst_bucket_ended", usize::from(ended))?;
    run.outcome.figure("worst_bucket_watcher", peak as f64 * 1.024e-3 * FUNCTIONS)
}

fn start(run: &mut Run, service: SocketAddr) -> Result<ChildProcess, anyhow::Error> {
    let binary = run.binary().with_file_name("kipper-bucket-watcher");
    anyhow::ensure!(binary.exists(), "{} is missing: build it first", binary.display());
    let mut command = Command::new(binary);
    command
        .args(["--function", "thumbs", "--bucket", BUCKET, "--list-interval", "1s"])
        .env("KIPPER_SOURCE_URL", format!("http://access:secret@{service}"))
        .stdout(Stdio::null());
    let name = run.unique("watcher");
    ChildProcess::spawn(&name, command, run.dir())
}

/// Objects by path.
type Objects = Arc<Mutex<HashMap<String, Bytes>>>;

async fn serve(listener: TcpListener) {
    let objects = Objects::default();
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let objects = Arc::clone(&objects);
        connections.spawn(async move {
            let answer = service_fn(|request| answer(Arc::clone(&objects), request));
            // The watcher ends first.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// What S3 answers, but for the list of one bucket, which has no end.
async fn answer(
    objects: Objects,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = parts.uri.path().to_owned();
    if parts.uri.query().is_some_and(|query| query.contains("list-type=2")) {
        let is_watched = path.starts_with(&format!("/{BUCKET}"));
        let xml = if is_watched { page(PAGE.fetch_add(1, Relaxed)) } else { list(false, "") };
        return Ok(Response::new(Full::from(xml)));
    }
    let mut objects = objects.lock().await;
    let found = objects.get(&path).cloned();
    let is_refused = parts.headers.contains_key(header::IF_NONE_MATCH) && found.is_some()
        || parts.headers.get(header::IF_MATCH).is_some_and(|tag| tag != ETAG || found.is_none());
    let (status, body) = match parts.method {
        Method::PUT if is_refused => (StatusCode::PRECONDITION_FAILED, Bytes::new()),
        Method::PUT => {
            objects.insert(path, body);
            (StatusCode::OK, Bytes::new())
        }
        Method::DELETE => {
            objects.remove(&path);
            (StatusCode::NO_CONTENT, Bytes::new())
        }
        _ => match found {
            Some(body) => (StatusCode::OK, body),
            None => (StatusCode::NOT_FOUND, Bytes::new()),
        },
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::ETAG, HeaderValue::from_static(ETAG));
    Ok(response)
}

fn page(number: usize) -> String {
    let object = |n: usize| {
        let key = format!("{number:010}{n:014}{:k<KEY_BYTES$}", "");
        format!(
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00Z</LastModified>\
             <ETag>\"e\"</ETag><Size>1</Size></Contents>"
        )
    };
    let next = format!("<NextContinuationToken>{number}</NextContinuationToken>");
    list(true, &(next + &(0..KEYS).map(object).collect::<String>()))
}

fn list(truncated: bool, contents: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>{truncated}</IsTruncated>{contents}\
         </ListBucketResult>"
    )
}

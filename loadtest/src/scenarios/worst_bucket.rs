//! A bucket whose list has no end, with keys of a kilobyte: what it makes the process keep that watches
//! it, before it is given up.
//!
//! One function has a quarter of what all buckets together may take, so four of them are counted. The
//! process is the one of `kip dev`; in a cluster the same watcher is a part of the scaler-adapter.

#![allow(clippy::cast_precision_loss)] // of kilobytes

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kipper_measure::{
    child::ChildProcess,
    processes::{Size, kib},
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::run::{PATIENCE, POLL, Run};

const BUCKET: &str = "photos";
/// Keys of a page: as many as S3 answers with.
const KEYS: usize = 1_000;
/// A kilobyte is the longest that S3 takes.
const KEY_BYTES: usize = 1_000;
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
    let empty = kib(watcher.pid(), Size::Resident)?;
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
    println!("   {empty} KiB at first, {peak} KiB at most, with one function's share used");
    let all = (empty as f64 + (peak - empty) as f64 * FUNCTIONS) * 1.024e-3;
    run.outcome.condition("worst_bucket_ended", usize::from(ended))?;
    run.outcome.figure("worst_bucket_watcher", all)
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

async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(async move {
            let answer = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
            // The watcher ends first.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// What S3 answers, where nothing is stored and one bucket has a list without an end.
fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    let is_list = request.uri().query().is_some_and(|query| query.contains("list-type=2"));
    let is_watched = request.uri().path().starts_with(&format!("/{BUCKET}"));
    let xml = match (request.method(), is_list) {
        (&Method::GET, true) if is_watched => page(PAGE.fetch_add(1, Relaxed)),
        (&Method::GET, true) => list(false, ""),
        (&Method::GET | &Method::HEAD, false) => {
            let mut missing = Response::new(Full::default());
            *missing.status_mut() = StatusCode::NOT_FOUND;
            return missing;
        }
        _ => String::new(),
    };
    Response::new(Full::from(xml))
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

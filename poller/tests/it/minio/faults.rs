//! What dies, and what that costs: nothing lost, and nothing delivered twice that was not in work.

use kipper_servers::{Minio, Proxy, minio::Options};

use super::bucket::{Bucket, endpoint};
use crate::{
    function::Function,
    poller::{Poller, Process},
    scenario::faults::is_soak,
    wait::until,
};

const MAX_HELD: usize = 32;

fn flags(bucket: &Bucket, function: &Function) -> Vec<String> {
    let mut flags = bucket.flags(&function.url());
    flags.push(format!("--max-held={MAX_HELD}"));
    flags
}

/// More deliveries than events.
fn duplicates(function: &Function) -> usize {
    function.count() - function.by_id().len()
}

/// SIGKILL of one of two pollers, again and again. What it had claimed is free when its lease has run
/// out; only what it had delivered and not deleted comes twice, with the same id.
#[tokio::test(flavor = "multi_thread")]
async fn killed_pollers_lose_nothing() {
    let (events, kills, between) = if is_soak() { (20_000, 20, 800) } else { (1_000, 3, 100) };
    let (bucket, function) = (Bucket::new().await, Function::start().await);
    bucket.fill(0, events).await;
    let flags = flags(&bucket, &function);
    let mut pollers: Vec<Process> = (0..2).map(|_| Process::start(&flags)).collect();
    for kill in 0..kills {
        let seen = function.count();
        until("progress", async || {
            function.count() >= seen + between || bucket.left().await == Some(0)
        })
        .await;
        pollers.remove(kill % 2).kill();
        pollers.push(Process::start(&flags));
    }
    until("all deleted", async || bucket.left().await == Some(0)).await;
    drop(pollers);
    println!("{events} events, {kills} kills: {} twice", duplicates(&function));
    assert_eq!(function.by_id().len(), usize::try_from(events).unwrap());
    assert!(duplicates(&function) <= kills * MAX_HELD, "{} twice", duplicates(&function));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_loses_nothing() {
    let server = Minio::start(&Options::default()).unwrap();
    let bucket = Bucket::on(&server).await;
    let function = Function::start().await;
    bucket.fill(0, 600).await;
    let flags = flags(&bucket, &function);
    let pollers: Vec<Poller> = (0..2).map(|_| Poller::start(&flags)).collect();
    until("under way", async || function.count() >= 100).await;
    server.restart().unwrap();
    until("all deleted", async || bucket.left().await == Some(0)).await;
    for poller in pollers {
        poller.stop().await;
    }
    assert_eq!(function.by_id().len(), 600);
    assert_eq!(function.overlaps(), 0);
    assert!(duplicates(&function) <= 2 * MAX_HELD, "{} twice", duplicates(&function));
}

/// Connections cut in the middle of requests: what was carried out without an answer is found again.
#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing() {
    let server = Minio::start(&Options::default()).unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let direct = Bucket::on(&server).await;
    let mut cut = endpoint(&server);
    cut.url = format!("http://127.0.0.1:{}", proxy.port());
    let by_proxy = Bucket { name: direct.name.clone(), endpoint: cut, s3: direct.s3.clone() };
    let function = Function::start().await;
    direct.fill(0, 600).await;
    let poller = Poller::start(&flags(&by_proxy, &function));
    for _ in 0..5 {
        let seen = function.count();
        until("progress", async || function.count() >= seen + 50 || direct.left().await == Some(0))
            .await;
        proxy.cut();
    }
    until("all deleted", async || direct.left().await == Some(0)).await;
    poller.stop().await;
    assert_eq!((function.count(), function.by_id().len()), (600, 600));
    assert_eq!(function.overlaps(), 0);
}

/// SIGTERM: handlers finish and their events are deleted; the others are free at once.
#[tokio::test]
async fn a_signal_finishes_what_runs() {
    let bucket = Bucket::new().await;
    let function = Function::with(|_| async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        crate::function::status(200)
    })
    .await;
    bucket.fill(0, 50).await;
    let poller = Poller::start(&flags(&bucket, &function));
    until("at work", async || function.count() >= 8).await;
    poller.stop().await;
    let delivered = u64::try_from(function.count()).unwrap();
    assert!(delivered < 50);
    assert_eq!(bucket.left().await, Some(50 - delivered));
    for name in bucket.names("pending/").await {
        assert_eq!(bucket.record(&name).await.lease, None);
    }
}

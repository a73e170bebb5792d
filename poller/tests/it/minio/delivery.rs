//! What the function is sent, that every event is deleted, and where dead ones go.

use kipper_bucket::names;
use kipper_poller::source::minio::{Backlog, MinioConfig};

use super::bucket::{Bucket, event, id, pending};
use crate::{
    function::{Function, status},
    poller::Poller,
    wait::until,
};

#[tokio::test]
async fn every_event_is_delivered_once_and_deleted() {
    let (bucket, function) = (Bucket::new().await, Function::start().await);
    bucket.fill(0, 300).await;
    let poller = Poller::start(&bucket.flags(&function.url()));
    until("all deleted", async || bucket.left().await == Some(0)).await;
    // One that comes later is found too.
    bucket.fill(300, 1).await;
    until("the late one deleted", async || {
        function.count() == 301 && bucket.left().await == Some(0)
    })
    .await;
    poller.stop().await;
    assert_eq!(function.by_id().len(), 301);
    assert_eq!(bucket.names("").await, Vec::<String>::new());
}

/// What a function is scaled by: events that wait and those in work, of this function alone.
#[tokio::test]
async fn the_backlog_is_the_number_of_events() {
    let bucket = Bucket::new().await;
    assert_eq!(count(&bucket.config()).await, 0);
    bucket.fill(0, 1_003).await;
    assert_eq!(count(&bucket.config()).await, 1_003);
    let other = MinioConfig { function: "f".to_owned(), ..bucket.config() };
    assert_eq!(count(&other).await, 0);
    let not_yet = MinioConfig { state_bucket: "not-yet".to_owned(), ..bucket.config() };
    assert_eq!(count(&not_yet).await, 0);
}

#[tokio::test]
async fn the_delivery_is_a_cloud_event_in_the_order_of_uploads() {
    let (bucket, function) = (Bucket::new().await, Function::start().await);
    bucket.fill(0, 20).await;
    let mut flags = bucket.flags(&function.url());
    flags.push("--concurrency=1".to_owned());
    let poller = Poller::start(&flags);
    until("all deleted", async || bucket.left().await == Some(0)).await;
    poller.stop().await;
    let deliveries = function.deliveries();
    let keys: Vec<_> = deliveries.iter().map(|d| d.row["key"].as_str().unwrap()).collect();
    let expected: Vec<_> = (0..20).map(|n| format!("{n}.jpg")).collect();
    assert_eq!(keys, expected);
    let (first, header) =
        (&deliveries[0], |name: &str| deliveries[0].headers[name].to_str().unwrap());
    assert_eq!(first.id, format!("ns/fn/{}", id(0)));
    assert_eq!(first.attempt, 1);
    assert_eq!(header("ce-source"), "/kipper/ns/fn/minio");
    assert_eq!(header("ce-type"), "run.kipper.minio");
    assert_eq!(first.body, event(0).body());
}

/// A poison event blocks nobody, ends under `failed/` and is delivered once more when moved back.
#[tokio::test]
async fn a_poison_event_becomes_a_dead_letter_and_can_be_redriven() {
    let bucket = Bucket::new().await;
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_broken = std::sync::Arc::clone(&broken);
    let function = Function::with(move |delivery| {
        let poison = delivery.row["key"] == "3.jpg";
        let broken = is_broken.load(std::sync::atomic::Ordering::SeqCst);
        async move { status(if poison && broken { 500 } else { 200 }) }
    })
    .await;
    bucket.fill(0, 10).await;
    let mut flags = bucket.flags(&function.url());
    flags.push("--max-attempts=2".to_owned());
    let poller = Poller::start(&flags);
    until("all gone", async || bucket.left().await == Some(0)).await;
    let dead = bucket.names(&names::failed("ns", "fn")).await;
    assert_eq!(dead, [pending(3).replacen("pending/", "failed/", 1)]);
    let record = bucket.record(&dead[0]).await;
    let failure = record.failed.unwrap();
    assert_eq!((failure.attempts, record.attempts, record.lease), (2, 2, None));
    assert!(failure.reason.contains("500"), "{}", failure.reason);
    assert_eq!(function.count(), 9 + 2);

    broken.store(false, std::sync::atomic::Ordering::SeqCst);
    bucket.redrive(&dead[0]).await;
    until("redriven", async || function.count() == 12 && bucket.left().await == Some(0)).await;
    poller.stop().await;
    let last = function.deliveries().pop().unwrap();
    assert_eq!((last.id, last.attempt), (format!("ns/fn/{}", id(3)), 1));
    assert_eq!(bucket.names("").await, Vec::<String>::new());
}

#[tokio::test]
async fn what_the_function_refuses_for_good_is_dead_at_once() {
    let bucket = Bucket::new().await;
    let function = Function::with(|_| async { status(400) }).await;
    bucket.fill(0, 5).await;
    let poller = Poller::start(&bucket.flags(&function.url()));
    until("all gone", async || bucket.left().await == Some(0)).await;
    poller.stop().await;
    assert_eq!(function.count(), 5);
    assert_eq!(bucket.names(&names::failed("ns", "fn")).await.len(), 5);
}

/// What a pod had counted when it ended is where the next one goes on.
#[tokio::test]
async fn attempts_outlive_the_pod_and_release_clears_the_lease() {
    let bucket = Bucket::new().await;
    let function = Function::with(|_| async { status(503) }).await;
    bucket.fill(0, 1).await;
    let poller = Poller::start(&bucket.flags(&function.url()));
    until("tried", async || function.count() >= 2).await;
    poller.stop().await;
    let record = bucket.record(&pending(0)).await;
    let tried = function.count();
    assert_eq!((usize::try_from(record.attempts).unwrap(), record.lease), (tried, None));
    let poller = Poller::start(&bucket.flags(&function.url()));
    until("tried again", async || function.count() > tried).await;
    poller.stop().await;
    let next = function.deliveries()[tried].attempt;
    assert_eq!(usize::try_from(next).unwrap(), tried + 1);
}

/// An object that is no event is left where it is, and what comes after it is delivered.
#[tokio::test]
async fn what_is_no_event_is_left_alone() {
    let (bucket, function) = (Bucket::new().await, Function::start().await);
    let name = format!("{}000-litter.json", names::pending("ns", "fn"));
    let litter = b"litter".to_vec();
    bucket.s3.put(&bucket.name, &name, litter, kipper_bucket::Condition::None).await.unwrap();
    bucket.fill(0, 3).await;
    let poller = Poller::start(&bucket.flags(&function.url()));
    until("the events deleted", async || bucket.left().await == Some(1)).await;
    poller.stop().await;
    assert_eq!(function.count(), 3);
    assert_eq!(bucket.names("").await, [name]);
}

async fn count(config: &MinioConfig) -> u64 {
    Backlog::new(config).unwrap().count().await.unwrap()
}

//! Who holds an event, seen from the source itself: two of them in the parts of two pods.

use std::sync::Arc;

use kipper_poller::source::{
    Event, Mark, Source as _, SourceError, Wanted,
    minio::{Leased, Minio as Source},
};

use super::bucket::{Bucket, pending};
use crate::wait::until;

const ALL: Wanted<'static> = Wanted { events: 100, bytes: 1 << 20, except: &[] };

async fn claim(source: &Source) -> Vec<Arc<Event<Leased>>> {
    source.claim(ALL).await.unwrap().events.into_iter().map(Arc::new).collect()
}

/// What another pod claims once the leases of the first have run out.
async fn take_over(second: &Source, count: usize) -> Vec<Arc<Event<Leased>>> {
    let mut taken: Vec<Arc<Event<Leased>>> = Vec::new();
    until("the leases have run out", async || {
        let except: Vec<_> = taken.iter().map(|event| event.key.clone()).collect();
        let claimed = second.claim(Wanted { except: &except, ..ALL }).await.unwrap();
        taken.extend(claimed.events.into_iter().map(Arc::new));
        taken.len() == count
    })
    .await;
    taken
}

#[tokio::test]
async fn nobody_claims_what_is_leased() {
    let bucket = Bucket::new().await;
    bucket.fill(0, 5).await;
    let (first, second) = (bucket.source().await, bucket.source().await);
    let held = claim(&first).await;
    assert_eq!(held.len(), 5);
    assert!(claim(&second).await.is_empty());
    first.release(&held[..2]).await.unwrap();
    until("what was released", async || claim(&second).await.len() == 2).await;
    let marks = first.ack(&held[2..], false).await.unwrap();
    assert_eq!(marks, vec![Mark::Done { rows: None, still: None }; 3]);
    assert_eq!(bucket.left().await, Some(2));
}

#[tokio::test]
async fn a_stale_owner_neither_renews_nor_deletes_what_another_has() {
    let bucket = Bucket::new().await;
    bucket.fill(0, 1).await;
    let first = bucket.source().await;
    let held = claim(&first).await;
    let keys = [held[0].key.clone()];
    let except = Wanted { except: &keys, ..ALL };
    assert!(first.claim(except).await.unwrap().events.is_empty());
    let second = bucket.source().await;
    let taken = take_over(&second, 1).await;
    let theirs = bucket.record(&pending(0)).await;

    assert!(matches!(first.extend(&held).await, Err(SourceError::Lost(_))));
    first.recover(&held).await.unwrap();
    let marks = first.ack(&held, true).await.unwrap();
    assert!(matches!(marks[..], [Mark::Done { .. }]));
    first.fail(&held[0], "late", 1, false).await.unwrap();
    first.release(&held).await.unwrap();
    assert_eq!(bucket.record(&pending(0)).await, theirs);
    assert_eq!(bucket.names("failed/").await, Vec::<String>::new());

    second.ack(&taken, false).await.unwrap();
    assert!(!bucket.is_there(&pending(0)).await);
    // Nor does a write that comes too late bring it back.
    first.extend(&held).await.unwrap();
    first.release(&held).await.unwrap();
    assert!(!bucket.is_there(&pending(0)).await);
}

/// The same before it knows that its lease ran out: the object tells.
#[tokio::test]
async fn a_stale_owner_that_only_marks_is_told_by_the_object() {
    let bucket = Bucket::new().await;
    bucket.fill(0, 3).await;
    let first = bucket.source().await;
    let held = claim(&first).await;
    let second = bucket.source().await;
    take_over(&second, 3).await;
    first.ack(&held[..1], false).await.unwrap();
    first.fail(&held[1], "late", 1, false).await.unwrap();
    first.release(&held[2..]).await.unwrap();
    assert_eq!(bucket.left().await, Some(3));
    assert_eq!(bucket.names("failed/").await, Vec::<String>::new());
    for n in 0..3 {
        assert!(bucket.record(&pending(n)).await.lease.is_some());
    }
}

/// A lease that ran out and that nobody took is still good.
#[tokio::test]
async fn an_owner_whose_lease_ran_out_untouched_goes_on() {
    let bucket = Bucket::new().await;
    bucket.fill(0, 1).await;
    let first = bucket.source().await;
    let held = claim(&first).await;
    let until_ms = bucket.record(&pending(0)).await.lease.unwrap().until_ms;
    until("over", async || {
        bucket.left().await;
        bucket.s3.clock().at_least().unwrap() > until_ms
    })
    .await;
    first.extend(&held).await.unwrap();
    let renewed = bucket.record(&pending(0)).await.lease.unwrap();
    assert!(renewed.until_ms > until_ms);
    first.ack(&held, false).await.unwrap();
    assert_eq!(bucket.left().await, Some(0));
}

/// What was claimed without an answer is this process's own to claim again.
#[tokio::test]
async fn an_own_lease_that_is_not_held_is_claimed_again_at_once() {
    let bucket = Bucket::new().await;
    bucket.fill(0, 1).await;
    let source = bucket.source().await;
    drop(claim(&source).await);
    assert_eq!(claim(&source).await.len(), 1);
}

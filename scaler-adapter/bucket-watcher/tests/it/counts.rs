//! How many events wait.

use kipper_bucket_watcher::Leader;

use crate::world::{Handler, Watcher, World, keys, until};

const NAMESPACE: &str = "shop-prod";
const FUNCTION: &str = "thumbs";

#[tokio::test]
async fn what_is_stored_counts_until_it_is_handled() {
    let world = World::new().await;
    let watcher = Watcher::start(&world.config(), &[world.trigger()]).await;
    let count = async |events| watcher.pending.count(NAMESPACE, FUNCTION) == Some(events);
    watcher.watches().await;
    until("counted", async || count(0).await).await;
    world.upload_all(&keys(30)).await;
    until("all counted", async || count(30).await).await;
    Handler::new(&world).handle_until(30).await;
    until("nothing left", async || count(0).await).await;
}

/// Every watcher knows, also one that does not lead and stored nothing.
#[tokio::test]
async fn a_watcher_that_does_not_lead_counts_too() {
    let world = World::new().await;
    let leading = Watcher::start(&world.config(), &[world.trigger()]).await;
    let other = Watcher::with(&world.config(), &[world.trigger()], Leader::Other(None)).await;
    leading.watches().await;
    let mut counts = other.pending.subscribe(NAMESPACE, FUNCTION).unwrap();
    world.upload("a.jpg").await;
    counts.wait_for(|events| *events == Some(1)).await.unwrap();
    assert_eq!(other.pending.count(NAMESPACE, FUNCTION), Some(1));
}

#[tokio::test]
async fn what_is_not_counted_is_unknown() {
    let world = World::new().await;
    let watcher = Watcher::start(&world.config(), &[]).await;
    assert_eq!(watcher.pending.count(NAMESPACE, FUNCTION), None);
}

//! What lists alone show.

use kipper_bucket::Origin;

use crate::world::{Handler, Watcher, World, keys};

/// Keys that URLs, XML and JSON all have their own mind about.
pub(crate) const ODD: [&str; 8] = [
    "a b.txt",
    "a+b.txt",
    "100%.txt",
    "%2F.txt",
    "ä/日本/é.txt",
    "q?x=1&y=<2>#3.txt",
    "\"quoted\" 'it'.txt",
    "deep/er/and/deep er.txt",
];

#[tokio::test]
async fn the_first_inventory_of_a_thousand_objects_is_no_event() {
    let world = World::new().await;
    world.upload_all(&keys(1_000)).await;
    let watcher = Watcher::start(&world.config(), &[world.trigger()]).await;
    watcher.list_again().await;
    let mut handler = Handler::new(&world);
    handler.handle().await;
    assert_eq!(handler.deliveries(), 0);
    world.upload("new.jpg").await;
    handler.handle_until(1).await;
    watcher.list_again().await;
    handler.handle().await;
    assert_eq!(handler.deliveries(), 1);
    let event = handler.events()[0];
    assert_eq!((&*event.key, &*event.bucket), ("new.jpg", &*world.bucket));
    assert_eq!((event.size, event.origin), (Some(7), Origin::Diff));
    assert_eq!(event.etag.as_deref().map(str::len), Some(32));
}

#[tokio::test]
async fn uploads_overwrites_and_removals_of_any_key_are_one_event_each() {
    let world = World::new().await;
    world.upload("old.txt").await;
    let watcher = Watcher::start(&world.config(), &[world.trigger()]).await;
    watcher.watches().await;
    let mut handler = Handler::new(&world);
    let odd: Vec<String> = ODD.map(str::to_owned).into();
    world.upload_all(&odd).await;
    handler.handle_until(8).await;
    let mut found: Vec<&str> = handler.events().iter().map(|event| &*event.key).collect();
    let mut expected = ODD.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);

    // The same content over again is an upload too.
    world.upload("a b.txt").await;
    handler.handle_until(9).await;
    world.remove_all(&odd).await;
    world.remove("old.txt").await;
    handler.handle_until(18).await;
    watcher.list_again().await;
    handler.handle().await;
    assert_eq!(handler.deliveries(), 18);
    let removed = handler.story().into_iter().filter(|(name, _)| name.contains("Removed"));
    assert_eq!(removed.count(), 9);
}

#[tokio::test]
async fn prefix_and_suffix_choose() {
    let world = World::new().await;
    let mut trigger = world.trigger();
    (trigger.prefix, trigger.suffix) = ("in/ä b/".to_owned(), ".jpg".to_owned());
    let watcher = Watcher::start(&world.config(), &[trigger]).await;
    watcher.watches().await;
    for key in ["in/ä b/1.png", "1.jpg", "in/ä b/1.jpg", "out/in/ä b/2.jpg"] {
        world.upload(key).await;
    }
    let mut handler = Handler::new(&world);
    handler.handle_until(1).await;
    watcher.list_again().await;
    handler.handle().await;
    let wanted = ("s3:ObjectCreated:Put".to_owned(), "in/ä b/1.jpg".to_owned());
    assert_eq!(handler.story(), [wanted]);
}

/// Two functions on one bucket each get every event; another bucket for a function is a new one.
#[tokio::test]
async fn every_function_has_its_own_events_and_a_new_bucket_begins_anew() {
    let (world, other) = (World::new().await, World::new().await);
    other.upload("there.jpg").await;
    let mut second = world.trigger();
    second.function = "second".to_owned();
    let watcher = Watcher::start(&world.config(), &[world.trigger(), second.clone()]).await;
    watcher.list_again().await;
    world.upload("a.jpg").await;
    let mut handler = Handler::new(&world);
    handler.handle_until(1).await;
    let prefix = kipper_bucket::names::pending("shop-prod", "second");
    crate::world::until("the second function's", async || {
        world.s3.count(&world.state, &prefix, 10).await == Ok(1)
    })
    .await;
    let mut moved = world.trigger();
    moved.bucket = other.bucket.clone();
    watcher.triggers.send_replace(Some(vec![moved, second].into()));
    watcher.list_again().await;
    other.upload("b.jpg").await;
    handler.handle_until(2).await;
    let found: Vec<_> = handler.events().iter().map(|event| event.key.clone()).collect();
    assert_eq!(found, ["a.jpg", "b.jpg"]);
    assert_eq!(handler.deliveries(), 2);
}

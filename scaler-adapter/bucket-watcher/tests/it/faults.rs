//! What dies, and what that costs.

use kipper_bucket::Endpoint;
use kipper_servers::{Minio, Proxy, minio::Options};

use crate::world::{Handler, Watcher, World, endpoint, keys, telling, until};

/// What happened while no adapter was there is found by the next one, and nothing comes again that
/// was handled before.
#[tokio::test]
async fn a_restart_between_upload_and_list_loses_nothing() {
    let world = World::new().await;
    world.upload_all(&keys(20)).await;
    let mut handler = Handler::new(&world);
    let watcher = Watcher::start(&world.config(), &[world.trigger()]).await;
    watcher.watches().await;
    world.upload("first.jpg").await;
    handler.handle_until(1).await;
    watcher.kill_between_batches().await;
    world.upload_all(&keys(10)).await;
    world.remove_all(&keys(20)[15..]).await;
    let watcher = Watcher::start(&world.config(), &[world.trigger()]).await;
    handler.handle_until(1 + 10 + 5).await;
    watcher.list_again().await;
    handler.handle().await;
    assert_eq!(handler.deliveries(), 16);
}

/// Killed again and again while it stores a thousand events. What it had stored and not noted comes
/// again with the same id, so every id is one upload.
#[tokio::test]
async fn an_adapter_killed_while_it_stores_loses_nothing() {
    let world = World::new().await;
    let mut handler = Handler::new(&world);
    let mut watcher = Watcher::start(&world.config(), &[world.trigger()]).await;
    watcher.watches().await;
    world.upload_all(&keys(1_000)).await;
    for _ in 0..5 {
        let seen = handler.handled.len();
        while handler.handled.len() < (seen + 50).min(1_000) {
            handler.handle().await;
        }
        watcher.kill().await;
        watcher = Watcher::start(&world.config(), &[world.trigger()]).await;
    }
    handler.handle_until(1_000).await;
    watcher.list_again().await;
    handler.handle().await;
    assert_eq!(handler.handled.len(), 1_000);
    let again = handler.deliveries() - 1_000;
    assert!(again <= 5 * 64, "{again} again");
}

/// The journal grows an image, loses its old entries and is read again.
#[tokio::test]
async fn the_journal_is_tidied_and_still_knows_everything() {
    let (server, addr) = telling(false);
    let world = World::at(endpoint(&server)).await;
    let mut handler = Handler::new(&world);
    let watcher = Watcher::start(&world.listening(addr), &[world.trigger()]).await;
    watcher.watches().await;
    // One after the other, so that each is an entry of its own.
    for n in 0..300 {
        world.upload(&format!("{n}.jpg")).await;
    }
    handler.handle_until(300).await;
    let log = format!("{}log/", kipper_bucket::names::state("shop-prod", "thumbs"));
    until("tidied", async || world.s3.count(&world.state, &log, 1_000).await.unwrap() < 256).await;
    watcher.kill_between_batches().await;
    let watcher = Watcher::start(&world.listening(addr), &[world.trigger()]).await;
    watcher.list_again().await;
    handler.handle().await;
    assert_eq!((handler.handled.len(), handler.deliveries()), (300, 300));
}

#[tokio::test]
async fn a_server_that_restarts_is_watched_again() {
    let server = Minio::start(&Options::default()).unwrap();
    let world = World::at(endpoint(&server)).await;
    let mut handler = Handler::new(&world);
    let watcher = Watcher::start(&world.config(), &[world.trigger()]).await;
    watcher.watches().await;
    world.upload("before.jpg").await;
    server.restart().unwrap();
    world.upload("after.jpg").await;
    handler.handle_until(2).await;
    watcher.list_again().await;
    handler.handle().await;
    assert_eq!(handler.deliveries(), 2);
}

/// While S3 is away from the adapter a notification is answered 503, and the service sends it again.
#[tokio::test]
async fn a_notification_that_cannot_be_stored_comes_again() {
    let (server, addr) = telling(true);
    let world = World::at(endpoint(&server)).await;
    let proxy = Proxy::start(server.port()).unwrap();
    let mut config = world.listening(addr);
    // Lists find nothing in this test.
    config.bucket_backstop_interval = std::time::Duration::from_secs(3600);
    let mut trigger = world.trigger();
    let url = format!("http://127.0.0.1:{}", proxy.port());
    trigger.endpoint = Endpoint { url, ..trigger.endpoint };
    let watcher = Watcher::start(&config, &[trigger]).await;
    watcher.watches().await;
    let mut handler = Handler::new(&world);
    world.upload("first.jpg").await;
    handler.handle_until(1).await;
    // The watcher has the answer of S3 as well; cut before, the first would come again.
    until("taken", async || watcher.metric("webhooks_total", "200") >= 1).await;
    proxy.refuse();
    proxy.cut();
    world.upload("second.jpg").await;
    until("refused", async || watcher.metric("webhooks_total", "503") >= 1).await;
    proxy.resume();
    handler.handle_until(2).await;
    until("taken", async || watcher.metric("webhooks_total", "200") >= 2).await;
    handler.handle().await;
    assert_eq!(handler.deliveries(), 2);
}

/// With nobody at the port the service keeps what it has to tell.
#[tokio::test]
async fn what_was_told_while_no_adapter_was_there_is_one_event() {
    let (server, addr) = telling(true);
    let world = World::at(endpoint(&server)).await;
    let watcher = Watcher::start(&world.listening(addr), &[world.trigger()]).await;
    watcher.watches().await;
    let mut handler = Handler::new(&world);
    world.upload("0.jpg").await;
    handler.handle_until(1).await;
    watcher.kill_between_batches().await;
    world.upload_all(&keys(20)).await;
    world.remove_all(&keys(5)).await;
    let watcher = Watcher::start(&world.listening(addr), &[world.trigger()]).await;
    // Lists saw only what was left of it; the notifications add the rest.
    handler.handle_until(1 + 20 + 5).await;
    until("all told", async || watcher.metric("webhooks_total", "200") >= 25).await;
    watcher.list_again().await;
    handler.handle().await;
    assert_eq!((handler.handled.len(), handler.deliveries()), (26, 26));
}

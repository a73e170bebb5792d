//! What the service tells, alone and together with lists.

use std::net::SocketAddr;

use kipper_bucket::Origin;
use kipper_bucket_watcher::{BucketTrigger, Leader};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    diff::ODD,
    world::{Handler, KEY, Watcher, World, endpoint, keys, telling, token, until},
};

/// Sends a request and returns the status of the answer.
async fn send(addr: SocketAddr, head: &str, body: &str) -> u16 {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let length = body.len();
    let request =
        format!("{head}host: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(crate) async fn post(addr: SocketAddr, path: &str, body: &str) -> u16 {
    post_as(&token(), addr, path, body).await
}

async fn post_as(token: &str, addr: SocketAddr, path: &str, body: &str) -> u16 {
    let head = format!("POST {path} HTTP/1.1\r\nauthorization: Bearer {token}\r\n");
    send(addr, &head, body).await
}

/// Two adapters, both ways at once, and a handler that is done with an event before the other way
/// tells of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_uploads_by_both_ways_with_two_adapters_are_a_thousand_deliveries() {
    let (server, addr) = telling(false);
    let world = World::at(endpoint(&server)).await;
    let leading =
        Watcher::start(&world.listening(([127, 0, 0, 1], 0).into()), &[world.trigger()]).await;
    let other = Leader::Other(leading.webhook);
    // The service tells the one that does not lead.
    let handing_on = Watcher::with(&world.listening(addr), &[world.trigger()], other).await;
    leading.watches().await;
    let mut handler = Handler::new(&world);
    let keys = keys(1_000);
    tokio::join!(world.upload_all(&keys), handler.handle_until(1_000));
    until("all told", async || handing_on.metric("webhooks_total", "") >= 1_000).await;
    leading.list_again().await;
    handler.handle().await;
    assert_eq!((handler.handled.len(), handler.deliveries()), (1_000, 1_000));
    let (told, listed) =
        (leading.metric("events_total", "webhook"), leading.metric("events_total", "diff"));
    assert_eq!(told + listed, 1_000);
    assert!(told > 0, "nobody told anything");
    assert_eq!(handing_on.metric("events_total", ""), 0);
    let mut found: Vec<_> = handler.events().iter().map(|event| event.key.clone()).collect();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 1_000);
}

/// Told alone: lists are an hour apart.
#[tokio::test]
async fn uploads_and_removals_of_any_key_are_told_in_order() {
    let (server, addr) = telling(true);
    let world = World::at(endpoint(&server)).await;
    let mut config = world.listening(addr);
    config.bucket_backstop_interval = std::time::Duration::from_secs(3600);
    let mut trigger = world.trigger();
    trigger.suffix = ".txt".to_owned();
    let watcher = Watcher::start(&config, &[trigger]).await;
    watcher.watches().await;
    let mut handler = Handler::new(&world);
    world.upload("not wanted").await;
    for key in ODD {
        world.upload(key).await;
        world.remove(key).await;
    }
    handler.handle_until(16).await;
    let story: Vec<(String, String)> = ODD
        .iter()
        .flat_map(|key| {
            let name = |what: &str| (format!("s3:Object{what}"), (*key).to_owned());
            [name("Created:Put"), name("Removed:Delete")]
        })
        .collect();
    assert_eq!(handler.story(), story);
    assert!(handler.events().iter().all(|event| event.origin == Origin::Webhook));
    assert_eq!(handler.deliveries(), 16);
}

#[tokio::test]
async fn only_who_knows_the_token_is_heard() {
    let world = World::new().await;
    let config = world.listening(([127, 0, 0, 1], 0).into());
    let watcher = Watcher::start(&config, &[world.trigger()]).await;
    watcher.watches().await;
    let addr = watcher.webhook.unwrap();
    assert_eq!(send(addr, "POST / HTTP/1.1\r\n", "{}").await, 401);
    let token = token();
    let other = kipper_trigger::token::webhook(KEY.as_bytes(), "shop-test");
    for wrong in [
        "Bearer sesamf",
        "Bearer ",
        "Basic sesame",
        "sesame",
        &token,
        &format!("Bearer {}", &token[1..]),
        &format!("Bearer {other}"),
    ] {
        let head = format!("POST / HTTP/1.1\r\nauthorization: {wrong}\r\n");
        assert_eq!(send(addr, &head, "{}").await, 401, "{wrong}");
    }
    let get = format!("GET / HTTP/1.1\r\nauthorization: Bearer {token}\r\n");
    assert_eq!(send(addr, &get, "").await, 405);
    assert_eq!(post(addr, "/", "no json").await, 400);
    assert_eq!(post(addr, "/", &" ".repeat(2 << 20)).await, 413);
}

fn notification(world: &World, key: &str, sequencer: u64) -> String {
    format!(
        r#"{{"Records":[{{"eventName":"s3:ObjectCreated:Put","s3":{{"bucket":{{"name":"{}"}},
        "object":{{"key":"{key}","size":1,"eTag":"e","sequencer":"{sequencer:X}"}}}}}}]}}"#,
        world.bucket
    )
}

/// A moment that is after every first list of these tests.
const LATER: u64 = 4_000_000_000_000_000_000;

/// Told a second time after the event was handled, and by a service that has another bucket of this
/// name.
#[tokio::test]
async fn what_is_told_again_or_by_another_service_is_no_event() {
    let world = World::new().await;
    let mut config = world.listening(([127, 0, 0, 1], 0).into());
    config.bucket_list_interval = std::time::Duration::from_secs(3600);
    let watcher = Watcher::start(&config, &[world.trigger()]).await;
    watcher.watches().await;
    let addr = watcher.webhook.unwrap();
    let mut handler = Handler::new(&world);
    let told = notification(&world, "a.jpg", LATER);
    assert_eq!(post(addr, "/", &told).await, 200);
    handler.handle_until(1).await;
    assert_eq!(post(addr, "/", &told).await, 200);
    assert_eq!(post(addr, "/elsewhere:9000", &notification(&world, "b.jpg", LATER)).await, 200);
    assert_eq!(post(addr, "/", &notification(&world, "old.jpg", 1_000_000)).await, 200);
    handler.handle().await;
    assert_eq!(handler.deliveries(), 1, "{:?}", handler.story());
    let own = world.endpoint.url.replace("http://", "/");
    assert_eq!(post(addr, &own, &notification(&world, "c.jpg", LATER)).await, 200);
    handler.handle_until(2).await;
}

/// The token of one namespace says nothing of another one's buckets, whatever they are called.
#[tokio::test]
async fn nobody_makes_events_of_another_namespace() {
    let world = World::new().await;
    let mut config = world.listening(([127, 0, 0, 1], 0).into());
    config.bucket_list_interval = std::time::Duration::from_secs(3600);
    let other = BucketTrigger { namespace: "evil".to_owned(), ..world.trigger() };
    let watcher = Watcher::start(&config, &[world.trigger(), other]).await;
    watcher.watches().await;
    let addr = watcher.webhook.unwrap();
    let mut handler = Handler::new(&world);
    let evil = kipper_trigger::token::webhook(KEY.as_bytes(), "evil");
    let forged = notification(&world, "forged.jpg", LATER);
    let real = notification(&world, "real.jpg", LATER);
    // Once its own bucket is watched it is taken, and says nothing of others'.
    until("taken", async || post_as(&evil, addr, "/", &forged).await == 200).await;
    until("taken", async || post(addr, "/", &real).await == 200).await;
    handler.handle_until(1).await;
    assert_eq!(handler.story(), [("s3:ObjectCreated:Put".to_owned(), "real.jpg".to_owned())]);
}

/// Whoever has the adapter's key speaks for everybody, so the store is asked instead.
#[tokio::test]
async fn with_the_key_itself_a_notification_only_makes_its_bucket_be_listed() {
    let world = World::new().await;
    let mut config = world.listening(([127, 0, 0, 1], 0).into());
    let interval = std::time::Duration::from_secs(1);
    config.bucket_list_interval = interval;
    let watcher = Watcher::start(&config, &[world.trigger()]).await;
    watcher.watches().await;
    let addr = watcher.webhook.unwrap();
    let mut handler = Handler::new(&world);
    world.upload("real.jpg").await;
    assert_eq!(post_as(KEY, addr, "/", &notification(&world, "forged.jpg", LATER)).await, 200);
    handler.handle_until(1).await;
    watcher.list_again().await;
    handler.handle().await;
    assert_eq!(handler.story(), [("s3:ObjectCreated:Put".to_owned(), "real.jpg".to_owned())]);
    assert_eq!(watcher.metric("events_total", "webhook"), 0);
}

/// 200 means that the event object is there, whoever was asked.
#[tokio::test]
async fn only_the_leader_stores_and_nobody_answers_for_a_leader_that_is_gone() {
    let world = World::new().await;
    let config = world.listening(([127, 0, 0, 1], 0).into());
    let leading = Watcher::start(&config, &[world.trigger()]).await;
    leading.watches().await;
    let other = Leader::Other(leading.webhook);
    let handing_on = Watcher::with(&config, &[world.trigger()], other).await;
    let addr = handing_on.webhook.unwrap();
    let (a, b) = (notification(&world, "a.jpg", LATER), notification(&world, "b.jpg", LATER));
    // How often each upload was an event. There is no such object, so lists tell of removals too.
    let mut handler = Handler::new(&world);
    let uploads = |handler: &Handler| {
        let created = handler.handled.values().filter(|(_, event)| event.name.contains("Created"));
        let mut counts: Vec<_> = created.map(|(n, event)| (event.key.clone(), *n)).collect();
        counts.sort();
        counts
    };
    let once = |key: &str| (key.to_owned(), 1);
    assert_eq!(post(addr, "/", &a).await, 200);
    handler.handle().await;
    assert_eq!(uploads(&handler), [once("a.jpg")]);
    leading.kill().await;
    assert_eq!(post(addr, "/", &b).await, 503);
    handing_on.leader.send_replace(Leader::Other(None));
    assert_eq!(post(addr, "/", &b).await, 503);
    // It takes over with what its predecessor knew.
    handing_on.leader.send_replace(Leader::Me);
    until("leads", async || post(addr, "/", &b).await == 200).await;
    assert_eq!(post(addr, "/", &a).await, 200);
    handler.handle().await;
    assert_eq!(uploads(&handler), [once("a.jpg"), once("b.jpg")]);
}

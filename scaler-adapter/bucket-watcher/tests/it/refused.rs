//! What cannot be watched harms nobody else, and is watched once it can be.

use crate::world::{Handler, PATIENCE, Watcher, World, token};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Wrong credentials and a bucket that is not there, beside one that is fine.
#[tokio::test]
async fn a_trigger_that_cannot_work_harms_no_other_and_can_be_mended() {
    let world = World::new().await;
    let mut wrong = world.trigger();
    wrong.function = "wrong".to_owned();
    wrong.endpoint.secret_key = "wrong".to_owned();
    let mut missing = world.trigger();
    missing.function = "missing".to_owned();
    missing.bucket = "no-such-bucket".to_owned();
    let mut nowhere = world.trigger();
    nowhere.function = "nowhere".to_owned();
    nowhere.endpoint.url = "nowhere".to_owned();
    let config = world.listening(([127, 0, 0, 1], 0).into());
    let all = [wrong.clone(), missing.clone(), nowhere, world.trigger()];
    let watcher = Watcher::start(&config, &all).await;
    watcher.watches().await;
    world.upload("a.jpg").await;
    let mut handler = Handler::new(&world);
    handler.handle_until(1).await;

    // Its notifications are not kept waiting, or they would block those of the others.
    let body = r#"{"Records":[{"eventName":"s3:ObjectCreated:Put","s3":{"bucket":{"name":
        "no-such-bucket"},"object":{"key":"k","eTag":"e","sequencer":"38D7EA4C68000000"}}}]}"#;
    let broken = async {
        loop {
            let mut stream = TcpStream::connect(watcher.webhook.unwrap()).await.unwrap();
            let (length, token) = (body.len(), token());
            let request = format!(
                "POST / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
                 connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            if answer.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, broken).await.unwrap();

    wrong.endpoint = world.endpoint.clone();
    let lists = watcher.metric("lists_total", "ok");
    watcher.triggers.send_replace(Some(vec![wrong].into()));
    crate::world::until("mended", async || watcher.metric("lists_total", "ok") > lists + 2).await;
    world.upload("b.jpg").await;
    let prefix = kipper_bucket::names::pending("shop-prod", "wrong");
    crate::world::until("its event", async || {
        world.s3.count(&world.state, &prefix, 10).await == Ok(1)
    })
    .await;
}

//! A service that has a region of its own.

use kipper_bucket::{Condition, Endpoint, S3};
use kipper_servers::{Minio, minio::Options};

use crate::world::{Handler, Watcher, World, endpoint, until};

#[tokio::test]
async fn the_region_that_a_service_names_is_followed_and_can_be_said() {
    let region = ("MINIO_SITE_REGION".to_owned(), "eu-central-1".to_owned());
    let server = Minio::start(&Options { env: vec![region], ..Options::default() }).unwrap();
    let world = World::at(endpoint(&server)).await;
    let watcher = Watcher::start(&world.config(), &[world.trigger()]).await;
    watcher.watches().await;
    let mut handler = Handler::new(&world);
    world.upload("here.jpg").await;
    handler.handle_until(1).await;

    let at = |region: &str| {
        let url = format!("{}?region={region}", server.endpoint());
        S3::new(&Endpoint { url, ..endpoint(&server) }).unwrap()
    };
    let put = async |region: &str| {
        at(region).put(&world.bucket, region, b"{}".to_vec(), Condition::None).await
    };
    until("a put where it is", async || put("eu-central-1").await.is_ok()).await;
    // What is said wrong is followed too.
    put("eu-west-1").await.unwrap();
    assert!(S3::new(&Endpoint { url: "http://h?zone=1".to_owned(), ..endpoint(&server) }).is_err());
}

//! The bucket watcher beside the servers: from an upload to what KEDA hears.

use std::time::Duration;

use kipper_bucket::{Condition, Endpoint, S3, names};
use kipper_bucket_watcher::{BucketArgs, BucketSources, BucketTrigger, Leader};
use kipper_scaler_adapter::{Adapter, Config};
use kipper_servers::{Minio, minio::Options};
use tokio::sync::watch;

use crate::{
    backlog::{is_active, metric, object},
    support::{Keda, patiently, serve_adapter},
};

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    patiently(what, wait).await;
}

#[tokio::test]
async fn an_upload_wakes_its_function() {
    let server = Minio::start(&Options::default()).unwrap();
    let endpoint = Endpoint {
        url: server.endpoint(),
        access_key: Minio::ACCESS_KEY.to_owned(),
        secret_key: Minio::SECRET_KEY.to_owned(),
        authority: None,
    };
    let s3 = S3::new(&endpoint).unwrap();
    until("a bucket", async || s3.create_bucket("photos").await.is_ok()).await;
    let trigger = BucketTrigger {
        namespace: "shop-prod".to_owned(),
        function: "thumbs".to_owned(),
        endpoint,
        bucket: "photos".to_owned(),
        prefix: String::new(),
        suffix: String::new(),
        state_bucket: "state".to_owned(),
    };
    let (_triggers, triggers) = watch::channel(Some([trigger].into()));
    let (_leader, leader) = watch::channel(Leader::Me);
    let bucket =
        BucketArgs { bucket_list_interval: Duration::from_millis(200), ..BucketArgs::default() };
    let config = Config { bucket, ..Config::in_process() };
    let sources = BucketSources { triggers, leader };
    let served = serve_adapter(Adapter::bind_with_buckets(&config, Some(sources)).await.unwrap());
    let mut keda = Keda::connect(served.grpc).await;
    until("the first list", async || served.metric("bucket_lists_total") >= 1.0).await;
    until("counted", async || is_active(&mut keda).await == Some(false)).await;

    let stream = patiently("stream", keda.0.stream_is_active(object())).await;
    let mut stream = stream.unwrap().into_inner();
    s3.put("photos", "a.jpg", b"a".to_vec(), Condition::None).await.unwrap();
    assert!(patiently("true", stream.message()).await.unwrap().unwrap().result);
    until("counted", async || metric(&mut keda).await == Some(1.0)).await;

    let events = s3.list("state", &names::pending("shop-prod", "thumbs"), None).await.unwrap();
    for event in events.objects {
        s3.delete("state", &event.key).await.unwrap();
    }
    until("nothing left", async || is_active(&mut keda).await == Some(false)).await;
}

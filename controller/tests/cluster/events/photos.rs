//! A bucket of photos in MinIO, which tells the scaler-adapter of its changes, and the Service by
//! which functions reach it.

use kipper_bucket::{Condition, Endpoint, S3, names};
use kipper_cluster::{
    bridge::on_bridge,
    names::{SCALER_ADAPTER, SYSTEM, WEBHOOK_PORT, WEBHOOK_TOKEN},
    objects,
    sandbox::Sandbox,
    wait::{expect, until},
};
use kipper_servers::{
    Minio,
    minio::{Options, Webhook},
};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::bindings::service;

/// Where the bucket watcher keeps events, unless told otherwise.
const STATE_BUCKET: &str = "kipper-events";

pub(super) struct Photos {
    _server: Minio,
    bucket: String,
    s3: S3,
    /// Prefix of the function's events.
    pending: String,
    /// Prefix of what the bucket watcher knows for it.
    state: String,
}

impl Photos {
    pub(super) async fn create(sandbox: &Sandbox, function: &str) -> Self {
        let server = start(sandbox).await;
        let s3 = S3::new(&Endpoint {
            url: server.endpoint(),
            access_key: Minio::ACCESS_KEY.to_owned(),
            secret_key: Minio::SECRET_KEY.to_owned(),
            authority: None,
        });
        let bucket = sandbox.name("photos");
        let pending = names::pending(&sandbox.namespace, function);
        let state = names::state(&sandbox.namespace, function);
        let url = format!("http://{}", on_bridge(server.port()).await);
        let photos = Self { _server: server, bucket, s3: s3.unwrap(), pending, state };
        photos.create_bucket(&photos.bucket).await;
        let values = [
            ("ENDPOINT", &*url),
            ("ACCESS_KEY", Minio::ACCESS_KEY),
            ("SECRET_KEY", Minio::SECRET_KEY),
        ];
        service(sandbox, "files", "minio").await;
        sandbox.secret("files-credentials", &values).await;
        photos
    }

    /// A server that has just started refuses for a moment longer than it seems ready.
    pub(super) async fn create_bucket(&self, bucket: &str) {
        until("a bucket", || async {
            self.s3.create_bucket(bucket).await.map_err(|error| error.to_string())
        })
        .await;
    }

    pub(super) async fn upload(&self, key: &str) {
        let content = b"not really a photo".to_vec();
        self.s3.put(&self.bucket, key, content, Condition::None).await.unwrap();
    }

    pub(super) async fn remove(&self, key: &str) {
        self.s3.delete(&self.bucket, key).await.unwrap();
    }

    /// Events that are stored and not done.
    pub(super) async fn pending(&self) -> usize {
        let count = self.s3.count(STATE_BUCKET, &self.pending, u64::MAX).await.unwrap();
        count.try_into().unwrap()
    }

    /// Waits until the bucket watcher knows what is there: all that comes after is an event.
    pub(super) async fn until_watched(&self) {
        until("the bucket's inventory", || async {
            let known = self.s3.count(STATE_BUCKET, &self.state, 1).await;
            expect(known.as_ref().is_ok_and(|count| *count > 0), || format!("{known:?}"))
        })
        .await;
    }

    pub(super) fn trigger(&self) -> Value {
        json!({ "type": "minio", "config": { "source": "files", "bucket": self.bucket } })
    }
}

/// Its notifications go to the Service of the adapters, for whatever service a trigger names.
async fn start(sandbox: &Sandbox) -> Minio {
    let adapter = objects::get(&sandbox.client, "Service", SYSTEM, SCALER_ADAPTER).await;
    let address = adapter.unwrap()["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let webhook = Webhook {
        endpoint: format!("http://{address}:{WEBHOOK_PORT}/"),
        token: kipper_trigger::token::webhook(WEBHOOK_TOKEN.as_bytes(), &sandbox.namespace),
        keeps_events: true,
    };
    let options = Options { webhook: Some(webhook), ..Options::default() };
    let server = spawn_blocking(move || Minio::start(&options)).await.unwrap();
    server.unwrap_or_else(|error| panic!("{error}"))
}

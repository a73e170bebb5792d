//! One server for all tests, a state bucket for each, and events as the bucket watcher stores them.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use futures_util::{StreamExt as _, stream};
use kipper_bucket::{Condition, Endpoint, Event, Origin, Record, S3, S3Error, names};
use kipper_poller::source::minio::{Minio as Source, MinioConfig};
use kipper_servers::{Minio, minio::Options};

use crate::{poller::flags, wait::until};

static SERVER: LazyLock<Minio> = LazyLock::new(|| Minio::start(&Options::default()).unwrap());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Shorter than anybody should set it, so that tests need not wait for leases to run out.
pub(crate) const LEASE: std::time::Duration = std::time::Duration::from_secs(4);

/// The administrator at a server.
pub(crate) fn endpoint(server: &Minio) -> Endpoint {
    Endpoint {
        url: server.endpoint(),
        access_key: Minio::ACCESS_KEY.to_owned(),
        secret_key: Minio::SECRET_KEY.to_owned(),
        authority: None,
    }
}

/// An empty state bucket.
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) s3: S3,
}

impl Bucket {
    pub(crate) async fn new() -> Self {
        Self::on(&SERVER).await
    }

    pub(crate) async fn on(server: &Minio) -> Self {
        Self::at(endpoint(server)).await
    }

    pub(crate) async fn at(endpoint: Endpoint) -> Self {
        let name = format!("state{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let s3 = S3::new(&endpoint).unwrap();
        // A server that has just started says so for a moment longer than it seems ready.
        until("a bucket", async || s3.create_bucket(&name).await.is_ok()).await;
        Self { name, endpoint, s3 }
    }

    /// Stores events of the uploads `first..first + count`.
    pub(crate) async fn fill(&self, first: u64, count: u64) {
        let puts = (first..first + count).map(|n| self.store(n));
        stream::iter(puts).buffer_unordered(16).collect::<Vec<_>>().await;
    }

    async fn store(&self, n: u64) {
        let record = Record::new(event(n));
        let name = pending(n);
        self.s3.put(&self.name, &name, record.to_bytes(), Condition::Absent).await.unwrap();
    }

    /// Names of the objects under a prefix.
    pub(crate) async fn names(&self, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = self.s3.list(&self.name, prefix, token.as_deref()).await.unwrap();
            found.extend(page.objects.into_iter().map(|object| object.key));
            token = page.next;
            if token.is_none() {
                return found;
            }
        }
    }

    /// Events that wait or are in work. As long as the server is away it is not known.
    pub(crate) async fn left(&self) -> Option<u64> {
        self.s3.count(&self.name, &names::pending("ns", "fn"), 100_000).await.ok()
    }

    pub(crate) async fn record(&self, name: &str) -> Record {
        Record::parse(&self.s3.get(&self.name, name).await.unwrap().body).unwrap()
    }

    /// Moves a dead letter back, as `mc mv` does.
    pub(crate) async fn redrive(&self, failed: &str) {
        let object = self.s3.get(&self.name, failed).await.unwrap();
        let back = failed.replacen("failed/", "pending/", 1);
        self.s3.put(&self.name, &back, object.body, Condition::None).await.unwrap();
        self.s3.delete(&self.name, failed).await.unwrap();
    }

    pub(crate) async fn is_there(&self, name: &str) -> bool {
        match self.s3.get(&self.name, name).await {
            Ok(_) => true,
            Err(S3Error::NoObject(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// A source of the function's, driven by the test.
    pub(crate) async fn source(&self) -> Source {
        Source::open(self.config()).await.unwrap()
    }

    pub(crate) fn config(&self) -> MinioConfig {
        MinioConfig {
            endpoint: self.endpoint.clone(),
            state_bucket: self.name.clone(),
            namespace: "ns".to_owned(),
            function: "fn".to_owned(),
            lease: LEASE,
        }
    }

    pub(crate) fn flags(&self, target: &str) -> Vec<String> {
        let mut flags = flags(target);
        flags.extend([
            "--trigger=minio".to_owned(),
            "--bucket=photos".to_owned(),
            "--lease=10s".to_owned(),
            format!("--source-url={}", self.endpoint.url),
            format!("--source-access-key={}", self.endpoint.access_key),
            format!("--source-secret-key={}", self.endpoint.secret_key),
            format!("--state-bucket={}", self.name),
        ]);
        flags
    }
}

/// The upload of object number `n`.
pub(crate) fn event(n: u64) -> Event {
    Event {
        name: "s3:ObjectCreated:Put".to_owned(),
        bucket: "photos".to_owned(),
        key: format!("{n}.jpg"),
        size: Some(n),
        etag: Some("e".to_owned()),
        time: "2026-11-26T01:00:00.123Z".to_owned(),
        origin: Origin::Webhook,
    }
}

/// The name of its event object.
pub(crate) fn pending(n: u64) -> String {
    format!("{}{}{}", names::pending("ns", "fn"), id(n), names::SUFFIX)
}

/// What `ce-id` ends with.
pub(crate) fn id(n: u64) -> String {
    names::created("photos", &format!("{n}.jpg"), "e", 1_764_118_800_000 + n)
}

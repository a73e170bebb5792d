//! A server, a bucket in it, watchers of it, and a poller that handles what they store.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use kipper_bucket::{Condition, Endpoint, Event, Record, S3, names};
use kipper_bucket_watcher::{
    BucketArgs, BucketSources, BucketTrigger, BucketWatcher, Error, Leader, Pending,
};
use kipper_servers::{
    Minio,
    minio::{Options, Webhook},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use kipper_servers::{PATIENCE, until};

/// The adapter's, from which the tokens are derived.
pub(crate) const KEY: &str = "sesame";

/// What the services of these tests bring.
pub(crate) fn token() -> String {
    kipper_trigger::token::webhook(KEY.as_bytes(), "shop-prod")
}

static SERVER: LazyLock<Minio> = LazyLock::new(|| Minio::start(&Options::default()).unwrap());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The administrator at a server.
pub(crate) fn endpoint(server: &Minio) -> Endpoint {
    Endpoint {
        url: server.endpoint(),
        access_key: Minio::ACCESS_KEY.to_owned(),
        secret_key: Minio::SECRET_KEY.to_owned(),
        authority: None,
    }
}

/// A server that tells a port which nobody has bound yet, and the port's address.
pub(crate) fn telling(keeps_events: bool) -> (Minio, SocketAddr) {
    let addr = SocketAddr::from(([127, 0, 0, 1], kipper_servers::free_port().unwrap()));
    let webhook = Webhook { endpoint: format!("http://{addr}/"), token: token(), keeps_events };
    let options = Options { webhook: Some(webhook), ..Options::default() };
    (Minio::start(&options).unwrap(), addr)
}

/// A bucket, and the state bucket beside it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) bucket: String,
    pub(crate) state: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) s3: S3,
}

impl World {
    /// On a server that all tests share, which tells nobody anything.
    pub(crate) async fn new() -> Self {
        Self::at(endpoint(&SERVER)).await
    }

    pub(crate) async fn at(endpoint: Endpoint) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let s3 = S3::new(&endpoint).unwrap();
        let world = Self {
            bucket: format!("photos{number}"),
            state: format!("state{number}"),
            endpoint,
            s3,
        };
        // A server that has just started says so for a moment longer than it seems ready.
        until("a bucket", async || world.s3.create_bucket(&world.bucket).await.is_ok()).await;
        world
    }

    pub(crate) fn trigger(&self) -> BucketTrigger {
        BucketTrigger {
            namespace: "shop-prod".to_owned(),
            function: "thumbs".to_owned(),
            endpoint: self.endpoint.clone(),
            bucket: self.bucket.clone(),
            prefix: String::new(),
            suffix: String::new(),
            state_bucket: self.state.clone(),
        }
    }

    pub(crate) async fn upload(&self, key: &str) {
        let body = key.as_bytes().to_vec();
        self.s3.put(&self.bucket, key, body, Condition::None).await.unwrap();
    }

    pub(crate) async fn upload_all(&self, keys: &[String]) {
        let uploads = keys.iter().map(|key| self.upload(key));
        stream::iter(uploads).buffer_unordered(16).collect::<Vec<_>>().await;
    }

    pub(crate) async fn remove(&self, key: &str) {
        self.s3.delete(&self.bucket, key).await.unwrap();
    }

    pub(crate) async fn remove_all(&self, keys: &[String]) {
        let removals = keys.iter().map(|key| self.remove(key));
        stream::iter(removals).buffer_unordered(16).collect::<Vec<_>>().await;
    }

    /// A watcher's configuration: lists often, whether or not notifications come.
    pub(crate) fn config(&self) -> BucketArgs {
        BucketArgs {
            bucket_list_interval: Duration::from_millis(200),
            bucket_backstop_interval: Duration::from_millis(200),
            ..BucketArgs::default()
        }
    }

    /// The same with a webhook port.
    pub(crate) fn listening(&self, addr: SocketAddr) -> BucketArgs {
        let mut config = self.config();
        config.bucket_listen = Some(addr);
        config.bucket_token = Some(KEY.into());
        config
    }
}

/// The keys `0.jpg`, `1.jpg`, …
pub(crate) fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n}.jpg")).collect()
}

/// A running watcher. Dropping it ends it.
pub(crate) struct Watcher {
    pub(crate) pending: Arc<Pending>,
    pub(crate) webhook: Option<SocketAddr>,
    pub(crate) triggers: watch::Sender<Option<Arc<[BucketTrigger]>>>,
    pub(crate) leader: watch::Sender<Leader>,
    registry: prometheus::Registry,
    task: JoinHandle<Result<(), Error>>,
    _guard: DropGuard,
}

impl Watcher {
    /// Leads and watches these.
    pub(crate) async fn start(config: &BucketArgs, triggers: &[BucketTrigger]) -> Self {
        Self::with(config, triggers, Leader::Me).await
    }

    pub(crate) async fn with(
        config: &BucketArgs,
        triggers: &[BucketTrigger],
        leader: Leader,
    ) -> Self {
        let (triggers, told_triggers) = watch::channel(Some(triggers.into()));
        let (leader, told_leader) = watch::channel(leader);
        let sources = BucketSources { triggers: told_triggers, leader: told_leader };
        let registry = prometheus::Registry::new();
        let watcher = BucketWatcher::bind(config, Some(sources), &registry).await.unwrap();
        let shutdown = CancellationToken::new();
        Self {
            pending: watcher.pending(),
            webhook: watcher.webhook_addr(),
            triggers,
            leader,
            registry,
            task: tokio::spawn(watcher.serve(shutdown.clone())),
            _guard: shutdown.drop_guard(),
        }
    }

    /// Ends once everything that was stored is noted too.
    pub(crate) async fn kill_between_batches(self) {
        self.list_again().await;
        self.kill().await;
    }

    /// Ends as a killed process does: at once, wherever it is.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Sum of one of the watcher's metrics over the labels that have this value, or all.
    pub(crate) fn metric(&self, name: &str, label: &str) -> u64 {
        let name = format!("kipper_scaler_adapter_bucket_{name}");
        let families = self.registry.gather();
        let metrics = families.iter().filter(|family| family.name() == name);
        let metrics = metrics.flat_map(|family| family.get_metric());
        let metrics = metrics.filter(|metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        });
        let sum: f64 = metrics.map(|metric| metric.get_counter().get_value()).sum();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        {
            sum as u64
        }
    }

    /// One of the watcher's gauges.
    pub(crate) fn gauge(&self, name: &str) -> u64 {
        let name = format!("kipper_scaler_adapter_bucket_{name}");
        let families = self.registry.gather();
        let metrics = families.iter().filter(|family| family.name() == name);
        let metrics = metrics.flat_map(|family| family.get_metric());
        let sum: f64 = metrics.map(|metric| metric.get_gauge().get_value()).sum();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        {
            sum as u64
        }
    }

    /// Waits for lists that began after this call, so that all that could be found was.
    pub(crate) async fn list_again(&self) {
        let lists = self.metric("lists_total", "ok");
        until("lists", async || self.metric("lists_total", "ok") >= lists + 3).await;
    }

    /// Waits until the first inventory is there.
    pub(crate) async fn watches(&self) {
        until("the first list", async || self.metric("lists_total", "ok") >= 1).await;
    }
}

/// What a poller does, without its care: reads events and deletes them.
pub(crate) struct Handler {
    world: World,
    prefix: String,
    /// By event id; how often each came, and what it said last.
    pub(crate) handled: BTreeMap<String, (usize, Event)>,
}

impl Handler {
    pub(crate) fn new(world: &World) -> Self {
        Self::of(world, "shop-prod")
    }

    /// Of the function in another namespace.
    pub(crate) fn of(world: &World, namespace: &str) -> Self {
        let (world, prefix) = (world.clone(), names::pending(namespace, "thumbs"));
        Self { world, prefix, handled: BTreeMap::new() }
    }

    /// Handles everything that waits.
    pub(crate) async fn handle(&mut self) {
        let World { s3, state, .. } = &self.world;
        let Ok(page) = s3.list(state, &self.prefix, None).await else { return };
        let handled = page.objects.iter().map(|object| async move {
            let body = s3.get(state, &object.key).await.unwrap().body;
            s3.delete(state, &object.key).await.unwrap();
            (object.key.clone(), Record::parse(&body).unwrap())
        });
        let handled: Vec<_> = stream::iter(handled).buffer_unordered(16).collect().await;
        for (name, record) in handled {
            let known = self.handled.entry(name).or_insert((0, record.event.clone()));
            *known = (known.0 + 1, record.event);
        }
    }

    /// Handles until there were so many different events.
    pub(crate) async fn handle_until(&mut self, count: usize) {
        let begin = std::time::Instant::now();
        while self.handled.len() < count {
            let waited = begin.elapsed() < PATIENCE;
            assert!(waited, "{} of {count} events", self.handled.len());
            self.handle().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Deliveries, those of the same event too.
    pub(crate) fn deliveries(&self) -> usize {
        self.handled.values().map(|(count, _)| count).sum()
    }

    pub(crate) fn events(&self) -> Vec<&Event> {
        self.handled.values().map(|(_, event)| event).collect()
    }

    /// What happened to which keys, in the order of the events' names.
    pub(crate) fn story(&self) -> Vec<(String, String)> {
        let story = self.events().into_iter();
        story.map(|event| (event.name.clone(), event.key.clone())).collect()
    }
}

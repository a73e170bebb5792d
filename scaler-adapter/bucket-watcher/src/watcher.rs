//! The watcher: starts and ends the tasks of triggers as these and the leadership come and go.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use futures_util::future::OptionFuture;
use kipper_bucket::S3;
use kipper_kubernetes::Candidacy;
use kipper_process::{backoff::Backoff, supervise::until_it_ends};
use prometheus::Registry;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch as channel},
    task::{AbortHandle, JoinSet},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use tracing::instrument::WithSubscriber as _;

use crate::{
    config::{BucketArgs, WebhookToken},
    error::Error,
    leader::{self, Leader},
    memory::Memory,
    metrics::BucketMetrics,
    pending::Pending,
    rules::{self, Ruled},
    secrets,
    senders::Senders,
    trigger::{BucketTrigger, FunctionKey, Triggers},
    watch::{Settings, Status, Watch},
    webhook::{Route, Webhook},
};

/// Notifications of one trigger that wait for their turn; further ones wait unread.
const MAX_WAITING: usize = 256;

/// How often the metrics of what is held are looked up.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Pauses after a panic.
const PANIC_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// Where triggers and the leader come from.
#[derive(Clone, Debug)]
pub struct BucketSources {
    /// What to watch.
    pub triggers: Triggers,
    /// Who watches.
    pub leader: channel::Receiver<Leader>,
}

/// The watcher, with its webhook port bound if it has one.
pub struct BucketWatcher {
    args: BucketArgs,
    sources: Option<BucketSources>,
    webhook: Option<(TcpListener, SocketAddr, WebhookToken)>,
    pending: Arc<Pending>,
    metrics: BucketMetrics,
    memory: Memory,
}

/// A task of one trigger. Dropping it ends it.
struct Running {
    trigger: Arc<BucketTrigger>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Watched {
    running: Running,
    route: Route,
    ruled: Ruled,
}

impl BucketWatcher {
    /// Binds the webhook port. Triggers and leader are `sources`, or come from Kubernetes.
    ///
    /// # Errors
    /// When the port cannot be bound, or `registry` has such metrics already.
    pub async fn bind(
        args: &BucketArgs,
        sources: Option<BucketSources>,
        registry: &Registry,
    ) -> Result<Self, Error> {
        let webhook = match (args.bucket_listen, &args.bucket_token) {
            (Some(addr), Some(token)) => {
                let error = |source| Error::Bind { addr, source };
                let listener = TcpListener::bind(addr).await.map_err(error)?;
                let bound = listener.local_addr().map_err(error)?;
                Some((listener, bound, token.clone()))
            }
            _ => None,
        };
        let metrics = BucketMetrics::register(registry)?;
        let memory = Memory::new(args.bucket_max_held_bytes);
        let pending = Pending::new();
        Ok(Self { args: args.clone(), sources, webhook, pending, metrics, memory })
    }

    /// Where notifications are taken, if anywhere.
    pub fn webhook_addr(&self) -> Option<SocketAddr> {
        self.webhook.as_ref().map(|(_, addr, _)| *addr)
    }

    /// The counts of this watcher.
    pub fn pending(&self) -> Arc<Pending> {
        Arc::clone(&self.pending)
    }

    /// Watches until `shutdown`; then another adapter may at once.
    ///
    /// # Errors
    /// When Kubernetes cannot be reached as configured, or a task ends by itself.
    pub async fn serve(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        let (sources, candidacy) = match self.sources.take() {
            Some(sources) => (sources, None),
            None => self.kubernetes(&mut tasks).await?,
        };
        let (routes, known_routes) = channel::channel(None);
        let webhook = self.webhook.take().map(|(listener, _, token)| {
            let (leader, metrics) = (sources.leader.clone(), self.metrics.clone());
            let senders = Arc::new(Senders::new(token, sources.triggers.clone()));
            let memory = self.memory.webhook().clone();
            Webhook { senders, routes: known_routes, leader, metrics, memory }
                .serve(listener, shutdown.clone())
        });
        let has_webhook = webhook.is_some();
        tokio::select! {
            () = self.keep(sources, routes, has_webhook) => return Err(Error::Ended),
            // Ends after a signal, once what came before it is stored and answered.
            Some(()) = OptionFuture::from(webhook) => {}
            () = shutdown.cancelled(), if !has_webhook => {}
        }
        tasks.shutdown().await;
        if let Some(candidacy) = candidacy {
            candidacy.give_back().await;
        }
        Ok(())
    }

    /// Secrets and a Lease in the adapter's own namespace.
    async fn kubernetes(
        &self,
        tasks: &mut JoinSet<()>,
    ) -> Result<(BucketSources, Option<Candidacy>), Error> {
        let namespace = self.args.bucket_namespace.clone().unwrap_or_default();
        let client = kipper_kubernetes::client().await;
        let client = client.map_err(|error| Error::Kubernetes(Box::new(error)))?;
        let (leader, leads) = channel::channel(Leader::Other(None));
        let (triggers, known) = channel::channel(None);
        let address = self.args.bucket_advertise.or(self.webhook_addr());
        let leases = kube::Api::namespaced(client.clone(), &namespace);
        let candidacy = leader::election(leases, address).start();
        tasks.spawn(leader::pass_on(candidacy.leader(), leader));
        tasks.spawn(secrets::watch(kube::Api::namespaced(client, &namespace), triggers));
        Ok((BucketSources { triggers: known, leader: leads }, Some(candidacy)))
    }

    /// Starts and ends tasks as triggers and leadership come and go.
    async fn keep(
        &self,
        mut sources: BucketSources,
        routes: channel::Sender<Option<Arc<[Route]>>>,
        has_webhook: bool,
    ) {
        let mut tasks = JoinSet::new();
        let mut counted: HashMap<FunctionKey, Running> = HashMap::new();
        let mut watched: HashMap<FunctionKey, Watched> = HashMap::new();
        let (ruled, _) = channel::channel(Arc::<[Ruled]>::from([]));
        let mut ruling: Option<AbortHandle> = None;
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let triggers = sources.triggers.borrow_and_update().clone();
            let leads = *sources.leader.borrow_and_update() == Leader::Me;
            if let Some(triggers) = &triggers {
                self.count(triggers, &mut counted, &mut tasks);
            }
            match triggers.filter(|_| leads) {
                Some(triggers) => {
                    self.watch(&triggers, &mut watched, &mut tasks);
                    let all = watched.values();
                    routes.send_replace(Some(all.map(|one| one.route.clone()).collect()));
                    ruled.send_replace(watched.values().map(|one| one.ruled.clone()).collect());
                    if has_webhook && ruling.is_none() {
                        let arn = self.args.bucket_notification_arn.clone();
                        let interval = self.args.bucket_backstop_interval;
                        let keep = rules::keep(arn, interval, ruled.subscribe());
                        ruling = Some(tasks.spawn(keep));
                    }
                }
                None => {
                    routes.send_replace(None);
                    watched.clear();
                    // Not by emptying what it keeps: the next leader wants the rules.
                    ruling.take().iter().for_each(AbortHandle::abort);
                }
            }
            self.show(&watched);
            tokio::select! {
                _ = looks.tick() => {}
                Ok(()) = sources.triggers.changed() => {}
                Ok(()) = sources.leader.changed() => {}
                Some(ended) = tasks.join_next() => {
                    // Panics are caught inside; what ends all the same begins anew.
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        self.metrics.panics.inc();
                        tracing::error!("a bucket's task ended and begins anew: {error}");
                        counted.retain(|_, running| !running.task.is_finished());
                        watched.retain(|_, watched| !watched.running.task.is_finished());
                        ruling = ruling.filter(|task| !task.is_finished());
                    }
                }
            }
        }
    }

    fn show(&self, watched: &HashMap<FunctionKey, Watched>) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let troubled = watched.values().filter(|one| *one.route.status.borrow() != Status::Ready);
        self.metrics.troubled.set(number(troubled.count()));
        self.metrics.watches.set(number(watched.len()));
        self.metrics.held_bytes.set(number(self.memory.held()));
        self.metrics.held_bytes_limit.set(number(self.memory.limit()));
    }

    fn count(
        &self,
        triggers: &Arc<[BucketTrigger]>,
        counted: &mut HashMap<FunctionKey, Running>,
        tasks: &mut JoinSet<()>,
    ) {
        let ended = without(counted, triggers, |running| &running.trigger);
        ended.iter().for_each(|function| self.pending.forget(function));
        for trigger in triggers.iter() {
            if counted.contains_key(&trigger.key()) {
                continue;
            }
            let Ok(s3) = S3::within(&trigger.endpoint, &self.memory.of(trigger)) else { continue };
            let trigger = Arc::new(trigger.clone());
            let (pending, counting) = (self.pending(), Arc::clone(&trigger));
            let metrics = self.metrics.clone();
            let panicked = move |words: &str| {
                metrics.panics.inc();
                tracing::error!("counting the events of a bucket panicked: {words}");
            };
            let task = tasks.spawn(async move {
                let count = || pending.keep_counting(&counting, &s3, &counting.state_bucket);
                until_it_ends(PANIC_BACKOFF, panicked, count).await;
            });
            counted.insert(trigger.key(), Running { trigger, task });
        }
    }

    fn watch(
        &self,
        triggers: &Arc<[BucketTrigger]>,
        watched: &mut HashMap<FunctionKey, Watched>,
        tasks: &mut JoinSet<()>,
    ) {
        without(watched, triggers, |watched| &watched.running.trigger);
        for trigger in triggers.iter() {
            let function = trigger.key();
            if watched.contains_key(&function) {
                continue;
            }
            let budget = self.memory.of(trigger);
            let s3 = match S3::within(&trigger.endpoint, &budget) {
                Ok(s3) => s3,
                Err(error) => {
                    let BucketTrigger { namespace, function, bucket, .. } = trigger;
                    if self.pending.trouble(namespace, function).is_none() {
                        tracing::error!(%namespace, %function, %bucket, "bucket not watched: {error}");
                    }
                    self.pending.watched(&trigger.key(), Some((error.to_string(), true)));
                    continue;
                }
            };
            let trigger = Arc::new(trigger.clone());
            let (asks, waiting) = mpsc::channel(MAX_WAITING);
            let (status, known_status) = channel::channel(Status::Starting);
            let has_rules = Arc::new(AtomicBool::new(false));
            let watch = Watch {
                trigger: Arc::clone(&trigger),
                s3: s3.clone(),
                settings: Settings {
                    state_bucket: trigger.state_bucket.clone(),
                    list_interval: self.args.bucket_list_interval,
                    backstop_interval: self.args.bucket_backstop_interval,
                },
                asks: waiting,
                status,
                has_rules: Arc::clone(&has_rules),
                pending: self.pending(),
                metrics: self.metrics.clone(),
                budget,
                // Perhaps by who led before.
                is_told: true,
            };
            // An embedding process may have a log of its own.
            let task = tasks.spawn(watch.run().with_current_subscriber());
            let route = Route { trigger: Arc::clone(&trigger), asks, status: known_status };
            let ruled = Ruled { trigger: Arc::clone(&trigger), s3, has_rules };
            let running = Running { trigger, task };
            watched.insert(function, Watched { running, route, ruled });
        }
    }
}

/// Drops what is not triggered any more, or differently, and returns whose it was.
fn without<T>(
    running: &mut HashMap<FunctionKey, T>,
    triggers: &[BucketTrigger],
    trigger: impl Fn(&T) -> &Arc<BucketTrigger>,
) -> Vec<FunctionKey> {
    let ended: Vec<FunctionKey> = running
        .iter()
        .filter(|(_, running)| !triggers.contains(trigger(running)))
        .map(|(function, _)| function.clone())
        .collect();
    ended.iter().for_each(|function| drop(running.remove(function)));
    ended
}

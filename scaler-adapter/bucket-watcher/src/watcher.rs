//! The watcher: starts and ends the tasks of triggers as these and the leadership come and go.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

use futures_util::future::OptionFuture;
use kipper_bucket::S3;
use prometheus::Registry;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch as channel},
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::instrument::WithSubscriber as _;

use crate::{
    config::{BucketArgs, WebhookToken},
    error::Error,
    leader::{Election, Leader},
    metrics::BucketMetrics,
    pending::Pending,
    rules::{self, Ruled},
    secrets,
    trigger::{BucketTrigger, FunctionKey, Triggers},
    watch::{Settings, Status, Watch},
    webhook::{Route, Webhook},
};

/// Notifications of one trigger that wait for their turn; further ones wait unread.
const MAX_WAITING: usize = 256;

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
        Ok(Self { args: args.clone(), sources, webhook, pending: Pending::new(), metrics })
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
        let (sources, election) = match self.sources.take() {
            Some(sources) => (sources, None),
            None => self.kubernetes(&mut tasks).await?,
        };
        let (routes, told) = channel::channel(None);
        let webhook = self.webhook.take().map(|(listener, _, token)| {
            let (leader, metrics) = (sources.leader.clone(), self.metrics.clone());
            Webhook { token, routes: told, leader, metrics }.serve(listener)
        });
        let has_webhook = webhook.is_some();
        tokio::select! {
            Some(()) = OptionFuture::from(webhook) => return Err(Error::Ended),
            () = self.keep(sources, routes, has_webhook) => return Err(Error::Ended),
            () = shutdown.cancelled() => {}
        }
        tasks.shutdown().await;
        if let Some(election) = election {
            election.release().await;
        }
        Ok(())
    }

    /// Secrets and a Lease in the adapter's own namespace.
    async fn kubernetes(
        &self,
        tasks: &mut JoinSet<()>,
    ) -> Result<(BucketSources, Option<Election>), Error> {
        let namespace = self.args.bucket_namespace.clone().unwrap_or_default();
        let client = kube::Client::try_default()
            .await
            .map_err(|error| Error::Kubernetes(Box::new(error)))?;
        let (leader, told_leader) = channel::channel(Leader::Other(None));
        let (triggers, told_triggers) = channel::channel(None);
        let address = self.args.bucket_advertise.or(self.webhook_addr());
        let leases = kube::Api::namespaced(client.clone(), &namespace);
        let election = Election::new(leases, address);
        tasks.spawn(election.clone().run(leader));
        tasks.spawn(secrets::watch(kube::Api::namespaced(client, &namespace), triggers));
        let sources = BucketSources { triggers: told_triggers, leader: told_leader };
        Ok((sources, Some(election)))
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
            self.metrics.watches.set(i64::try_from(watched.len()).unwrap_or(i64::MAX));
            tokio::select! {
                Ok(()) = sources.triggers.changed() => {}
                Ok(()) = sources.leader.changed() => {}
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        tracing::error!("a bucket's task ended: {error}");
                        return;
                    }
                }
                // Nothing runs and nobody is left to change that.
                else => std::future::pending().await,
            }
        }
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
            let Ok(s3) = S3::new(&trigger.endpoint) else { continue };
            let trigger = Arc::new(trigger.clone());
            let (pending, counting) = (self.pending(), Arc::clone(&trigger));
            let task = tasks.spawn(async move {
                pending.keep_counting(&counting, &s3, &counting.state_bucket).await;
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
            let s3 = match S3::new(&trigger.endpoint) {
                Ok(s3) => s3,
                Err(error) => {
                    let BucketTrigger { namespace, function, bucket, .. } = trigger;
                    tracing::error!(%namespace, %function, %bucket, "bucket not watched: {error}");
                    continue;
                }
            };
            let trigger = Arc::new(trigger.clone());
            let (asks, waiting) = mpsc::channel(MAX_WAITING);
            let (status, told_status) = channel::channel(Status::Starting);
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
            };
            // Whoever runs this adapter within another process hears what it logs.
            let task = tasks.spawn(watch.run().with_current_subscriber());
            let route = Route { trigger: Arc::clone(&trigger), asks, status: told_status };
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

//! The whole process: admin port, election, watches, reconciles, drain.
//!
//! A replica that does not lead watches nothing. One that loses the lease ends, and is started
//! again with nothing to remember.

use std::{collections::HashSet, fmt::Debug, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::{
    apps::v1::ControllerRevision, batch::v1::Job, coordination::v1::Lease, core::v1,
    networking::v1::Ingress,
};
use kipper_function::{Function, Service, function::Phase, names};
use kipper_kubernetes::{Election, Leader};
use kipper_process::{admin::AdminServer, metrics as process_metrics, readiness::Readiness};
use kipper_trigger::token::BacklogKey;
use kube::{
    Api, Client, Resource,
    api::{DynamicObject, PartialObjectMeta},
    runtime::{
        controller::{self, applier},
        events::{Recorder, Reporter},
        reflector::{self, ObjectRef, Store},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    apply::{self, Applier},
    burst,
    cache::{Cache, Key},
    certificates,
    check::Checks,
    config::Config,
    deliveries,
    hosts::Hosts,
    metrics::Metrics,
    namespaces::Namespaces,
    plan::Kind,
    reconcile::{Context, reconcile, retry},
    watch::{self, Queue, Rows, rows},
};

/// The Lease of the leader.
const LEASE: &str = "kipper-controller";

/// A burst of events about one function becomes one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// How often phases are counted for the metrics.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);

/// Runs until `shutdown`, or until the lease is lost.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let readiness = Readiness::new();
    let registry = process_metrics::registry("controller", env!("CARGO_PKG_VERSION"))?;
    let metrics = Arc::new(Metrics::register(&registry)?);
    let admin = AdminServer::bind(config.admin_listen, readiness.clone(), registry).await?;
    let admin_stop = CancellationToken::new();
    let admin = tokio::spawn(admin.serve(admin_stop.clone()));
    let client = kipper_kubernetes::client().await?;
    let own = &config.own;
    tracing::info!(name = own.name, admin = %config.admin_listen, "controller started");
    let leases = Api::namespaced(client.clone(), &own.namespace);
    let candidacy = Election::new(leases, LEASE, own.name.clone()).start();
    let mut leader = candidacy.leader();
    let mut candidacy = Some(candidacy);
    let leads = tokio::select! {
        acquired = leader.wait_for(|leader| *leader == Leader::Me) => acquired.is_ok(),
        () = shutdown.cancelled() => false,
    };
    let mut lost = false;
    if leads {
        metrics.leader.set(1);
        tracing::info!("leading");
        let secrets = Api::namespaced(client.clone(), &own.namespace);
        let key = certificates::ensure(&secrets, &own.namespace).await?;
        let stop = shutdown.child_token();
        let key = config.settings().backlog_address.map(|_| key);
        let (synced, stop_control) = (readiness.clone(), stop.clone());
        let control = control(config.clone(), client, key, metrics, synced, stop_control);
        let control = tokio::spawn(control);
        tokio::select! {
            _ = leader.wait_for(|leader| *leader != Leader::Me) => lost = true,
            () = shutdown.cancelled() => {}
        }
        readiness.set_draining();
        stop.cancel();
        if lost {
            // It must not acquire the lease again while it drains.
            candidacy.take();
        }
        control.await??;
    }
    if let Some(candidacy) = candidacy {
        candidacy.give_back().await;
    }
    admin_stop.cancel();
    admin.await?;
    anyhow::ensure!(!lost, "the leader's lease was lost");
    Ok(())
}

/// What the leader does. It is not ready before its caches are complete; what is missing then says
/// what the API server does not have, such as KEDA's resources.
async fn control(
    config: Config,
    client: Client,
    backlog_key: Option<BacklogKey>,
    metrics: Arc<Metrics>,
    synced: Readiness,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let cache = Arc::new(Cache::new());
    let (queue, mut requests) = mpsc::channel(watch::QUEUE_LEN);
    let (functions, writer) = reflector::store();
    let mut tasks = JoinSet::new();
    let all: Api<Function> = Api::all(client.clone());
    tasks.spawn(watch::follow_functions(all, writer, queue.clone()));
    let watching =
        Watching { client: client.clone(), cache: Arc::clone(&cache), queue: queue.clone() };
    watching.start(&mut tasks, &functions, &config.own.namespace, &synced);
    let asking = queue.clone();
    let ctx =
        Arc::new(context(&config, client, cache, functions.clone(), queue, backlog_key, &metrics));
    tasks.spawn(count_phases(functions.clone(), metrics));
    tasks.spawn(deliveries::watch(Arc::clone(&ctx.cache), asking.clone()));
    let adapters = config.scaler_admin_address.as_deref();
    burst::start(&mut tasks, adapters, &ctx.cache, &functions, asking);
    // What the watches ask for until then is dropped: every function is gone over afterwards.
    let drop_requests = async { while requests.recv().await.is_some() {} };
    tokio::select! {
        () = ready(&functions, &synced) => {}
        () = drop_requests => return Ok(()),
        () = stop.cancelled() => return Ok(()),
    }
    let all: Vec<_> = functions.state().iter().map(|f| ObjectRef::from_obj(&**f)).collect();
    tracing::info!(functions = all.len(), "caches are complete");
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let requests = stream::iter(all).chain(requests);
    let requests = requests.take_until(stop.clone().cancelled_owned());
    let settings = controller::Config::default().debounce(DEBOUNCE).concurrency(config.workers);
    // What runs when the stream ends is finished; nothing new starts.
    let done = applier(
        |function, ctx| Box::pin(reconcile(function, ctx)),
        retry,
        ctx,
        functions,
        requests.map(Ok::<_, std::convert::Infallible>),
        settings,
    );
    done.for_each(|result| async {
        if let Err(error) = result {
            tracing::debug!(%error, "reconcile");
        }
    })
    .await;
    tasks.shutdown().await;
    Ok(())
}

async fn ready(functions: &Store<Function>, synced: &Readiness) {
    // The writer lives as long as its watch, which has no end.
    let _ = functions.wait_until_ready().await;
    while !synced.is_ready() {
        tokio::time::sleep(DEBOUNCE).await;
    }
}

/// The watches beside that of the Functions.
struct Watching {
    client: Client,
    cache: Arc<Cache>,
    queue: Queue,
}

impl Watching {
    fn start(
        &self,
        tasks: &mut JoinSet<()>,
        functions: &Store<Function>,
        own_namespace: &str,
        readiness: &Readiness,
    ) {
        let cache = || Arc::clone(&self.cache);
        let done = |name: &'static str| {
            let blocker = readiness.block(name);
            move || blocker.ready()
        };
        for kind in apply::KINDS.into_iter().filter(|kind| *kind != Kind::ControllerRevision) {
            let resource = apply::resource(kind);
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let own_namespace = own_namespace.to_owned();
            let rows = rows::Objects { cache: cache(), kind, own_namespace };
            self.follow(tasks, api, names::FUNCTION_SELECTOR, rows, done(kind.name()));
        }
        let revisions: Api<PartialObjectMeta<ControllerRevision>> = Api::all(self.client.clone());
        let (rows, synced) = (rows::Revisions(cache()), done(Kind::ControllerRevision.name()));
        self.follow(tasks, revisions, names::FUNCTION_SELECTOR, rows, synced);

        let pods: Api<v1::Pod> = Api::all(self.client.clone());
        self.follow(tasks, pods, names::FUNCTION_SELECTOR, rows::Pods(cache()), done("pods"));

        let jobs: Api<Job> = Api::all(self.client.clone());
        self.follow(tasks, jobs, names::FUNCTION_SELECTOR, rows::Runs(cache()), done("jobs"));

        let services: Api<Service> = Api::all(self.client.clone());
        let rows = rows::Services { cache: cache(), functions: functions.clone() };
        self.follow(tasks, services, "", rows, done("services"));

        let ingresses: Api<Ingress> = Api::all(self.client.clone());
        let own = own_namespace.to_owned();
        let functions_of = functions.clone();
        let rows = rows::Ingresses { cache: cache(), functions: functions_of, own_namespace: own };
        self.follow(tasks, ingresses, "", rows, done("ingresses"));

        let claims: Api<Lease> = Api::namespaced(self.client.clone(), own_namespace);
        let selector = format!("{}={}", names::RESOURCE_TYPE, names::HOST_CLAIM);
        let rows = rows::Claims { cache: cache(), functions: functions.clone() };
        self.follow(tasks, claims, &selector, rows, done("claims"));
    }

    fn follow<K, R>(
        &self,
        tasks: &mut JoinSet<()>,
        api: Api<K>,
        selector: &str,
        rows: R,
        synced: impl FnOnce() + Send + 'static,
    ) where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
        R: Rows<K> + 'static,
    {
        let (selector, queue) = (selector.to_owned(), self.queue.clone());
        tasks.spawn(async move { watch::follow(api, &selector, rows, queue, synced).await });
    }
}

fn context(
    config: &Config,
    client: Client,
    cache: Arc<Cache>,
    functions: Store<Function>,
    queue: Queue,
    backlog_key: Option<BacklogKey>,
    metrics: &Arc<Metrics>,
) -> Context {
    let own = &config.own;
    let reporter =
        Reporter { controller: names::FIELD_MANAGER.to_owned(), instance: Some(own.name.clone()) };
    let namespaces = Arc::new(Namespaces::new(
        client.clone(),
        Arc::clone(&cache),
        functions.clone(),
        queue.clone(),
        Key::new(&own.namespace, &own.service_account),
        config.denied_namespaces.iter().cloned().collect::<HashSet<_>>(),
        backlog_key,
    ));
    Context {
        checks: Checks::new(Arc::clone(&namespaces), queue),
        hosts: Hosts {
            client: client.clone(),
            cache: Arc::clone(&cache),
            functions,
            namespace: own.namespace.clone(),
            cluster_domain: config.cluster_domain.clone(),
            shared_parents: config.shared_parents.clone(),
        },
        namespaces,
        applier: Applier::new(client.clone(), Arc::clone(&cache), Arc::clone(metrics)),
        settings: config.settings(),
        recorder: Recorder::new(client.clone(), reporter),
        metrics: Arc::clone(metrics),
        failures: dashmap::DashMap::new(),
        client,
        cache,
    }
}

/// Counts phases for the metrics; reads only what is in memory.
async fn count_phases(functions: Store<Function>, metrics: Arc<Metrics>) {
    let mut interval = tokio::time::interval(COUNT_INTERVAL);
    loop {
        interval.tick().await;
        let state = functions.state();
        for phase in [Phase::Idle, Phase::Scaling, Phase::Running, Phase::Failed] {
            let in_phase = |f: &&Arc<Function>| {
                f.status.as_ref().and_then(|status| status.phase()) == Some(phase)
            };
            let count = state.iter().filter(in_phase).count();
            let gauge = metrics.functions.with_label_values(&[phase.as_str()]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

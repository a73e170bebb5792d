//! A thousand idle functions: how long until the controller has rendered them and what it needs
//! for them; that going over them again changes nothing; that then nothing happens at all; and that
//! a step in the load of one more gets its replicas as if it were alone.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment},
    core::v1::{ConfigMap, Pod, Service},
    networking::v1::Ingress,
};
use kipper_cluster::{
    Cluster, Namespace,
    audit::{Entry, Mark},
    functions,
    names::SYSTEM,
    watch,
};
use kipper_function::{Function, names};
use kipper_measure::{
    processes::{Size, largest_mb},
    samples::Samples,
};
use kube::{
    Api, ResourceExt as _,
    api::{DynamicObject, ListParams},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::{
    cluster::{
        metrics::{self, selector},
        scenario::MINUTE,
    },
    run::{PATIENCE, Run, USER_AGENT},
};

use super::{kip::timed, load};

const SCENARIO: &str = "thousand_functions";
const CODE: &str = "module.exports = async () => 'hello'\n";
/// Applied at the same time, as a script with a few workers would.
const APPLIES: usize = 8;
/// KEDA may write 20 times a second, and does so several times for each new object.
const KEDA_PATIENCE: Duration = Duration::from_secs(900);
/// Lines printed of what should not have happened.
const MAX_OFFENDERS: usize = 10;

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let count = run.size(1000, 100);
    let stepped = load::before_others(cluster).await?;
    let namespace = cluster.namespace(SCENARIO).await?;
    rendered(run, cluster, &namespace, count).await?;

    // KEDA is still at it: its writes are in the objects that are compared below.
    let started = Instant::now();
    let scaling = |object: &DynamicObject| functions::is_scaling(object);
    watch::objects(&namespace.scaled_objects(), count, KEDA_PATIENCE, scaling).await?;
    metrics::until_keda_listens(cluster).await?;
    println!("   KEDA had them {:.1} s later", started.elapsed().as_secs_f64());

    commands(run, &namespace).await?;
    resync(run, cluster, &namespace, count).await?;
    steady(run, cluster).await?;
    load::step_among(run, cluster, &stepped).await
}

/// From the first apply until the last function is in place with all its objects.
async fn rendered(
    run: &mut Run,
    cluster: &Cluster,
    namespace: &Namespace,
    count: usize,
) -> Result<(), anyhow::Error> {
    let started = Instant::now();
    let functions = (0..count).map(|n| functions::inline(&format!("f{n}"), "node", CODE, &[]));
    let applies = stream::iter(functions)
        .map(|function| async move { namespace.apply(&function).await.map(drop) })
        .buffer_unordered(APPLIES)
        .try_for_each(|()| std::future::ready(Ok(())));
    let applies = async {
        applies.await.context("apply")?;
        Ok::<_, anyhow::Error>(started.elapsed())
    };
    let functions = namespace.api::<Function>();
    let in_place = watch::objects(&functions, count, MINUTE * 5, functions::is_ready);
    let (applied, ()) = tokio::try_join!(applies, in_place)?;
    let took = started.elapsed().as_secs_f64();
    let versions = Versions::read(cluster, namespace).await?;
    println!("   applied in {:.1} s, in place after {took:.1} s", applied.as_secs_f64());
    println!("   {}", versions.summary());
    run.outcome.figure("thousand_functions_rendered", took)?;
    run.outcome.condition("thousand_functions_missing", versions.missing(count))?;
    let resident = |size| largest_mb("kipper-controller", size);
    let (now, peak) = (resident(Size::Resident)?, resident(Size::Peak)?);
    println!("   controller: {now:.1} MB resident, {peak:.1} MB at its peak");
    run.outcome.figure("thousand_functions_controller_rss", peak)
}

/// What a user waits for among so many.
async fn commands(run: &mut Run, namespace: &Namespace) -> Result<(), anyhow::Error> {
    let kip = run.binary().with_file_name("kip");
    anyhow::ensure!(kip.exists(), "{} is missing: build it first", kip.display());
    let (mut lists, mut described) = (Vec::new(), Vec::new());
    for _ in 0..run.size(50, 10) {
        lists.push(timed(&kip, namespace, &["function", "list"]).await?);
        described.push(timed(&kip, namespace, &["function", "describe", "f7"]).await?);
    }
    for (name, times) in
        [("kip_list_among_thousand_p50", lists), ("kip_describe_among_thousand_p50", described)]
    {
        let times: Samples = times.into_iter().collect();
        println!("   {name}: {}", times.summary());
        run.outcome.figure(name, times.quantile(0.5))?;
    }
    Ok(())
}

/// Restarts the controller, which then goes over every function once.
async fn resync(
    run: &mut Run,
    cluster: &Cluster,
    namespace: &Namespace,
    count: usize,
) -> Result<(), anyhow::Error> {
    let before = Versions::read(cluster, namespace).await?;
    let mark = cluster.audit.mark()?;
    let started = Instant::now();
    restart_controller(cluster).await?;
    let reconciles = ("controller", "kipper_controller_reconciles_total");
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    metrics::until_metric(cluster, reconciles, count as f64, PATIENCE * 2).await?;
    println!("   gone over again {:.1} s after the restart", started.elapsed().as_secs_f64());
    let changed = Versions::read(cluster, namespace).await?.changed_since(&before);
    print_some("changed", &changed);
    run.outcome.condition("thousand_functions_resync_changes", changed.len())?;
    let asked = ours(cluster, &mark, Entry::is_write, &["controller"])?;
    print_some("asked", &asked);
    run.outcome.condition("thousand_functions_resync_writes", asked.len())
}

/// A while in which nobody asks for anything.
async fn steady(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let watched = run.size(Duration::from_secs(60), Duration::from_secs(10));
    let mark = cluster.audit.mark()?;
    sleep(watched).await;
    let both = ["controller", "interceptor"];
    let writes = ours(cluster, &mark, Entry::is_write, &both)?;
    let lists = ours(cluster, &mark, Entry::is_list, &both)?;
    println!("   steady for {} s", watched.as_secs());
    print_some("written", &writes);
    print_some("listed", &lists);
    run.outcome.condition("steady_state_writes", writes.len())?;
    run.outcome.condition("steady_state_lists", lists.len())
}

async fn restart_controller(cluster: &Cluster) -> Result<(), anyhow::Error> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), SYSTEM);
    let of = ListParams::default().labels(&selector("controller"));
    let running = pods.list(&of).await?;
    anyhow::ensure!(!running.items.is_empty(), "the controller does not run in the cluster");
    for pod in &running {
        watch::deleted(&pods, &pod.name_any()).await?;
    }
    for pod in &running {
        watch::object(&pods, &pod.name_any(), PATIENCE, |found| found.is_none()).await?;
    }
    Ok(())
}

/// What our components did since the mark, beside renewing their leases.
fn ours(
    cluster: &Cluster,
    mark: &Mark,
    wanted: fn(&Entry) -> bool,
    components: &[&str],
) -> Result<Vec<String>, anyhow::Error> {
    let is_ours = |entry: &Entry| {
        let user = entry.user();
        components
            .iter()
            .any(|component| user == format!("system:serviceaccount:{SYSTEM}:kipper-{component}"))
    };
    let wanted = |entry: &Entry| {
        is_ours(entry)
            && wanted(entry)
            && entry.object_ref.resource != "leases"
            && entry.user_agent != USER_AGENT
    };
    let entries = cluster.audit.since(mark, wanted)?;
    Ok(entries.iter().map(Entry::summary).collect())
}

/// The first few of what should not be there, equal ones together.
fn print_some(what: &str, found: &[String]) {
    let mut counts = BTreeMap::new();
    for one in found {
        *counts.entry(one).or_insert(0_usize) += 1;
    }
    for (one, times) in counts.iter().take(MAX_OFFENDERS) {
        println!("   {what}: {times} x {one}");
    }
}

/// Versions of every object of a namespace's functions, by kind and name.
struct Versions(BTreeMap<(&'static str, String), String>);

impl Versions {
    async fn read(cluster: &Cluster, namespace: &Namespace) -> Result<Self, anyhow::Error> {
        let mut all = BTreeMap::new();
        add(&mut all, "Function", &namespace.api::<Function>(), by_version).await?;
        add(&mut all, "Deployment", &namespace.api::<Deployment>(), by_version).await?;
        add(&mut all, "Service", &namespace.api::<Service>(), by_version).await?;
        add(&mut all, "ConfigMap", &namespace.api::<ConfigMap>(), by_version).await?;
        let revisions = namespace.api::<ControllerRevision>();
        add(&mut all, "ControllerRevision", &revisions, by_version).await?;
        // KEDA writes the status of its objects whenever it likes; the spec is ours.
        add(&mut all, "ScaledObject", &namespace.scaled_objects(), by_generation).await?;
        let ingresses: Api<Ingress> = Api::namespaced(cluster.client.clone(), SYSTEM);
        add(&mut all, "Ingress", &ingresses, by_version).await?;
        let own = names::ingress(&namespace.name, "");
        all.retain(|(kind, name), _| *kind != "Ingress" || name.starts_with(&own));
        // Every namespace has one, and it is not ours.
        all.remove(&("ConfigMap", "kube-root-ca.crt".to_owned()));
        Ok(Self(all))
    }

    fn count(&self, kind: &str) -> usize {
        self.0.keys().filter(|(of, _)| *of == kind).count()
    }

    fn kinds() -> [&'static str; 7] {
        [
            "Function",
            "Deployment",
            "Service",
            "ConfigMap",
            "ScaledObject",
            "Ingress",
            "ControllerRevision",
        ]
    }

    fn missing(&self, count: usize) -> usize {
        Self::kinds().iter().map(|kind| count.saturating_sub(self.count(kind))).sum()
    }

    fn summary(&self) -> String {
        Self::kinds().map(|kind| format!("{} {kind}", self.count(kind))).join(", ")
    }

    /// Objects that are other ones, or came or went.
    fn changed_since(&self, before: &Self) -> Vec<String> {
        let keys = self.0.keys().chain(before.0.keys().filter(|key| !self.0.contains_key(*key)));
        let changed = keys.filter(|key| self.0.get(*key) != before.0.get(*key));
        changed.map(|(kind, name)| format!("{kind} {name}")).collect()
    }
}

fn by_version(object: &kube::api::ObjectMeta) -> String {
    object.resource_version.clone().unwrap_or_default()
}

fn by_generation(object: &kube::api::ObjectMeta) -> String {
    object.generation.unwrap_or_default().to_string()
}

async fn add<K>(
    all: &mut BTreeMap<(&'static str, String), String>,
    kind: &'static str,
    api: &Api<K>,
    version: fn(&kube::api::ObjectMeta) -> String,
) -> Result<(), anyhow::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    for object in api.list_metadata(&ListParams::default()).await? {
        let name = object.metadata.name.clone().unwrap_or_default();
        all.insert((kind, name), version(&object.metadata));
    }
    Ok(())
}

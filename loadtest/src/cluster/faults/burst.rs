//! A step of a hundred requests per second that is given its replicas ahead of the HPA, while
//! something stands in the way. No request is lost; what was given comes back when somebody takes
//! it; what cannot be had is not asked for again and again.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::{
    admissionregistration::v1::ValidatingAdmissionPolicyBinding, core::v1::ResourceQuota,
    rbac::v1::ClusterRoleBinding,
};
use kipper_cluster::{
    Cluster, Namespace,
    audit::Mark,
    components::{Component, End},
    functions::idle_after,
    watch,
};
use kipper_function::{Function, function::Resources, names::condition::BURST_UNAVAILABLE};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::sleep;

use super::{
    cold::apply,
    fleet::ADAPTER,
    ledger::{Execution, Ledger},
    pods,
    rollout::version,
    traffic::{Fates, Traffic, settled},
};
use crate::{
    cluster::replicas::{self, Change, Replicas},
    open_loop::Sent,
    run::{PATIENCE, Run},
};

const NAME: &str = "stepped";
const DELAY: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_secs(30);
/// Requests per second that a replica should see: so few that the step needs far more than all of them,
/// even where the machine gives it half of its pace.
const EACH: f64 = 1.0;
/// What every function has at most.
const ALL: i32 = 10;
/// How often the HPA looks, with something to spare.
const LOOK: Duration = Duration::from_secs(16);
/// Replicas are asked for again at once, and less than this later without an HPA.
const SOON: Duration = Duration::from_secs(10);
/// A quota, and a node, that have room for less than the step needs.
const ROOM: i32 = 3;
const TOO_LARGE: &str = "600m";
/// Asks for what cannot be had: the first one, and one for each time that it looks possible.
const FEW: usize = 4;
/// A policy is missed within a minute.
const CHECKED: Duration = Duration::from_secs(75);
/// The controller tells it once it was so for longer than a mistake lasts.
const TOLD: Duration = Duration::from_secs(150);
const BURST_ALLOWED: &str = "kipper_scaler_adapter_burst_allowed";
/// What the HPA's controller has its rights from.
const HPA_BINDING: &str = "system:controller:horizontal-pod-autoscaler";
const POLICY_BINDING: &str = "kipper-scaler-adapter-scale";

/// A function under the step.
struct Stepped<'a> {
    cluster: &'a Cluster,
    namespace: Namespace,
    replicas: Replicas,
    traffic: Traffic,
    mark: Mark,
}

impl<'a> Stepped<'a> {
    /// At one replica and served; then the step begins.
    async fn start(
        cluster: &'a Cluster,
        namespace: Namespace,
        function: &Function,
        prefix: &str,
    ) -> Result<Self, anyhow::Error> {
        let hosts = apply(&namespace, std::slice::from_ref(function)).await?;
        let host = hosts.first().context("no host")?;
        settled(cluster, host).await?;
        let replicas = Replicas::follow(&namespace, NAME);
        let mark = cluster.audit.mark()?;
        let traffic = Traffic::start(cluster, host, prefix);
        Ok(Self { cluster, namespace, replicas, traffic, mark })
    }

    async fn until_wanted(&self, wanted: i32) -> Result<(), anyhow::Error> {
        self.replicas.until(PATIENCE, |change| change.wanted >= wanted).await.map(drop)
    }

    /// How often the adapter was given replicas so far.
    fn asks(&self) -> Result<usize, anyhow::Error> {
        replicas::asks(self.cluster, &self.namespace, &self.mark)
    }

    /// Waits until the Function says that nothing is scaled ahead of the HPA, or says so no more.
    async fn until_told(&self, is_unavailable: bool) -> Result<(), anyhow::Error> {
        let functions = self.namespace.api::<Function>();
        let is_told = |function: Option<&Function>| {
            let status = function.and_then(|function| function.status.as_ref());
            status.is_some_and(|status| status.is_true(BURST_UNAVAILABLE) == is_unavailable)
        };
        watch::object(&functions, NAME, TOLD, is_told).await.map(drop)
    }

    async fn end(self) -> Result<Vec<Sent>, anyhow::Error> {
        let changes = self.replicas.changes();
        let wanted: Vec<i32> = changes.iter().map(|change| change.wanted).collect();
        println!("   replicas wanted: {wanted:?}");
        let sent = self.traffic.end().await?;
        self.namespace.delete(NAME).await?;
        Ok(sent)
    }
}

/// The function of every case.
fn function(ledger: &Ledger, number: u32) -> Function {
    let mut function = idle_after(ledger.function(NAME, &version(number), DELAY), IDLE);
    function.spec.scaling.get_or_insert_default().target_request_rate = Some(EACH);
    function
}

fn judge(
    run: &mut Run,
    scenario: &str,
    all: &[Sent],
    executed: &[Execution],
) -> Result<(), anyhow::Error> {
    Fates::of(all, executed).judge_all(run, scenario)
}

/// What can go wrong about one function.
pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let ledger = Ledger::start(cluster).await?;
    let mut all = Vec::new();

    println!("   somebody writes one replica over the ten");
    let namespace = cluster.namespace("burst-overwritten").await?;
    let stepped = Stepped::start(cluster, namespace, &function(&ledger, 0), "overwritten").await?;
    stepped.until_wanted(ALL).await?;
    let known = stepped.replicas.changes().len();
    stepped.namespace.scale(NAME, 1).await?;
    let replicas = &stepped.replicas;
    let lowered = replicas.until_after(known, PATIENCE, |change| change.wanted == 1).await?.at;
    let is_back = |change: &Change| change.at > lowered && change.wanted >= ALL;
    let back = replicas.until_after(known, SOON, is_back).await;
    run.outcome.condition("burst_overwritten_missing", back.is_err().into())?;
    all.extend(stepped.end().await?);

    println!("   new code while the replicas come up");
    let namespace = cluster.namespace("burst-rollout").await?;
    let stepped = Stepped::start(cluster, namespace, &function(&ledger, 1), "rollout").await?;
    stepped.until_wanted(2).await?;
    stepped.namespace.apply(&function(&ledger, 2)).await?;
    pods::until_rolled_out(&stepped.namespace.api(), NAME, PATIENCE).await?;
    stepped.until_wanted(ALL).await?;
    all.extend(stepped.end().await?);

    println!("   a quota of {ROOM} pods");
    let namespace = cluster.namespace("burst-quota").await?;
    let quota: ResourceQuota = serde_json::from_value(json!({
        "metadata": {"name": "few"}, "spec": {"hard": {"pods": ROOM.to_string()}},
    }))?;
    namespace.api().create(&PostParams::default(), &quota).await?;
    all.extend(refused(run, cluster, namespace, "quota", function(&ledger, 3)).await?);

    println!("   pods that no node has room for");
    let namespace = cluster.namespace("burst-room").await?;
    let mut large = function(&ledger, 4);
    let request = Some(TOO_LARGE.to_owned());
    large.spec.resources = Some(Resources { cpu_request: request, ..Resources::default() });
    all.extend(refused(run, cluster, namespace, "room", large).await?);

    println!("   a ScaledObject that is paused");
    let namespace = cluster.namespace("burst-paused").await?;
    let hosts = apply(&namespace, &[function(&ledger, 5)]).await?;
    settled(cluster, hosts.first().context("no host")?).await?;
    let paused = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
    let params = PatchParams::default();
    namespace.scaled_objects().patch(NAME, &params, &Patch::Merge(paused)).await?;
    let is_paused = |object: &kube::api::DynamicObject| {
        let conditions = object.data["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|c| c["type"] == "Paused" && c["status"] == "True")
    };
    loop {
        if is_paused(&namespace.scaled_objects().get(NAME).await?) {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let stepped = Stepped::start(cluster, namespace, &function(&ledger, 5), "paused").await?;
    sleep(SOON).await;
    run.outcome.condition("burst_paused_asks", stepped.asks()?)?;
    all.extend(stepped.end().await?);
    judge(run, "burst", &all, &ledger.executed())
}

/// A step that gets less than it needs, and goes on through looks of the HPA.
async fn refused(
    run: &mut Run,
    cluster: &Cluster,
    namespace: Namespace,
    name: &str,
    function: Function,
) -> Result<Vec<Sent>, anyhow::Error> {
    let stepped = Stepped::start(cluster, namespace, &function, name).await?;
    stepped.until_wanted(ROOM + 1).await?;
    sleep(run.size(2, 1) * LOOK).await;
    let asks = stepped.asks()?;
    println!("   asked {asks} times");
    run.outcome.condition(&format!("burst_{name}_asks"), asks.saturating_sub(FEW))?;
    stepped.end().await
}

/// What can go wrong with the parts that scale.
pub(super) async fn parts(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let ledger = Ledger::start(cluster).await?;
    let mut all = Vec::new();

    println!("   the adapters are killed between an ask and the HPA's look");
    let namespace = cluster.namespace("burst-killed").await?;
    let stepped = Stepped::start(cluster, namespace, &function(&ledger, 0), "killed").await?;
    stepped.until_wanted(ALL).await?;
    for pod in ADAPTER.pods(cluster).await? {
        pods::kill_container(&pod).await?;
    }
    sleep(run.size(2, 1) * LOOK).await;
    let taken = usize::from(stepped.replicas.now().is_none_or(|change| change.wanted < ALL));
    run.outcome.condition("burst_parts_taken_back", taken)?;
    all.extend(stepped.end().await?);

    println!("   the metrics API is down, so that the HPA knows nothing");
    let namespace = cluster.namespace("burst-metrics").await?;
    cluster.components.stop(Component::KedaMetrics, End::Terminate).await?;
    let stepped = Stepped::start(cluster, namespace, &function(&ledger, 1), "metrics").await?;
    stepped.until_wanted(ALL).await?;
    cluster.components.start(Component::KedaMetrics).await?;
    all.extend(stepped.end().await?);

    println!("   there is no HPA: its controller may do nothing");
    cluster.take::<ClusterRoleBinding>(HPA_BINDING).await?;
    let namespace = cluster.namespace("burst-hpa").await?;
    let stepped = Stepped::start(cluster, namespace, &function(&ledger, 3), "hpa").await?;
    stepped.until_wanted(ALL).await?;
    let unasked = usize::from(stepped.asks()? == 0);
    run.outcome.condition("burst_parts_without_hpa_unasked", unasked)?;
    all.extend(stepped.end().await?);
    cluster.give_back().await?;

    println!("   the admission policy is gone");
    cluster.take::<ValidatingAdmissionPolicyBinding>(POLICY_BINDING).await?;
    allowed(cluster, 0.0).await?;
    let namespace = cluster.namespace("burst-policy").await?;
    let stepped = Stepped::start(cluster, namespace, &function(&ledger, 2), "policy").await?;
    // The HPA alone.
    stepped.until_wanted(ALL).await?;
    run.outcome.condition("burst_parts_unlimited_asks", stepped.asks()?)?;
    let mut untold = usize::from(stepped.until_told(true).await.is_err());
    cluster.give_back().await?;
    allowed(cluster, 1.0).await?;
    untold += usize::from(stepped.until_told(false).await.is_err());
    run.outcome.condition("burst_parts_untold", untold)?;
    all.extend(stepped.end().await?);
    judge(run, "burst_parts", &all, &ledger.executed())
}

/// Resolves once every adapter, or none, may scale ahead of the HPA.
async fn allowed(cluster: &Cluster, wanted: f64) -> Result<(), anyhow::Error> {
    #[allow(clippy::cast_precision_loss)] // a few pods
    let looking = async {
        loop {
            let pods = ADAPTER.pods(cluster).await?.len() as f64;
            let allowed = ADAPTER.metric(cluster, BURST_ALLOWED).await.unwrap_or(-1.0);
            if (allowed - wanted * pods).abs() < 0.5 {
                return anyhow::Ok(());
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(CHECKED, looking).await.context("burst_allowed does not change")?
}

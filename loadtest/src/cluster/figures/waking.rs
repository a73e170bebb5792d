//! Many wakes of one kind of function, and the floor beside them.
//!
//! A function is woken once and never put back to sleep: getting to zero again takes KEDA's
//! cooldown and a poll of 30 s, and a scale written by hand would leave KEDA and the adapter with
//! another past than a sleeping function has. So there are as many functions as wakes, each with
//! its own ScaledObject and its own stream from KEDA, made in batches that fit on the node. A
//! batch is in place and quiet before its first wake; its functions are woken in turn, starts by
//! hand in between; then it is removed, pods and all, before the next one is made.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use kipper_cluster::{Cluster, Namespace, functions, watch};
use kipper_function::Function;
use kube::ResourceExt as _;
use tokio::time::{Instant, sleep};

use crate::cluster::metrics;
use crate::{
    cluster::{
        floor::{self, Floor},
        wake::{Wake, Witness, wake},
    },
    run::PATIENCE,
};

/// Between two wakes, so that one does not pay for the end of the other: the kubelet and KEDA
/// write on for a moment after the first byte.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the pods of a removed batch are counted.
const COUNT_EVERY: Duration = Duration::from_millis(500);

/// What to wake, and how often.
pub(super) struct Plan {
    pub(super) scenario: &'static str,
    pub(super) batches: usize,
    /// Functions of a batch, each woken once.
    pub(super) functions: usize,
    /// Starts by hand of a batch.
    pub(super) floors: usize,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Woken {
    pub(super) wakes: Vec<Wake>,
    pub(super) floors: Vec<Floor>,
}

impl Woken {
    /// Answers other than 200.
    pub(super) fn errors(&self) -> usize {
        self.wakes.iter().filter(|wake| wake.answer.status != 200).count()
    }

    /// Wakes whose scale somebody else than `user` wrote.
    pub(super) fn not_by(&self, user: &str) -> usize {
        self.wakes.iter().filter(|wake| !wake.scaled.by.ends_with(user)).count()
    }
}

/// Runs the plan in a namespace of its own.
pub(super) async fn run(
    cluster: &Cluster,
    plan: &Plan,
    make: impl Fn(&str) -> Function,
) -> Result<Woken, anyhow::Error> {
    let namespace = cluster.namespace(plan.scenario).await?;
    let witness = Witness::start(&namespace);
    let mut woken = Woken::default();
    for number in 0..plan.batches {
        let batch = Batch { number, functions: plan.functions, floors: plan.floors };
        let hosts = prepare(cluster, &namespace, &batch.functions(), &make).await?;
        batch.wake(cluster, &namespace, &witness, &hosts, &mut woken).await?;
        batch.remove(&namespace).await?;
    }
    Ok(woken)
}

/// Applies functions and returns their names and hosts once each could be woken.
pub(super) async fn prepare(
    cluster: &Cluster,
    namespace: &Namespace,
    names: &[String],
    make: impl Fn(&str) -> Function,
) -> Result<Vec<(String, String)>, anyhow::Error> {
    for name in names {
        namespace.apply(&make(name)).await?;
    }
    let ready = try_join_all(names.iter().map(|name| namespace.until_ready(name))).await?;
    metrics::until_keda_listens(cluster).await?;
    let host = |function: &Function| functions::host(function).context("a function without a URL");
    ready.iter().map(|function| Ok((function.name_any(), host(function)?))).collect()
}

/// Functions that are on the node at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) number: usize,
    pub(super) functions: usize,
    pub(super) floors: usize,
}

impl Batch {
    /// Names of the functions.
    pub(super) fn functions(&self) -> Vec<String> {
        (0..self.functions).map(|function| format!("b{}-f{function}", self.number)).collect()
    }

    /// Names of what is started by hand.
    fn by_hand(&self) -> impl Iterator<Item = String> + use<> {
        let Self { number, floors, .. } = *self;
        (0..floors).map(move |floor| format!("b{number}-floor{floor}"))
    }

    /// Wakes every function once, one after the other.
    pub(super) async fn wake(
        &self,
        cluster: &Cluster,
        namespace: &Namespace,
        witness: &Witness,
        hosts: &[(String, String)],
        woken: &mut Woken,
    ) -> Result<(), anyhow::Error> {
        let (model, _) = hosts.first().context("a batch without functions")?;
        for name in self.by_hand() {
            floor::prepare(namespace, model, &name).await?;
        }
        let mut by_hand = self.by_hand();
        for (number, (function, host)) in hosts.iter().enumerate() {
            sleep(PAUSE).await;
            let one = wake(cluster, namespace, witness, function, host).await;
            woken.wakes.push(one.with_context(|| format!("wake {function}"))?);
            witness.until(function, |seen| seen.ready.is_some()).await?;
            // Spread over the batch: as many as are due after this wake and were not before.
            let due = |wakes: usize| wakes * self.floors / self.functions;
            for name in by_hand.by_ref().take(due(number + 1) - due(number)) {
                sleep(PAUSE).await;
                woken.floors.push(floor::measure(cluster, namespace, witness, &name).await?);
                witness.until(&name, |seen| seen.ready.is_some()).await?;
            }
        }
        Ok(())
    }

    /// Removes it, and returns when none of its pods is left.
    async fn remove(&self, namespace: &Namespace) -> Result<(), anyhow::Error> {
        for name in self.by_hand() {
            watch::deleted(&namespace.api::<Deployment>(), &name).await?;
        }
        for name in self.functions() {
            namespace.delete(&name).await?;
        }
        until_no_pods(namespace).await
    }
}

/// Returns when the namespace has no pods left.
pub(super) async fn until_no_pods(namespace: &Namespace) -> Result<(), anyhow::Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = namespace.end_stopping_pods().await?;
        if left == 0 {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{left} pods are left");
        sleep(COUNT_EVERY).await;
    }
}

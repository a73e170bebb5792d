//! Cold starts while KEDA's operator is stopped: the second path answers after its own delay.

use anyhow::Context as _;
use kipper_cluster::{
    Cluster,
    components::{Component, End},
    functions,
};
use kipper_measure::samples::Samples;

use super::waking::{self, Batch, Woken};
use crate::{
    cluster::{
        timeline,
        wake::{Wake, Witness},
    },
    run::Run,
};

const SCENARIO: &str = "without_keda";

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let namespace = cluster.namespace(SCENARIO).await?;
    let witness = Witness::start(&namespace);
    let batch = Batch { number: 0, functions: run.size(20, 5), floors: run.size(5, 2) };
    let hosts = waking::prepare(cluster, &namespace, &batch.functions(), functions::bare).await?;
    cluster.components.stop(Component::KedaOperator, End::Terminate).await?;
    let mut woken = Woken::default();
    let ended = batch.wake(cluster, &namespace, &witness, &hosts, &mut woken).await;
    cluster.components.start(Component::KedaOperator).await?;
    ended.context("without KEDA")?;
    println!("{}\n{}", timeline::wakes(&woken.wakes), timeline::floors(&woken.floors));
    let samples =
        |of: fn(&Wake) -> std::time::Duration| -> Samples { woken.wakes.iter().map(of).collect() };
    run.outcome.figure("without_keda_added_p90", samples(Wake::added).quantile(0.9))?;
    run.outcome.figure("without_keda_whole_p50", samples(Wake::whole).quantile(0.5))?;
    run.outcome.condition("without_keda_errors", woken.errors())
}

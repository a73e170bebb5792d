//! Cold starts over the KEDA path: of the static test server, and of inline code without
//! dependencies. Each wake's own phases are paired; the floor, a pod of the same image without a
//! volume that is scaled by hand, is measured in the same run.

use kipper_cluster::{Cluster, functions};
use kipper_function::Function;

use kipper_measure::samples::Samples;

use super::waking::{self, Plan, Woken};
use crate::{
    cluster::{floor::Floor, timeline, wake::Wake},
    run::Run,
};

/// Who scales on the KEDA path, by the end of its name in the audit log.
const KEDA: &str = ":keda-operator";

const NODE: &str = "module.exports = async () => 'hello'\n";
const PYTHON: &str = "def handler(event, context):\n    return 'hello'\n";

/// At least 200 wakes of the static test server, whose pod mounts nothing.
pub(super) async fn bare(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let plan = Plan {
        scenario: "cold_start",
        batches: run.size(8, 1),
        functions: run.size(25, 10),
        floors: run.size(3, 2),
    };
    let woken = measured(run, cluster, &plan, functions::bare).await?;
    let whole: Samples = woken.wakes.iter().map(Wake::whole).collect();
    run.outcome.figure("cold_start_whole_p50", whole.quantile(0.5))
}

/// The same server with a `/tmp` to write to that its image declares.
pub(super) async fn with_tmp(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let woken = fewer(run, cluster, "cold_start_tmp", functions::own_tmp).await?;
    let whole: Samples = woken.wakes.iter().map(Wake::whole).collect();
    run.outcome.figure("cold_start_tmp_whole_p50", whole.quantile(0.5))
}

/// A Node handler that says hello.
pub(super) async fn node(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let make = |name: &str| functions::inline(name, "node", NODE, &[]);
    let woken = fewer(run, cluster, "cold_start_node", make).await?;
    over_floor(run, "cold_start_node", &woken)
}

/// A Python handler that says hello.
pub(super) async fn python(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let make = |name: &str| functions::inline(name, "python", PYTHON, &[]);
    let woken = fewer(run, cluster, "cold_start_python", make).await?;
    over_floor(run, "cold_start_python", &woken)
}

/// What a wake, request to first byte, takes longer than a start by hand.
fn over_floor(run: &mut Run, scenario: &str, woken: &Woken) -> Result<(), anyhow::Error> {
    let whole: Samples = woken.wakes.iter().map(Wake::whole).collect();
    let floor: Samples = woken.floors.iter().map(Floor::whole).collect();
    let over = whole.quantile(0.5) - floor.quantile(0.5);
    run.outcome.figure(&format!("{scenario}_over_floor_p50"), over)
}

async fn fewer(
    run: &mut Run,
    cluster: &Cluster,
    scenario: &'static str,
    make: impl Fn(&str) -> Function,
) -> Result<Woken, anyhow::Error> {
    let plan = Plan {
        scenario,
        batches: run.size(2, 1),
        functions: run.size(25, 5),
        floors: run.size(10, 5),
    };
    measured(run, cluster, &plan, make).await
}

async fn measured(
    run: &mut Run,
    cluster: &Cluster,
    plan: &Plan,
    make: impl Fn(&str) -> Function,
) -> Result<Woken, anyhow::Error> {
    let scenario = plan.scenario;
    let woken = waking::run(cluster, plan, make).await?;
    println!("{}\n{}", timeline::wakes(&woken.wakes), timeline::floors(&woken.floors));
    let added: Samples = woken.wakes.iter().map(Wake::added).collect();
    run.outcome.figure(&format!("{scenario}_added_p50"), added.quantile(0.5))?;
    run.outcome.figure(&format!("{scenario}_added_p90"), added.quantile(0.9))?;
    run.outcome.figure(&format!("{scenario}_not_by_keda"), count(woken.not_by(KEDA)))?;
    run.outcome.condition(&format!("{scenario}_errors"), woken.errors())?;
    // A floor that waits for volumes is none.
    let volumes = woken.floors.iter().map(|floor| floor.volumes).sum::<usize>();
    run.outcome.condition(&format!("{scenario}_floor_volumes"), volumes)?;
    Ok(woken)
}

#[allow(clippy::cast_precision_loss)] // far below 2^53
fn count(number: usize) -> f64 {
    number as f64
}

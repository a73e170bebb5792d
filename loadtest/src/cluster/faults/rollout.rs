//! New code under load: every request is answered, by the old code or by the new, and by the new
//! alone when the rollout is over.

use std::time::Duration;

use kipper_cluster::Cluster;
use kube::ResourceExt as _;
use tokio::time::Instant;

use super::{
    ledger::{Execution, Ledger},
    pods,
    traffic::{Fates, Traffic, WARM_UP, replicas, serve},
};
use crate::run::{PATIENCE, Run};

const NAME: &str = "rolled";
const REPLICAS: i32 = 3;
const DELAY: Duration = Duration::from_millis(20);

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let namespace = cluster.namespace("rollout").await?;
    let ledger = Ledger::start(cluster).await?;
    let function = |number| replicas(ledger.function(NAME, &version(number), DELAY), REPLICAS);
    let host = serve(cluster, &namespace, &function(0), REPLICAS).await?;

    let traffic = Traffic::start(cluster, &host, "rollout");
    let mut late = 0;
    for number in 1..=run.size(3, 1) {
        ledger.until_more(WARM_UP).await?;
        let old = pods::of(&namespace, NAME).await?;
        let begun = Instant::now();
        namespace.apply(&function(number)).await?;
        for pod in old {
            pods::until_gone(&namespace.api(), &pod.name_any()).await?;
        }
        pods::until_rolled_out(&namespace.api(), NAME, PATIENCE).await?;
        let over = Instant::now();
        ledger.until_more(WARM_UP).await?;
        late += report(&version(number), begun, over, &ledger.executed());
    }
    let sent = traffic.end().await?;
    run.outcome.condition("rollout_old_code_afterwards", late)?;
    Fates::of(&sent, &ledger.executed()).judge_all(run, "rollout")
}

/// What the code of a version answers.
pub(super) fn version(number: u32) -> String {
    format!("v{number}")
}

/// Prints a rollout of `version`; how many requests the old code still executed after it.
pub(super) fn report(
    version: &str,
    begun: Instant,
    over: Instant,
    executed: &[Execution],
) -> usize {
    let during = executed.iter().filter(|one| one.at >= begun && one.at <= over);
    let (new, old): (Vec<_>, Vec<_>) = during.partition(|one| one.version == version);
    println!(
        "   rolled out in {:.1} s: {} executed by old code, {} by new",
        (over - begun).as_secs_f64(),
        old.len(),
        new.len()
    );
    executed.iter().filter(|one| one.at > over && one.version != version).count()
}

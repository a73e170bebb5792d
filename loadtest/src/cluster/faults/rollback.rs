//! Back to earlier code under load, as a user goes: every request is answered, by the code that was
//! wrong or by the code before it, and by that alone when the way back is over.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use kipper_cluster::{Cluster, Namespace};
use kube::ResourceExt as _;
use tokio::{process::Command, time::Instant};

use super::{
    ledger::Ledger,
    pods,
    rollout::{report, version},
    traffic::{Fates, Traffic, WARM_UP, replicas, serve, show},
};
use crate::run::{PATIENCE, Run};

const NAME: &str = "rolledback";
const REPLICAS: i32 = 3;
const DELAY: Duration = Duration::from_millis(20);

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let kip = run.binary().with_file_name("kip");
    anyhow::ensure!(kip.exists(), "{} is missing: build it first", kip.display());
    let namespace = cluster.namespace("rollback").await?;
    let ledger = Ledger::start(cluster).await?;
    let function = |number| replicas(ledger.function(NAME, &version(number), DELAY), REPLICAS);
    let host = serve(cluster, &namespace, &function(0), REPLICAS).await?;
    namespace.apply(&function(1)).await?;
    namespace.until_ready(NAME).await?;
    pods::until_rolled_out(&namespace.api(), NAME, PATIENCE).await?;

    let traffic = Traffic::start(cluster, &host, "rollback");
    let mut late = 0;
    // Each way back is followed by the way back from it.
    for round in 0..run.size(4, 1) {
        ledger.until_more(WARM_UP).await?;
        let old = pods::of(&namespace, NAME).await?;
        let begun = Instant::now();
        roll_back(&kip, &namespace, cluster).await?;
        for pod in old {
            pods::until_gone(&namespace.api(), &pod.name_any()).await?;
        }
        let over = Instant::now();
        ledger.until_more(WARM_UP).await?;
        late += report(&version(round % 2), begun, over, &ledger.executed());
    }
    let sent = traffic.end().await?;
    run.outcome.condition("rollback_old_code_afterwards", late)?;
    let executed = ledger.executed();
    let fates = Fates::of(&sent, &executed);
    show(&fates.failed);
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    run.outcome.figure("rollback_failed", fates.failed.len() as f64)?;
    fates.judge(run, "rollback")
}

/// Returns once the pods of the earlier code have taken over.
async fn roll_back(
    kip: &Path,
    namespace: &Namespace,
    cluster: &Cluster,
) -> Result<(), anyhow::Error> {
    let door = format!("http://{}", cluster.interceptor);
    let mut command = Command::new(kip);
    command.args(["function", "rollback", NAME, "--wait", "--interceptor", &door]);
    command.args(["-n", &namespace.name]).kill_on_drop(true);
    let output = command.output().await.with_context(|| kip.display().to_string())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "kip function rollback: {stderr}");
    Ok(())
}

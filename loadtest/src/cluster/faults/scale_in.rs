//! From five replicas to one under load: the four that go finish what they have.
//!
//! The bounds of the Function are changed, so that the scaler wants what the scenario wants.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kipper_cluster::Cluster;
use kube::ResourceExt as _;
use tokio::time::Instant;

use super::{
    ledger::Ledger,
    pods,
    traffic::{Fates, Traffic, WARM_UP, replicas, serve},
};
use crate::run::{PATIENCE, Run};

const NAME: &str = "scaled";
const BEFORE: i32 = 5;
const AFTER: i32 = 1;
const DELAY: Duration = Duration::from_millis(20);

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let namespace = cluster.namespace("scale_in").await?;
    let ledger = Ledger::start(cluster).await?;
    let function = |count| replicas(ledger.function(NAME, "one", DELAY), count);
    let host = serve(cluster, &namespace, &function(BEFORE), BEFORE).await?;

    let traffic = Traffic::start(cluster, &host, "scale-in");
    for round in 0..run.size(3, 1) {
        if round > 0 {
            namespace.apply(&function(BEFORE)).await?;
            namespace.until_replicas(NAME, BEFORE, PATIENCE).await?;
        }
        ledger.until_more(WARM_UP).await?;
        let before = pods::of(&namespace, NAME).await?;
        let begun = Instant::now();
        namespace.apply(&function(AFTER)).await?;
        namespace.until_replicas(NAME, AFTER, PATIENCE).await?;
        let left = pods::of(&namespace, NAME).await?;
        let stays = |name: &str| left.iter().any(|pod| pod.name_any() == name);
        for pod in before.iter().map(Pod::name_any).filter(|name| !stays(name)) {
            pods::until_gone(&namespace.api(), &pod).await?;
        }
        let took = begun.elapsed().as_secs_f64();
        println!("   {} pods became {} within {took:.1} s", before.len(), left.len());
    }
    ledger.until_more(WARM_UP).await?;
    let sent = traffic.end().await?;
    Fates::of(&sent, &ledger.executed()).judge_all(run, "scale_in")
}

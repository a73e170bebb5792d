//! `kubectl delete pod` under load: a stopping pod finishes what it has, and nothing fails.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kipper_cluster::{Cluster, watch};
use kube::ResourceExt as _;

use super::{
    ledger::Ledger,
    pods,
    traffic::{Fates, Traffic, WARM_UP, replicas, serve},
};
use crate::run::{PATIENCE, Run};

const NAME: &str = "deleted";
const REPLICAS: i32 = 3;
const DELAY: Duration = Duration::from_millis(20);

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let namespace = cluster.namespace("delete_pod").await?;
    let ledger = Ledger::start(cluster).await?;
    let function = replicas(ledger.function(NAME, "one", DELAY), REPLICAS);
    let host = serve(cluster, &namespace, &function, REPLICAS).await?;

    let traffic = Traffic::start(cluster, &host, "delete");
    let deletions = run.size(6, 2);
    for _ in 0..deletions {
        ledger.until_more(WARM_UP).await?;
        let pods = pods::of(&namespace, NAME).await?;
        let oldest = pods.first().context("a function without pods")?.name_any();
        watch::deleted(&namespace.api::<Pod>(), &oldest).await?;
        pods::until_gone(&namespace.api(), &oldest).await?;
        namespace.until_replicas(NAME, REPLICAS, PATIENCE).await?;
    }
    let sent = traffic.end().await?;
    println!("   {deletions} pods deleted");
    Fates::of(&sent, &ledger.executed()).judge_all(run, "delete_pod")
}

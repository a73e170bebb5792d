//! A rolling restart of the interceptors while requests are held for a function that starts slowly
//! and others run: none is lost.
//!
//! The slow function stands at the ledger's gate until every old interceptor is on its way out, so
//! what they hold is answered by them, in their drain.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kipper_cluster::{Cluster, functions};
use kube::{Api, ResourceExt as _};
use tokio::time::Instant;

use super::{
    clients,
    fleet::{self, INTERCEPTOR},
    ledger::Ledger,
    pods,
    traffic::{Fates, Traffic, WARM_UP, replicas, serve},
};
use crate::run::{PATIENCE, Run};

const HELD: usize = 50;
const WARM: &str = "warm";
const SLOW: &str = "slow";
const REPLICAS: i32 = 2;
const DELAY: Duration = Duration::from_millis(20);

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let namespace = cluster.namespace("interceptor_restart").await?;
    let ledger = Ledger::start(cluster).await?;
    let warm = replicas(ledger.function(WARM, "one", DELAY), REPLICAS);
    let host = serve(cluster, &namespace, &warm, REPLICAS).await?;
    let mut slow = ledger.gated(SLOW);
    slow.spec.timeouts.get_or_insert_default().cold_start_seconds = Some(120);
    namespace.apply(&slow).await?;
    let slow = namespace.until_ready(SLOW).await?;
    let slow = functions::host(&slow).context("a function without a URL")?;

    let old = INTERCEPTOR.pods(cluster).await?;
    let held = clients::send_many(cluster.interceptor, &slow, HELD).await?;
    fleet::until_held(&old, &namespace, SLOW, HELD).await?;
    ledger.until_at_the_gate().await?;
    for pod in &old {
        let count = fleet::held(std::slice::from_ref(pod), &namespace, SLOW).await?;
        println!("   {} holds {count}", pod.name_any());
    }

    let traffic = Traffic::start(cluster, &host, "interceptor");
    ledger.until_more(WARM_UP).await?;
    let begun = Instant::now();
    restart(cluster).await?;
    println!("   every new one ready after {:.1} s", begun.elapsed().as_secs_f64());
    ledger.open();
    let lost = clients::lost(held, PATIENCE).await;
    println!("   every held request answered after {:.1} s", begun.elapsed().as_secs_f64());
    let api: Api<Pod> = fleet::system(cluster);
    for pod in &old {
        pods::until_gone(&api, &pod.name_any()).await?;
    }
    println!("   every old one gone after {:.1} s", begun.elapsed().as_secs_f64());
    ledger.until_more(WARM_UP).await?;
    let sent = traffic.end().await?;
    run.outcome.condition("interceptor_restart_held_lost", lost)?;
    Fates::of(&sent, &ledger.executed()).judge_all(run, "interceptor_restart")
}

/// As `kubectl rollout restart`; returns when the new pods alone are wanted, and ready.
async fn restart(cluster: &Cluster) -> Result<(), anyhow::Error> {
    let api: Api<Deployment> = fleet::system(cluster);
    api.restart(INTERCEPTOR.deployment).await?;
    pods::until_rolled_out(&api, INTERCEPTOR.deployment, PATIENCE).await
}

//! `kill -9` of a function's process under load: only what was running on it may fail, and nothing
//! is executed twice.
//!
//! A failed request was running on it if the function had written it down on that pod, or if it
//! was on its way at that moment and written down nowhere: a request that another pod executed was
//! not the dead one's.

use std::{collections::HashMap, time::Duration};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kipper_cluster::{Cluster, Namespace, watch};
use kube::ResourceExt as _;
use tokio::time::Instant;

use super::{
    ledger::{Execution, Ledger},
    pods,
    traffic::{Fates, Traffic, WARM_UP, replicas, serve, show},
};
use crate::{
    open_loop::Sent,
    run::{PATIENCE, Run},
};

const NAME: &str = "killed";
const REPLICAS: i32 = 3;
/// So long that some requests run on a process whenever it is killed.
const DELAY: Duration = Duration::from_millis(60);

struct Kill {
    pod: String,
    begun: Instant,
    dead: Instant,
}

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let namespace = cluster.namespace("kill_container").await?;
    let ledger = Ledger::start(cluster).await?;
    let function = replicas(ledger.function(NAME, "one", DELAY), REPLICAS);
    let host = serve(cluster, &namespace, &function, REPLICAS).await?;

    let traffic = Traffic::start(cluster, &host, "kill");
    let mut kills = Vec::new();
    // Each container once: the kubelet lets one that died before wait longer and longer.
    for pod in pods::of(&namespace, NAME).await?.iter().take(run.size(3, 2)) {
        ledger.until_more(WARM_UP).await?;
        let begun = Instant::now();
        pods::kill_container(pod).await?;
        kills.push(Kill { pod: pod.name_any(), begun, dead: Instant::now() });
        until_restarted(&namespace, pod).await?;
    }
    let sent = traffic.end().await?;
    report(run, &sent, &kills, &ledger.executed())
}

async fn until_restarted(namespace: &Namespace, pod: &Pod) -> Result<(), anyhow::Error> {
    let restarts = |pod: &Pod| -> Option<i32> {
        Some(pod.status.as_ref()?.container_statuses.as_ref()?.first()?.restart_count)
    };
    let before = restarts(pod).context("no container")?;
    let restarted = |found: Option<&Pod>| found.and_then(restarts) > Some(before);
    watch::object(&namespace.api::<Pod>(), &pod.name_any(), PATIENCE, restarted).await?;
    namespace.until_replicas(NAME, REPLICAS, PATIENCE).await
}

fn report(
    run: &mut Run,
    sent: &[Sent],
    kills: &[Kill],
    executed: &[Execution],
) -> Result<(), anyhow::Error> {
    let places: HashMap<&str, &str> =
        executed.iter().map(|one| (one.id.as_str(), one.pod.as_str())).collect();
    let was_on_it = |failed: &Sent| {
        kills.iter().any(|kill| {
            let in_flight = failed.sent < kill.dead && failed.due + failed.took > kill.begun;
            in_flight && places.get(&*failed.id).is_none_or(|pod| *pod == kill.pod)
        })
    };
    let fates = Fates::of(sent, executed);
    let (on_it, elsewhere): (Vec<&Sent>, Vec<&Sent>) =
        fates.failed.iter().partition(|failed| was_on_it(failed));
    println!("   {} containers killed, {} requests were running on them", kills.len(), on_it.len());
    show(&elsewhere);
    run.outcome.condition("kill_container_failed_elsewhere", elsewhere.len())?;
    fates.judge(run, "kill_container")
}

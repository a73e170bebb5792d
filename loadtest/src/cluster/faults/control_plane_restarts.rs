//! Controller, scaler-adapter, KEDA's operator and the API server are killed and come back, one
//! after the other, while a warm function is used and cold ones are woken.
//!
//! The warm function may be scaled to zero after ten seconds: whoever called it idle out of
//! ignorance would be seen. Of the cold ones, one is asked in the moment of the kill, the other
//! when the part is gone.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kipper_cluster::{
    Cluster,
    components::{Component, End},
    functions::{self, idle_after},
};
use kipper_function::function::Scaling;
use kipper_measure::client::Answer;
use kube::ResourceExt as _;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    clients,
    cold::prepare,
    fleet::{self, ADAPTER, CONTROLLER, Component as Fleet},
    ledger::{Ledger, soon_stopped},
    pods,
    traffic::{Fates, Traffic, WARM_UP, settled},
};
use crate::run::Run;

const WARM: &str = "warm";
const DELAY: Duration = Duration::from_millis(20);
const IDLE: Duration = Duration::from_secs(10);
const MAX_REPLICAS: i32 = 2;
/// How long a part stays away after a cold function was asked; a pod is back when it is.
const OUTAGE: Duration = Duration::from_secs(2);
/// A cold request is answered within `coldStartSeconds`, or with 504 a moment later.
const COLD_START: Duration = Duration::from_secs(52);

/// What is killed.
#[derive(Clone, Copy)]
enum Part {
    Pods(Fleet),
    Process(Component),
}

/// When a cold function is asked.
const DURING: &str = "during";
const AFTER: &str = "after";

const PARTS: [(&str, Part); 4] = [
    ("controller", Part::Pods(CONTROLLER)),
    ("adapter", Part::Pods(ADAPTER)),
    ("keda", Part::Process(Component::KedaOperator)),
    ("apiserver", Part::Process(Component::Apiserver)),
];

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let namespace = cluster.namespace("control_plane").await?;
    let ledger = Ledger::start(cluster).await?;
    let mut warm = idle_after(ledger.function(WARM, "one", DELAY), IDLE);
    warm.spec.scaling = Some(Scaling { max_replicas: Some(MAX_REPLICAS), ..Scaling::default() });
    let mut functions = vec![warm];
    for (name, _) in PARTS {
        for moment in [DURING, AFTER] {
            functions.push(soon_stopped(functions::image(&cold(name, moment))));
        }
    }
    let hosts = prepare(cluster, &namespace, &functions).await?;
    let Some((host, cold_hosts)) = hosts.split_first() else { anyhow::bail!("no function") };
    settled(cluster, host).await?;

    let (mut all, mut cold_failed) = (Vec::new(), 0);
    for ((name, part), cold_hosts) in PARTS.iter().zip(cold_hosts.chunks(2)) {
        let traffic = Traffic::start(cluster, host, name);
        ledger.until_more(WARM_UP).await?;
        cold_failed += killed(cluster, name, *part, cold_hosts).await?;
        ledger.until_more(WARM_UP).await?;
        all.extend(traffic.end().await?);
    }
    run.outcome.condition("control_plane_restarts_cold_failed", cold_failed)?;
    Fates::of(&all, &ledger.executed()).judge_all(run, "control_plane_restarts")
}

fn cold(part: &str, moment: &str) -> String {
    format!("{part}-{moment}")
}

/// Kills a part and lets it come back; how many of two cold requests failed.
async fn killed(
    cluster: &Cluster,
    name: &str,
    part: Part,
    cold_hosts: &[String],
) -> Result<usize, anyhow::Error> {
    let [during, after] = cold_hosts else { anyhow::bail!("two cold functions are needed") };
    let before = match part {
        Part::Pods(fleet) => fleet.pods(cluster).await?,
        Part::Process(_) => Vec::new(),
    };
    let begun = Instant::now();
    let first = spawn(cluster, during.clone());
    match part {
        Part::Pods(_) => {
            for pod in &before {
                pods::delete_at_once(&fleet::system::<Pod>(cluster), &pod.name_any()).await?;
            }
        }
        Part::Process(component) => cluster.components.stop(component, End::Kill).await?,
    }
    let gone = begun.elapsed();
    let second = spawn(cluster, after.clone());
    match part {
        Part::Pods(fleet) => fleet.until_replaced(cluster, &before).await?,
        Part::Process(component) => {
            sleep(OUTAGE).await;
            cluster.components.start(component).await?;
        }
    }
    println!(
        "   {name}: killed after {:.2} s, back after {:.1} s",
        gone.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    let mut failed = 0;
    for (moment, asked) in [(DURING, first), (AFTER, second)] {
        let (answer, took) = asked.await?;
        println!("   {name}: asked {moment} the kill, took {:.2} s", took.as_secs_f64());
        failed += usize::from(!clients::is_answered(&cold(name, moment), &answer));
    }
    Ok(failed)
}

type Asked = (Result<Answer, String>, Duration);

fn spawn(cluster: &Cluster, host: String) -> AbortOnDropHandle<Asked> {
    let proxy = cluster.interceptor;
    let asking = async move { clients::ask(proxy, &host, COLD_START).await };
    AbortOnDropHandle::new(tokio::spawn(asking))
}

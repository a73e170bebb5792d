//! Load on one function and the pods it gets, through the real HPA.

use std::time::Duration;

use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use kipper_cluster::{Cluster, Namespace, audit::Entry, functions, watch};
use tokio::time::{Instant, sleep};

use super::waking;
use crate::{
    cluster::{
        floor,
        replicas::{Change, Replicas},
        timeline,
    },
    open_loop::{self, Fate, Load, Sent},
    run::Run,
};

/// Enough that none waits for another at a hundred requests a second.
const CONNECTIONS: usize = 32;
/// Failed requests that are printed.
const MAX_PRINTED: usize = 5;
/// The shortest idle time that is not below KEDA's poll.
const IDLE: Duration = Duration::from_secs(30);
/// Idle time, the stabilisation of the HPA and a few polls.
const TO_ZERO: Duration = Duration::from_secs(240);
/// How long a step lasts: beyond its goal.
const STEP: Duration = Duration::from_secs(45);
/// When steps begin after their function is in place. The HPA looks at a function every 15 s from
/// then on, so each step meets it at another moment of its period.
const STEPS_AFTER: [Duration; 3] =
    [Duration::ZERO, Duration::from_secs(5), Duration::from_secs(10)];
const STEP_RATE: f64 = 100.0;
const TEN: i32 = 10;

/// A function at zero whose pods are watched. 5 requests/s per pod and at most ten pods are what
/// every function has by default.
struct Loaded {
    namespace: Namespace,
    /// No two are the same: a host belongs to one function of the whole cluster.
    function: String,
    host: String,
    replicas: Replicas,
    started: Timestamp,
}

impl Loaded {
    async fn start(cluster: &Cluster, function: &str) -> Result<Self, anyhow::Error> {
        let namespace = cluster.namespace(function).await?;
        let make = |name: &str| functions::idle_after(functions::image(name), IDLE);
        let mut hosts = waking::prepare(cluster, &namespace, &[function.to_owned()], make).await?;
        let (_, host) = hosts.pop().unwrap_or_default();
        let replicas = Replicas::follow(&namespace, function);
        Ok(Self {
            namespace,
            function: function.to_owned(),
            host,
            replicas,
            started: Timestamp::now(),
        })
    }

    async fn send(&self, cluster: &Cluster, rate: f64, duration: Duration) -> Vec<Sent> {
        let load = Load {
            proxy: cluster.interceptor,
            host: self.host.clone(),
            prefix: "load",
            connections: CONNECTIONS,
            duration,
            rate: Some(rate),
        };
        open_loop::run(&load).await
    }

    fn describe(&self, change: &Change) -> String {
        let at = timeline::between(self.started, change.at).as_secs_f64();
        format!("   {at:6.1} s: {} wanted, {} ready", change.wanted, change.ready)
    }

    fn print(&self) {
        for change in self.replicas.changes() {
            println!("{}", self.describe(&change));
        }
    }
}

/// Requests that were not answered with 200; the first few are printed.
fn errors(sent: &[Sent]) -> usize {
    let failed: Vec<_> = sent.iter().filter(|sent| sent.fate != Fate::Answered).collect();
    for sent in failed.iter().take(MAX_PRINTED) {
        println!("   {}: {:?} after {:?}", sent.id, sent.fate, sent.took);
    }
    failed.len()
}

/// 2, 20, 60 and no requests per second, each for long enough that the HPA comes to rest.
/// The short form has one step and the way back to zero.
pub(super) async fn ramp(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let loaded = Loaded::start(cluster, "ramp").await?;
    let mut failed = 0;
    let steps: &[(u32, u64)] = run.size(&[(2, 45), (20, 90), (60, 90)], &[(20, 45)]);
    for (rate, seconds) in steps {
        let began = Timestamp::now();
        let sent = loaded.send(cluster, f64::from(*rate), Duration::from_secs(*seconds)).await;
        failed += errors(&sent);
        let most = loaded.replicas.most_wanted_since(began);
        let end = loaded.replicas.now().map_or(0, |change| change.ready);
        println!(
            "   {rate} requests/s for {seconds} s: at most {most} wanted, {end} ready at the end"
        );
        match *rate {
            2 => run.outcome.figure("ramp_replicas_at_2", most.into())?,
            20 => {
                run.outcome.figure("ramp_replicas_at_20_least", end.into())?;
                run.outcome.figure("ramp_replicas_at_20_most", most.into())?;
            }
            _ => run.outcome.figure("ramp_replicas_at_60", end.into())?,
        }
    }
    let quiet = Instant::now();
    let zero = loaded.namespace.until_replicas(&loaded.function, 0, TO_ZERO).await;
    println!("   {:.1} s from the last request to zero", quiet.elapsed().as_secs_f64());
    loaded.print();
    zero?;
    let end = loaded.replicas.now().map_or(i32::MAX, |change| change.wanted);
    run.outcome.figure("ramp_replicas_at_0", end.into())?;
    run.outcome.condition("ramp_errors", failed)
}

/// From zero to a hundred requests per second at once, until ten pods are ready; the figure is the
/// slowest step. Full size only.
pub(super) async fn step(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    if run.size(false, true) {
        println!("   only at full size: the short form of ramp goes through the HPA as well");
        return Ok(());
    }
    by_hand(&Loaded::start(cluster, "step-floor").await?).await?;
    let (mut slowest, mut failed) = (0.0_f64, 0);
    for after in STEPS_AFTER {
        let loaded = Loaded::start(cluster, &format!("step-{}", after.as_secs())).await?;
        sleep(after).await;
        let (took, errors) = one_step(cluster, &loaded).await?;
        println!("   ten pods ready {took:.1} s into a step that began {after:?} after its HPA");
        slowest = slowest.max(took);
        failed += errors;
        loaded.namespace.delete(&loaded.function).await?;
        waking::until_no_pods(&loaded.namespace).await?;
    }
    println!(
        "   bounded by the HPA: up to 15 s until it looks, and 15 s more if the rate had not risen \
         to ten pods' worth by then"
    );
    run.outcome.figure("step_to_ten_ready", slowest)?;
    run.outcome.condition("step_errors", failed)
}

/// Seconds until ten pods were ready, and failed requests.
async fn one_step(cluster: &Cluster, loaded: &Loaded) -> Result<(f64, usize), anyhow::Error> {
    let mark = cluster.audit.mark()?;
    let began = Timestamp::now();
    let ten = loaded.replicas.until(STEP, |change| change.ready >= TEN);
    let (sent, ten) = tokio::join!(loaded.send(cluster, STEP_RATE, STEP), ten);
    let scale = |entry: &Entry| {
        let target = &entry.object_ref;
        entry.is_write()
            && target.subresource == "scale"
            && target.namespace == loaded.namespace.name
    };
    for entry in cluster.audit.since(&mark, scale)? {
        let at = timeline::between(began, entry.stage_timestamp).as_secs_f64();
        println!("   {at:6.1} s into the step: scale written by {}", entry.user());
    }
    for change in loaded.replicas.changes().iter().filter(|change| change.at >= began) {
        let at = timeline::between(began, change.at).as_secs_f64();
        println!("   {at:6.1} s into the step: {} wanted, {} ready", change.wanted, change.ready);
    }
    let took = ten.map_or(f64::INFINITY, |ten| timeline::between(began, ten.at).as_secs_f64());
    Ok((took, errors(&sent)))
}

/// The floor: ten pods of the same kind, asked for at once.
async fn by_hand(loaded: &Loaded) -> Result<(), anyhow::Error> {
    let (namespace, name) = (&loaded.namespace, "by-hand");
    floor::prepare(namespace, &loaded.function, name).await?;
    let replicas = Replicas::follow(namespace, name);
    let began = Timestamp::now();
    namespace.scale(name, TEN).await?;
    let ten = replicas.until(STEP, |change| change.ready >= TEN).await?;
    println!(
        "   by hand: ten pods ready in {:.1} s",
        timeline::between(began, ten.at).as_secs_f64()
    );
    // Their end would otherwise be a load of its own.
    watch::deleted(&namespace.api::<Deployment>(), name).await?;
    waking::until_no_pods(namespace).await
}

//! Load on one function and the pods it gets, through the real HPA.

use std::time::Duration;

use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use kipper_cluster::{Cluster, Namespace, functions, watch};
use tokio::time::{Instant, sleep};

use super::waking;
use crate::{
    cluster::{
        floor,
        replicas::{Change, Replicas, asks, scales},
        timeline,
    },
    open_loop::{self, Fate, Load, Pace, Sent},
    run::Run,
};

/// Enough that none waits for another at a hundred requests a second, through the start of a pod as well.
const CONNECTIONS: usize = 256;
/// Failed requests that are printed.
const MAX_PRINTED: usize = 5;
/// The shortest idle time that is not below KEDA's poll.
const IDLE: Duration = Duration::from_secs(30);
/// Idle time, the stabilisation of the HPA and a few polls.
const TO_ZERO: Duration = Duration::from_secs(240);
/// How long a step lasts: beyond its goal, and long enough for three looks of the HPA.
const STEP: Duration = Duration::from_secs(45);
/// For so long after a step began nobody takes back what it was given.
const KEPT: Duration = Duration::from_secs(70);
/// When steps begin after their function is in place. The HPA looks at a function every 15 s from
/// then on, so each step meets it at another moment of its period.
const STEPS_AFTER: [Duration; 3] =
    [Duration::ZERO, Duration::from_secs(5), Duration::from_secs(10)];
const STEP_RATE: f64 = 100.0;
const TEN: i32 = 10;
const CROWD: u32 = 30;
const CROWD_TIME: Duration = Duration::from_millis(300);
/// Until whoever looks at the crowd has looked, and at another moment of its period each time.
const BETWEEN_CROWDS: Duration = Duration::from_secs(11);
/// One pod, awake.
const WARM_UP: Duration = Duration::from_secs(5);
/// Requests per second, and the replicas for them at five each.
const STEADY_RATE: f64 = 18.0;
const STEADY_REPLICAS: i32 = 4;
/// A minute's mean is whole, and so are the HPA's looks at it.
const SETTLED: Duration = Duration::from_secs(90);

/// A function at zero whose pods are watched. 5 requests/s per pod and at most ten pods are what
/// every function has by default.
pub(super) struct Loaded {
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

    async fn send(&self, cluster: &Cluster, pace: Pace, duration: Duration) -> Vec<Sent> {
        let load = Load {
            proxy: cluster.interceptor,
            host: self.host.clone(),
            prefix: "load",
            connections: CONNECTIONS,
            duration,
            pace,
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
        let pace = Pace::Steady((*rate).into());
        let sent = loaded.send(cluster, pace, Duration::from_secs(*seconds)).await;
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
    let by_hand = by_hand(&Loaded::start(cluster, "step-floor").await?).await?;
    let (mut slowest, mut failed, mut lowered) = (0.0_f64, 0, 0);
    for after in &STEPS_AFTER[..run.size(STEPS_AFTER.len(), 1)] {
        let loaded = Loaded::start(cluster, &format!("step-{}", after.as_secs())).await?;
        sleep(*after).await;
        let step = one_step(cluster, &loaded).await?;
        let took = step.took;
        println!("   ten pods ready {took:.1} s into a step that began {after:?} after its HPA");
        slowest = slowest.max(took);
        failed += step.errors;
        lowered += step.lowered;
        loaded.namespace.delete(&loaded.function).await?;
        waking::until_no_pods(&loaded.namespace).await?;
    }
    run.outcome.figure("step_to_ten_ready", slowest)?;
    run.outcome.figure("step_over_by_hand", slowest - by_hand)?;
    run.outcome.condition("step_lowered", lowered)?;
    run.outcome.condition("step_errors", failed)
}

/// A function for [`step_among`], which KEDA has taken up before it has others to take up.
pub(super) async fn before_others(cluster: &Cluster) -> Result<Loaded, anyhow::Error> {
    Loaded::start(cluster, "step-among").await
}

/// The same once, beside whatever else there is by now.
pub(super) async fn step_among(
    run: &mut Run,
    cluster: &Cluster,
    loaded: &Loaded,
) -> Result<(), anyhow::Error> {
    let step = one_step(cluster, loaded).await?;
    println!("   ten pods ready {:.1} s into a step", step.took);
    run.outcome.figure("step_among_idle", step.took)?;
    run.outcome.condition("step_lowered", step.lowered)?;
    run.outcome.condition("step_errors", step.errors)
}

/// What came of one step.
struct Step {
    /// Seconds until ten pods were ready.
    took: f64,
    errors: usize,
    /// How often replicas were taken back within a minute after they were asked for.
    lowered: usize,
}

async fn one_step(cluster: &Cluster, loaded: &Loaded) -> Result<Step, anyhow::Error> {
    let mark = cluster.audit.mark()?;
    let began = Timestamp::now();
    let ten = loaded.replicas.until(STEP, |change| change.ready >= TEN);
    let (sent, ten) = tokio::join!(loaded.send(cluster, Pace::Steady(STEP_RATE), STEP), ten);
    // The load is gone; what was asked for stays.
    sleep(KEPT.saturating_sub(timeline::between(began, Timestamp::now()))).await;
    for entry in scales(cluster, &loaded.namespace, &mark)? {
        let at = timeline::between(began, entry.stage_timestamp).as_secs_f64();
        println!("   {at:6.1} s into the step: scale written by {}", entry.user());
    }
    let changes = loaded.replicas.changes();
    for change in changes.iter().filter(|change| change.at >= began) {
        let at = timeline::between(began, change.at).as_secs_f64();
        println!("   {at:6.1} s into the step: {} wanted, {} ready", change.wanted, change.ready);
    }
    let is_lower = |pair: &&[Change]| pair[1].at >= began && pair[1].wanted < pair[0].wanted;
    Ok(Step {
        took: ten.map_or(f64::INFINITY, |ten| timeline::between(began, ten.at).as_secs_f64()),
        errors: errors(&sent),
        lowered: changes.windows(2).filter(is_lower).count(),
    })
}

/// A page load now and then: many requests at once, and then none.
pub(super) async fn crowd(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let loaded = Loaded::start(cluster, "crowd").await?;
    let (mut failed, pace) = (0, Pace::Steady(f64::from(CROWD) / CROWD_TIME.as_secs_f64()));
    failed += errors(&loaded.send(cluster, Pace::Steady(1.0), WARM_UP).await);
    let mark = cluster.audit.mark()?;
    for _ in 0..run.size(6, 2) {
        failed += errors(&loaded.send(cluster, pace, CROWD_TIME).await);
        sleep(BETWEEN_CROWDS).await;
    }
    loaded.print();
    run.outcome.condition("crowd_asks", asks(cluster, &loaded.namespace, &mark)?)?;
    run.outcome.condition("crowd_errors", failed)
}

/// A steady rate, as chance has it: the replicas that it needs, and not one more.
pub(super) async fn steady(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let loaded = Loaded::start(cluster, "steady").await?;
    let pace = Pace::Poisson(STEADY_RATE);
    let mut failed = errors(&loaded.send(cluster, pace, SETTLED).await);
    let (mark, began) = (cluster.audit.mark()?, Timestamp::now());
    let time = Duration::from_secs(run.size(300, 60));
    failed += errors(&loaded.send(cluster, pace, time).await);
    loaded.print();
    let extra = (loaded.replicas.most_wanted_since(began) - STEADY_REPLICAS).max(0);
    let asks = asks(cluster, &loaded.namespace, &mark)?;
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    let per_hour = asks as f64 * 3600.0 / time.as_secs_f64();
    run.outcome.figure("steady_extra_replicas", extra.into())?;
    run.outcome.figure("steady_asks_per_hour", per_hour)?;
    run.outcome.condition("steady_errors", failed)
}

/// The floor: ten pods of the same kind, asked for at once.
async fn by_hand(loaded: &Loaded) -> Result<f64, anyhow::Error> {
    let (namespace, name) = (&loaded.namespace, "by-hand");
    floor::prepare(namespace, &loaded.function, name).await?;
    let replicas = Replicas::follow(namespace, name);
    let began = Timestamp::now();
    namespace.scale(name, TEN).await?;
    let ten = replicas.until(STEP, |change| change.ready >= TEN).await?;
    let took = timeline::between(began, ten.at).as_secs_f64();
    println!("   by hand: ten pods ready in {took:.1} s");
    // Their end would otherwise be a load of its own.
    watch::deleted(&namespace.api::<Deployment>(), name).await?;
    waking::until_no_pods(namespace).await?;
    Ok(took)
}

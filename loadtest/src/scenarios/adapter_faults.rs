//! The scaler-adapter is restarted, hangs and is gone while requests wait; an interceptor is
//! killed. Counts are right again soon, and nobody is ever called inactive by mistake.
//!
//! A second task asks IsActive all the time. While something is held the answer may be `true` or
//! an error, upon which KEDA keeps its replicas; it may never be `false`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use kipper_measure::client::Client;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::release_10k::{answers, hold};
use crate::{
    control::{function, host},
    keda::Keda,
    processes::{Adapter, Function, Interceptor},
    requests::post,
    run::{POLL, Run},
};

/// Requests that begin to wait in each phase.
const HELD: usize = 20;
/// How long the adapter hangs or is gone.
const OUTAGE: Duration = Duration::from_millis(2_500);
const ASK_INTERVAL: Duration = Duration::from_millis(10);
/// When counts are not right by then, they never are.
const NEVER: Duration = Duration::from_secs(30);
/// Survives a restart, as a pod's name does.
const NAME: &str = "interceptor-a";

/// What all phases share.
struct Scene {
    adapter: Adapter,
    interceptor: Interceptor,
    keda: Keda,
    held: Vec<Client>,
    never_right: usize,
}

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let adapter = Adapter::start(run).await?;
    let interceptor = start_interceptor(run, &adapter).await?;
    let keda = Keda::new(adapter.grpc)?;
    let mut scene = Scene { adapter, interceptor, keda, held: Vec::new(), never_right: 0 };
    scene.hold_more(HELD).await?;
    scene.until_right(Instant::now()).await;
    let watch = FalseInactive::watch(scene.adapter.grpc)?;

    scene.adapter.kill()?;
    scene.adapter.start_again(run).await?;
    let took = scene.until_right(Instant::now()).await;
    run.outcome.figure("adapter_restarted_right_after", took)?;

    scene.adapter.hang()?;
    scene.hold_more(HELD).await?;
    sleep(OUTAGE).await;
    scene.adapter.go_on()?;
    let took = scene.until_right(Instant::now()).await;
    run.outcome.figure("adapter_hung_right_after", took)?;

    scene.adapter.stop();
    scene.hold_more(HELD).await?;
    sleep(OUTAGE).await;
    scene.adapter.start_again(run).await?;
    let took = scene.until_right(Instant::now()).await;
    run.outcome.figure("adapter_gone_right_after", took)?;

    let took = killed_interceptor(run, &mut scene).await?;
    run.outcome.figure("interceptor_killed_right_after", took)?;

    let false_inactive = watch.stop()?;
    run.outcome.condition("adapter_faults_false_inactive", false_inactive)?;
    run.outcome.condition("adapter_faults_never_right", scene.never_right)?;
    let backend = Function::start(run, &[]).await?;
    scene.interceptor.set_ready(&function(0), &[backend.addr]).await?;
    let lost = answers(scene.held).await;
    run.outcome.condition("adapter_faults_lost", lost)
}

/// Kills the interceptor with what it holds; another of the same name takes its place, as a pod's
/// container is restarted. New requests wait there before the old ones are forgotten.
async fn killed_interceptor(run: &mut Run, scene: &mut Scene) -> Result<f64, anyhow::Error> {
    let successor = start_interceptor_named(run, &scene.adapter, "interceptor-b").await?;
    let killed = std::mem::replace(&mut scene.interceptor, successor);
    // Somebody always waits, so that `inactive` is false throughout.
    let old = std::mem::take(&mut scene.held);
    scene.hold_more(HELD / 2).await?;
    sleep(OUTAGE).await;
    killed.kill()?;
    drop(old);
    let restarted = start_interceptor(run, &scene.adapter).await?;
    let took = scene.until_right(Instant::now()).await;
    if run.size(true, false) {
        stays_away(restarted, scene).await?;
    }
    Ok(took)
}

/// Prints how long the counts of an interceptor are kept that is killed and not started again.
async fn stays_away(killed: Interceptor, scene: &mut Scene) -> Result<(), anyhow::Error> {
    let held = hold(killed.proxy, HELD, |id| post(&host(0), &id)).await?;
    // Its counts have arrived when the sum is not the one without it.
    while scene.keda.open_requests(&function(0)).await? < scene.wanted() + 0.5 {
        sleep(POLL).await;
    }
    killed.kill()?;
    drop(held);
    let took = scene.until_right(Instant::now()).await;
    println!("   an interceptor that stays away is forgotten after {took:.1} s");
    Ok(())
}

async fn start_interceptor(run: &mut Run, adapter: &Adapter) -> Result<Interceptor, anyhow::Error> {
    start_interceptor_named(run, adapter, NAME).await
}

async fn start_interceptor_named(
    run: &mut Run,
    adapter: &Adapter,
    name: &str,
) -> Result<Interceptor, anyhow::Error> {
    let counts = adapter.counts.to_string();
    Interceptor::start(run, 1, &["--adapter", &counts, "--name", name]).await
}

impl Scene {
    async fn hold_more(&mut self, count: usize) -> Result<(), anyhow::Error> {
        let (name, host) = (function(0), host(0));
        let more = hold(self.interceptor.proxy, count, |id| post(&host, &id)).await?;
        self.held.extend(more);
        let wanted = self.held.len();
        self.interceptor.until(&name, |counts| counts.held == wanted).await?;
        Ok(())
    }

    /// What the fleet should count.
    #[allow(clippy::cast_precision_loss)] // a few dozen
    fn wanted(&self) -> f64 {
        self.held.len() as f64
    }

    /// Seconds from `since` until the fleet's count is what the scenario holds, and stays so.
    async fn until_right(&mut self, since: Instant) -> f64 {
        let wanted = self.wanted();
        let end = Instant::now() + NEVER;
        let mut last = None;
        while Instant::now() < end {
            last = Some(self.keda.open_requests(&function(0)).await);
            if matches!(last, Some(Ok(open)) if (open - wanted).abs() < 0.5) {
                return since.elapsed().as_secs_f64();
            }
            sleep(POLL).await;
        }
        println!("   wanted {wanted} open requests, last answer {last:?}");
        self.never_right += 1;
        f64::INFINITY
    }
}

/// Asks IsActive and listens to StreamIsActive until it is stopped.
struct FalseInactive {
    found: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl FalseInactive {
    fn watch(grpc: SocketAddr) -> Result<Self, anyhow::Error> {
        let found = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let (mut keda, count) = (Keda::new(grpc)?, Arc::clone(&found));
        tasks.spawn(async move {
            loop {
                if let Ok(false) = keda.is_active(&function(0)).await {
                    count.fetch_add(1, Relaxed);
                }
                sleep(ASK_INTERVAL).await;
            }
        });
        let (mut keda, count) = (Keda::new(grpc)?, Arc::clone(&found));
        tasks.spawn(async move {
            loop {
                // Opened again whenever it ends, as KEDA does.
                if let Ok(mut stream) = keda.stream(&function(0)).await {
                    while let Ok(Some(answer)) = stream.message().await {
                        count.fetch_add(usize::from(!answer.result), Relaxed);
                    }
                }
                sleep(ASK_INTERVAL).await;
            }
        });
        Ok(Self { found, tasks })
    }

    fn stop(mut self) -> Result<usize, anyhow::Error> {
        anyhow::ensure!(self.tasks.try_join_next().is_none(), "the watch ended by itself");
        Ok(self.found.load(Relaxed))
    }
}

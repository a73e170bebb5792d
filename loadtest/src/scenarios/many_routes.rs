//! 10,000 routes of which one changes 100 times a second.
//!
//! How soon a change is seen, without other load: applied to the feed, until the end of the first
//! request that sees it. And what the changes cost everybody else: the same load with and without
//! them, in turns. (10,000 routes against one are compared by `kipper-bench routes`.)

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use kipper_interceptor::{
    Interceptor,
    config::ProxyConfig,
    reporter::ReporterConfig,
    source::{
        EndpointState, FunctionId, RouteSpec, Sources,
        memory::{self, MemoryFeed},
    },
};
use kipper_measure::{
    child::ChildProcess,
    client::Client,
    figures::Ratio,
    load::Report,
    processes::{self, Size},
    samples::Samples,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    control::{NAMESPACE, function, host},
    requests::get,
    run::{PATIENCE, POLL, Run},
};

const ROUTES: usize = 10_000;
/// The one that changes.
const CHANGING: usize = 7_777;
const CHANGE_INTERVAL: Duration = Duration::from_millis(10);
/// A change that is not seen by then is missing.
const MISSING_AFTER: Duration = Duration::from_secs(2);
const CONNECTIONS: &str = "64";
const ACTIVE_HOSTS: usize = 16;

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let (_backend, backend) = start_backend(run).await?;
    let registry = kipper_process::metrics::registry("interceptor", env!("CARGO_PKG_VERSION"))?;
    let without = resident_bytes()?;
    let all: Vec<RouteSpec> = (0..ROUTES).map(|index| route(index, host(index))).collect();
    let up = EndpointState { address: backend, ready: true, terminating: false };
    let endpoints = all.iter().map(|route| (route.id.clone(), vec![up])).collect();
    let (changes, routes, endpoints) = memory::feed(all, endpoints);
    let interceptor = Interceptor::assemble(
        &ProxyConfig::default(),
        &registry,
        Sources::new(routes, endpoints),
        ReporterConfig::default(),
    )?;
    let proxy = interceptor.address()?;
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(interceptor.serve(shutdown.clone(), Duration::ZERO, MISSING_AFTER));

    wait_for_routes(proxy).await?;
    // What the feed itself keeps of each is in it.
    #[allow(clippy::cast_precision_loss)] // of bytes
    let grown = resident_bytes()?.saturating_sub(without) as f64 / ROUTES as f64;
    run.outcome.figure("route_bytes", grown)?;
    let outcome = Box::pin(measure(run, proxy, &changes)).await;
    shutdown.cancel();
    serving.await??;
    outcome
}

async fn measure(
    run: &mut Run,
    proxy: SocketAddr,
    changes: &MemoryFeed,
) -> Result<(), anyhow::Error> {
    let count = run.size(1_000, 200);
    let (took, missing) = changes_seen(proxy, changes, count).await?;
    println!("   changes seen: {}", took.summary());
    run.outcome.condition("route_changes_missing", missing)?;
    run.outcome.figure("route_change_p99", took.quantile(0.99))?;
    run.outcome.figure("route_change_max", took.max())?;

    let rounds = run.size(5, 2);
    let (mut calm, mut churning) = (Vec::new(), Vec::new());
    let _warm_up = load(run, proxy).await?;
    for _ in 0..rounds {
        calm.push(load(run, proxy).await?);
        let churn = tokio::spawn(churn(changes.clone()));
        churning.push(load(run, proxy).await?);
        churn.abort();
    }
    let errors = calm.iter().chain(&churning).map(|report| report.errors.total()).sum::<u64>();
    run.outcome.condition("many_routes_errors", usize::try_from(errors)?)?;
    let rps = |reports: &[Report]| reports.iter().map(|report| report.rps).collect::<Vec<_>>();
    let (calm, churning) = (rps(&calm), rps(&churning));
    println!("   rps calm {calm:.0?}, changing {churning:.0?}");
    let (calm, churning) = (calm.into_iter().map(Some), churning.into_iter().map(Some));
    let ratio = Ratio::by_round(churning, calm).context("no rounds")?;
    run.outcome.figure("route_churn_rps", ratio.median)
}

/// Of this process, in which the interceptor runs.
fn resident_bytes() -> Result<u64, anyhow::Error> {
    Ok(processes::kib(std::process::id(), Size::Resident)? * 1024)
}

/// The whole table is there once the last of it is.
async fn wait_for_routes(proxy: SocketAddr) -> Result<(), anyhow::Error> {
    let end = Instant::now() + PATIENCE;
    loop {
        let ask = async { Client::connect(proxy).await?.ask(&get(&host(ROUTES - 1), "/")).await };
        if ask.await.is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "the routes never came");
        tokio::time::sleep(POLL).await;
    }
}

/// Moves one function to another host, 100 times a second, and asks for that host until it is
/// there.
async fn changes_seen(
    proxy: SocketAddr,
    changes: &MemoryFeed,
    count: usize,
) -> Result<(Samples, usize), anyhow::Error> {
    let mut client = Client::connect(proxy).await?;
    let mut ticks = interval(CHANGE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut took, mut missing) = (Vec::with_capacity(count), 0);
    for number in 0..count {
        ticks.tick().await;
        let host = format!("moving-{number}.loadtest.test");
        let request = get(&host, "/");
        let applied = Instant::now();
        changes.apply(route(CHANGING, host))?;
        loop {
            let answer = client.ask(&request).await?;
            if answer.status == 200 {
                took.push(applied.elapsed());
                break;
            }
            anyhow::ensure!(answer.status == 404, "a moving host answers {}", answer.status);
            if answer.close {
                client = Client::connect(proxy).await?;
            }
            if applied.elapsed() > MISSING_AFTER {
                missing += 1;
                break;
            }
        }
    }
    Ok((took.into_iter().collect(), missing))
}

/// Changes one function until it is aborted.
async fn churn(changes: MemoryFeed) {
    let mut ticks = interval(CHANGE_INTERVAL);
    for number in 0_u64.. {
        ticks.tick().await;
        if changes.apply(route(CHANGING, format!("churn-{number}.loadtest.test"))).is_err() {
            return;
        }
    }
}

fn route(index: usize, host: String) -> RouteSpec {
    RouteSpec::new(FunctionId::new(NAMESPACE, &function(index)), vec![host])
}

/// One round of load on hosts spread over the table, from a process of its own.
async fn load(run: &mut Run, proxy: SocketAddr) -> Result<Report, anyhow::Error> {
    let mut command = Command::new(run.binary());
    command
        .args(["load", "--addr", &proxy.to_string(), "--connections", CONNECTIONS])
        .args(["--warm-up", run.size("1s", "300ms"), "--duration", run.size("4s", "1500ms")])
        .stdout(Stdio::piped());
    for index in 0..ACTIVE_HOSTS {
        command.args(["--host", &host(index * ROUTES / ACTIVE_HOSTS)]);
    }
    let name = run.unique("load");
    let mut child = ChildProcess::spawn(&name, command, run.dir())?;
    let stdout = child.take_stdout().context("a process without stdout")?;
    let mut text = String::new();
    tokio::process::ChildStdout::from_std(stdout)?.read_to_string(&mut text).await?;
    serde_json::from_str(&text).with_context(|| format!("the load failed{}", child.log_tail()))
}

/// The benchmarks' backend: much cheaper than the proxy.
async fn start_backend(run: &mut Run) -> Result<(ChildProcess, SocketAddr), anyhow::Error> {
    let mut command = Command::new(run.binary());
    command.arg("backend").stdout(Stdio::piped());
    let name = run.unique("backend");
    let mut child = ChildProcess::spawn(&name, command, run.dir())?;
    let stdout = child.take_stdout().context("a process without stdout")?;
    let mut line = String::new();
    BufReader::new(tokio::process::ChildStdout::from_std(stdout)?).read_line(&mut line).await?;
    let addr = line.trim().strip_prefix("listening ").context("the backend does not listen")?;
    Ok((child, addr.parse()?))
}

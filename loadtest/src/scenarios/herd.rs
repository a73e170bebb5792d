//! Two hundred functions that need replicas in the same moment. The adapter asks for them ahead of the
//! HPAs, but within its bounds, so that neither the API server nor the nodes are flooded, and passes over
//! nobody.
//!
//! The API server is one of tests: it keeps the replicas of each function, and counts.

use std::collections::BTreeMap;

use anyhow::Context as _;
use kipper_api_server::{ApiServer, Asked};
use kipper_counts::FunctionCounts;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep_until, timeout};

use crate::{
    control::function,
    keda::Keda,
    processes::{Adapter, Setting},
    reports::{Reports, named},
    run::{PATIENCE, Run},
};

/// Of each function; all of them are needed.
const MAX_REPLICAS: u32 = 10;
/// At so many a function is left alone: one more is less than a quarter more.
const ENOUGH: u32 = MAX_REPLICAS - 1;
/// Held of each function at least: more than [`MAX_REPLICAS`] replicas take at a time.
const HELD: usize = 100;
/// What an adapter asks for in a second, and may have saved up.
const ASKS: f64 = 20.0;
const PODS: f64 = 100.0;
/// Those on their way at once may arrive later than they were allowed, and the last takes what a second has.
const ON_THE_WAY: f64 = 8.0;
/// Until nothing more is asked for.
const SETTLED: Duration = Duration::from_secs(3);

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let count = run.size(200, 40);
    let mut api = ApiServer::start().await;
    let kubeconfig = run.dir().join("herd.kubeconfig");
    std::fs::write(&kubeconfig, api.kubeconfig())?;
    let kubeconfig = kubeconfig.to_str().context("a path that is not text")?;
    let settings = [
        Setting::Flag("--burst=kipper-system/kipper-scaler-adapter"),
        Setting::Variable("KUBECONFIG", kubeconfig),
    ];
    let adapter = Adapter::configured(run, &settings).await?;
    let mut cluster = Cluster::default();
    // Its check, by what a policy must refuse.
    while !cluster.has_denied {
        cluster.answer(api.asked().await)?;
    }

    let held = |index: usize, held: usize| -> Result<FunctionCounts, anyhow::Error> {
        let (in_flight, held) = (0, u32::try_from(held)?);
        Ok(FunctionCounts { in_flight, held, idle_ms: 0, ..named(index, u64::from(held))? })
    };
    let none = (0..count).map(|index| held(index, 0)).collect::<Result<_, _>>()?;
    let reports = Reports::open(adapter.counts, "herd", none).await?;
    let mut keda = Keda::new(adapter.grpc)?;
    let mut streams = Vec::with_capacity(count);
    for index in 0..count {
        streams.push(keda.stream_bursting(&function(index), MAX_REPLICAS).await?);
    }

    let all = (0..count).map(|index| held(index, HELD + index)).collect::<Result<_, _>>()?;
    reports.report(all).await?;
    let began = Instant::now();
    let mut last_ask = began;
    loop {
        // An adapter that asks for nothing at all has failed, however slow the machine is.
        let end = if cluster.asks == 0 { began + PATIENCE } else { last_ask + SETTLED };
        let asked = tokio::select! {
            asked = api.asked() => asked,
            () = sleep_until(end) => break,
        };
        let asks = cluster.asks;
        cluster.answer(asked)?;
        if cluster.asks > asks {
            last_ask = Instant::now();
            cluster.check(began.elapsed());
        }
    }
    timeout(PATIENCE, reports.end()).await??;
    let passed_over = (0..count).filter(|index| cluster.replicas(&function(*index)) < ENOUGH);
    let passed_over = passed_over.count();
    println!(
        "   {count} functions, {} replicas by {} asks in {:.1} s",
        cluster.pods,
        cluster.asks,
        last_ask.duration_since(began).as_secs_f64()
    );
    run.outcome.condition("herd_passed_over", passed_over)?;
    run.outcome.condition("herd_asks_over_bound", cluster.asks_over)?;
    run.outcome.condition("herd_pods_over_bound", cluster.pods_over)
}

/// What the API server knows.
#[derive(Default)]
struct Cluster {
    /// Of functions that do not have one alone.
    scales: BTreeMap<String, u32>,
    has_denied: bool,
    asks: u32,
    pods: u32,
    /// Asks that came sooner than their bound allows, and those for more pods than theirs.
    asks_over: usize,
    pods_over: usize,
}

impl Cluster {
    fn replicas(&self, function: &str) -> u32 {
        self.scales.get(function).copied().unwrap_or(1)
    }

    fn answer(&mut self, asked: Asked) -> Result<(), anyhow::Error> {
        let path = asked.path.strip_suffix("/scale");
        let name = path.and_then(|path| path.rsplit('/').next()).context("not a scale")?.to_owned();
        if asked.method == "GET" {
            asked.answer(200, &scale(&name, self.replicas(&name)).to_string());
            return Ok(());
        }
        if asked.value("dryRun").is_some() {
            self.has_denied = true;
            let denied = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid",
                "message": "ValidatingAdmissionPolicy 'kipper-scaler-adapter-scale' denied request",
                "details": {"name": name, "group": "apps", "kind": "deployments"}, "code": 422,
            });
            asked.answer(422, &denied.to_string());
            return Ok(());
        }
        let patch: Vec<Value> = serde_json::from_str(&asked.body)?;
        let value =
            |index: usize| -> Option<u32> { patch.get(index)?["value"].as_u64()?.try_into().ok() };
        let (from, to) = (value(0).context("no test")?, value(1).context("no value")?);
        anyhow::ensure!(from == self.replicas(&name), "a test that does not hold: {}", asked.body);
        self.asks += 1;
        self.pods += to.saturating_sub(from);
        self.scales.insert(name.clone(), to);
        asked.answer(200, &scale(&name, to).to_string());
        Ok(())
    }

    /// Whether all that was asked for by now was within the bounds.
    fn check(&mut self, passed: Duration) {
        let seconds = 1.0 + passed.as_secs_f64();
        self.asks_over += usize::from(f64::from(self.asks) > ASKS * seconds + ON_THE_WAY);
        self.pods_over +=
            usize::from(f64::from(self.pods) > PODS * seconds + ON_THE_WAY * f64::from(ENOUGH));
    }
}

fn scale(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": name, "resourceVersion": "7"},
        "spec": {"replicas": replicas}, "status": {"replicas": replicas},
    })
}

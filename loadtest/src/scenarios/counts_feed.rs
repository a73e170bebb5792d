//! What a fleet's counts cost one adapter: CPU of an update, of a stream that comes back among 100,000
//! functions, memory of what an interceptor says about a function, and how soon a wake is heard meanwhile.
//!
//! Costs are taken per unit at three numbers of functions, so that one that grows with them shows. CPU and
//! memory are those of the adapter's own process, sockets and HTTP/2 included.

use std::time::Duration;

use kipper_counts::FunctionCounts;
use kipper_measure::samples::Samples;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::{
    control::function,
    keda::Keda,
    processes::Adapter,
    reports::{Reports, named, numbered},
    run::{PATIENCE, POLL, Run},
};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
/// As a link sends them.
const FUNCTIONS_PER_REPORT: usize = 1_000;
const REQUESTS: &str = "kipper_scaler_adapter_requests_total";
/// Functions of the interceptor that comes back, among [`SIZES`]' largest.
const OWN: usize = 1_000;
/// Updates a second while wakes are measured, of [`BUSY`] functions.
const BUSY_RATE: usize = 200_000;
const BUSY: usize = 10_000;
/// A wake that is later than this is missing.
const MISSING_AFTER: Duration = Duration::from_secs(3);

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let updates = run.size(4_000_000, 1_000_000);
    let mut costs = Vec::new();
    for functions in SIZES {
        let adapter = Adapter::start_product(run).await?;
        let fleet = Fleet::start(&adapter, functions).await?;
        let (cost, rate) = update(&adapter, &fleet, updates).await?;
        println!("   {functions} functions: {cost:.3} µs per update, {rate:.0} updates/s");
        costs.push(cost);
        if functions == SIZES[2] {
            let took = reconnect(&adapter, run.size(50, 20)).await?;
            let bytes = memory(&adapter, functions, run.size(10, 4)).await?;
            run.outcome.figure("counts_reconnect", took)?;
            run.outcome.figure("counts_slot_bytes", bytes)?;
        }
    }
    run.outcome.figure("counts_update", costs.iter().copied().fold(0.0, f64::max))?;
    wakes(run).await
}

/// One interceptor that has named `functions` functions, and what it says of all of them in turn.
struct Fleet {
    stream: Reports,
    /// In no order, as changes come.
    order: Vec<usize>,
}

impl Fleet {
    async fn start(adapter: &Adapter, functions: usize) -> Result<Self, anyhow::Error> {
        let snapshot: Result<_, _> = (0..functions).map(|index| named(index, 0)).collect();
        let stream = Reports::open(adapter.counts, "busy", snapshot?).await?;
        let mut order: Vec<usize> = (0..functions).collect();
        fastrand::shuffle(&mut order);
        Ok(Self { stream, order })
    }

    /// One request more for every function, in reports of a link's size.
    fn round(&self, total: u64) -> Result<Vec<Vec<FunctionCounts>>, anyhow::Error> {
        let report = |part: &[usize]| part.iter().map(|index| numbered(*index, total)).collect();
        self.order.chunks(FUNCTIONS_PER_REPORT).map(report).collect()
    }
}

/// CPU microseconds of the adapter per update, and updates per second.
async fn update(
    adapter: &Adapter,
    fleet: &Fleet,
    updates: usize,
) -> Result<(f64, f64), anyhow::Error> {
    let rounds = updates.div_ceil(fleet.order.len());
    // The first round makes what every function keeps.
    let (mut began, mut started) = (0, Instant::now());
    for total in 0..=rounds {
        for report in fleet.round(total as u64 + 1)? {
            fleet.stream.report(report).await?;
        }
        if total == 0 {
            taken_in(adapter, fleet.order.len()).await?;
            (began, started) = (adapter.cpu_micros()?, Instant::now());
        }
    }
    let all = rounds * fleet.order.len();
    taken_in(adapter, all + fleet.order.len()).await?;
    #[allow(clippy::cast_precision_loss)] // of microseconds
    let (cpu, all) = ((adapter.cpu_micros()? - began) as f64, all as f64);
    Ok((cpu / all, all / started.elapsed().as_secs_f64()))
}

/// Every update brings one request, so these tell how many were taken in.
pub(super) async fn taken_in(adapter: &Adapter, requests: usize) -> Result<(), anyhow::Error> {
    let end = Instant::now() + PATIENCE;
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    while adapter.metric(REQUESTS).await? < requests as f64 {
        anyhow::ensure!(Instant::now() < end, "reports were not taken in");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// CPU milliseconds of the adapter for a stream of another interceptor that comes back, its connection and
/// its snapshot of [`OWN`] functions included.
async fn reconnect(adapter: &Adapter, times: u32) -> Result<f64, anyhow::Error> {
    let snapshot: Result<Vec<_>, _> = (0..OWN).map(|index| named(index, 1)).collect();
    let snapshot = snapshot?;
    Reports::open(adapter.counts, "returning", snapshot.clone()).await?.end().await?;
    let began = adapter.cpu_micros()?;
    for _ in 0..times {
        Reports::open(adapter.counts, "returning", snapshot.clone()).await?.end().await?;
    }
    #[allow(clippy::cast_precision_loss)] // of microseconds
    let cpu = (adapter.cpu_micros()? - began) as f64;
    Ok(cpu / 1e3 / f64::from(times))
}

/// Bytes of the adapter for what one more interceptor says about one known function.
async fn memory(
    adapter: &Adapter,
    functions: usize,
    interceptors: usize,
) -> Result<f64, anyhow::Error> {
    let mut streams = Vec::new();
    let mut first = 0;
    for index in 0..=interceptors {
        let stream = Reports::open(adapter.counts, &format!("more-{index}"), Vec::new()).await?;
        // In small reports, so that it is not the memory of a large message that is measured.
        for first in (0..functions).step_by(FUNCTIONS_PER_REPORT) {
            let report = (first..first + FUNCTIONS_PER_REPORT).map(|index| named(index, 1));
            stream.report(report.collect::<Result<_, _>>()?).await?;
        }
        streams.push(stream);
        settle(adapter).await?;
        if index == 0 {
            first = adapter.resident_kib()?;
        }
    }
    #[allow(clippy::cast_precision_loss)] // of kilobytes
    let grown = adapter.resident_kib()?.saturating_sub(first) as f64 * 1024.0;
    #[allow(clippy::cast_precision_loss)] // small counts
    Ok(grown / (functions * interceptors) as f64)
}

/// Waits until the adapter has nothing to do.
pub(super) async fn settle(adapter: &Adapter) -> Result<(), anyhow::Error> {
    let end = Instant::now() + PATIENCE;
    loop {
        let began = adapter.cpu_micros()?;
        tokio::time::sleep(POLL * 20).await;
        if adapter.cpu_micros()? == began {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "the adapter never rests");
    }
}

/// A wake from another interceptor until KEDA hears of it, while one is as busy as can be.
async fn wakes(run: &mut Run) -> Result<(), anyhow::Error> {
    let count = run.size(1_000, 200);
    let adapter = Adapter::start_product(run).await?;
    let fleet = Fleet::start(&adapter, BUSY).await?;
    let other = Reports::open(adapter.counts, "waking", Vec::new()).await?;
    let mut keda = Keda::new(adapter.grpc)?;
    let mut streams = Vec::with_capacity(count);
    for index in 0..count {
        streams.push(keda.stream(&function(BUSY + index)).await?);
    }
    let busy = tokio::spawn(keep_busy(fleet));
    taken_in(&adapter, BUSY).await?;
    let (began, started) = (adapter.metric(REQUESTS).await?, Instant::now());
    let (mut took, mut missing) = (Vec::with_capacity(count), 0);
    for (index, stream) in streams.iter_mut().enumerate() {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..10))).await;
        let counts =
            FunctionCounts { in_flight: 0, held: 1, waiting: 1, ..named(BUSY + index, 1)? };
        let sent = Instant::now();
        other.report(vec![counts]).await?;
        match timeout(MISSING_AFTER, stream.message()).await {
            Ok(Ok(Some(answer))) if answer.result => took.push(sent.elapsed()),
            _ => missing += 1,
        }
    }
    let rate = (adapter.metric(REQUESTS).await? - began) / started.elapsed().as_secs_f64();
    anyhow::ensure!(!busy.is_finished(), "the busy interceptor ended");
    busy.abort();
    let took: Samples = took.into_iter().collect();
    println!("   wakes beside {rate:.0} updates/s: {}", took.summary());
    run.outcome.condition("wake_signal_busy_missing", missing)?;
    run.outcome.figure("wake_signal_busy_p99", took.quantile(0.99))
}

/// Reports at [`BUSY_RATE`] until it is aborted.
async fn keep_busy(fleet: Fleet) -> Result<(), anyhow::Error> {
    let mut ticks =
        interval(Duration::from_secs(1) * u32::try_from(BUSY)? / u32::try_from(BUSY_RATE)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for total in 1.. {
        ticks.tick().await;
        for report in fleet.round(total)? {
            fleet.stream.report(report).await?;
        }
    }
    Ok(())
}

//! What a whole fleet costs one adapter, per unit and at three sizes: of interceptors that all report the
//! same functions, and of functions to each of which KEDA holds a stream. A cost that grows with the fleet
//! shows as a line that bends, and is what would have to be divided among adapters first.

use std::collections::VecDeque;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::counts_feed::{settle, taken_in};
use crate::{
    control::function,
    keda::Keda,
    processes::Adapter,
    reports::{Reports, named, numbered},
    run::Run,
};

const INTERCEPTORS: [usize; 3] = [1, 10, 100];
/// Functions in use, by way of every interceptor.
const ACTIVE: usize = 1_000;
const STREAMS: [usize; 3] = [1_000, 10_000, 100_000];
/// Streams that KEDA opens at a time.
const AT_A_TIME: usize = 64;

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let sizes = run.size(INTERCEPTORS.len(), 2);
    let updates = run.size(4_000_000, 500_000);
    let mut costs = Vec::new();
    for interceptors in &INTERCEPTORS[..sizes] {
        let cost = update(run, *interceptors, updates).await?;
        println!("   {interceptors} interceptors: {cost:.3} µs of CPU per update");
        costs.push(cost);
    }
    run.outcome.figure("fleet_update_over_line", over_line(&costs))?;
    let mut costs = Vec::new();
    for streams in &STREAMS[..sizes] {
        let (cpu, bytes) = open_streams(run, *streams).await?;
        println!("   {streams} streams of KEDA: {cpu:.1} µs of CPU, {bytes:.0} bytes each");
        costs.push(cpu);
    }
    run.outcome.figure("fleet_stream_over_line", over_line(&costs))
}

/// The largest size's cost per unit over that of the smallest.
fn over_line(costs: &[f64]) -> f64 {
    costs.last().zip(costs.first()).map_or(f64::NAN, |(last, first)| last / first)
}

/// CPU microseconds per update, with so many interceptors that report [`ACTIVE`] functions each.
async fn update(run: &mut Run, interceptors: usize, updates: usize) -> Result<f64, anyhow::Error> {
    let adapter = Adapter::start_product(run).await?;
    let mut fleet = Vec::with_capacity(interceptors);
    for index in 0..interceptors {
        let snapshot = (0..ACTIVE).map(|index| named(index, 0)).collect::<Result<_, _>>()?;
        fleet.push(Reports::open(adapter.counts, &format!("fleet-{index}"), snapshot).await?);
    }
    let rounds = (updates / (interceptors * ACTIVE)).max(2);
    let mut began = 0;
    for total in 1..=rounds {
        for stream in &fleet {
            let counts = (0..ACTIVE).map(|index| numbered(index, total as u64));
            stream.report(counts.collect::<Result<_, _>>()?).await?;
        }
        if total == 1 {
            // It makes what every function keeps.
            taken_in(&adapter, interceptors * ACTIVE).await?;
            began = adapter.cpu_micros()?;
        }
    }
    taken_in(&adapter, interceptors * ACTIVE * rounds).await?;
    let all = interceptors * ACTIVE * (rounds - 1);
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    let cost = (adapter.cpu_micros()? - began) as f64 / all as f64;
    Ok(cost)
}

/// CPU microseconds and bytes per stream that KEDA opens.
async fn open_streams(run: &mut Run, count: usize) -> Result<(f64, f64), anyhow::Error> {
    let adapter = Adapter::start_product(run).await?;
    let keda = Keda::new(adapter.grpc)?;
    let open = |index| {
        let mut keda = keda.clone();
        async move { keda.stream(&function(index)).await }
    };
    // The first one brings the connection.
    let first = open(0).await?;
    settle(&adapter).await?;
    let (cpu, kib) = (adapter.cpu_micros()?, adapter.resident_kib()?);
    let opened = stream::iter(1..=count).map(open).buffer_unordered(AT_A_TIME);
    let mut streams: VecDeque<_> = opened.try_collect().await?;
    settle(&adapter).await?;
    let (cpu, kib) = (adapter.cpu_micros()? - cpu, adapter.resident_kib()?.saturating_sub(kib));
    streams.push_front(first);
    drop(streams);
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    let each = |sum: u64| sum as f64 / count as f64;
    Ok((each(cpu), each(kib * 1024)))
}

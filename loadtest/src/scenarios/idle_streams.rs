//! 1,000 idle functions with open streams: nobody says anything, and little memory is used.
//!
//! KEDA's own polls go on, as they would once per polling interval.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    control::function,
    keda::Keda,
    processes::{Adapter, Interceptor},
    run::{PATIENCE, POLL, Run},
};

const FUNCTIONS: usize = 1_000;
const REPORTS: &str = "kipper_interceptor_counts_reports_total";

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let observed = Duration::from_secs(run.size(10, 5));
    let adapter = Adapter::start_product(run).await?;
    let counts = adapter.counts.to_string();
    let interceptor = Interceptor::start(run, FUNCTIONS, &["--adapter", &counts]).await?;
    let mut keda = Keda::new(adapter.grpc)?;
    wait_for_snapshot(&mut keda).await?;

    let without_streams = adapter.resident_kib()?;
    let messages = Arc::new(AtomicUsize::new(0));
    let mut streams = JoinSet::new();
    for index in 0..FUNCTIONS {
        let mut stream = keda.stream(&function(index)).await?;
        let messages = Arc::clone(&messages);
        streams.spawn(async move {
            while let Ok(Some(_)) = stream.message().await {
                messages.fetch_add(1, Relaxed);
            }
        });
    }
    let reports = interceptor.metric(REPORTS).await?;
    let end = Instant::now() + observed;
    let mut false_active = 0;
    for index in 0..FUNCTIONS {
        false_active += usize::from(keda.is_active(&function(index)).await?);
    }
    sleep_until(end).await;
    let reported = interceptor.metric(REPORTS).await? - reports;
    anyhow::ensure!(streams.len() == FUNCTIONS, "streams were joined");
    anyhow::ensure!(streams.try_join_next().is_none(), "the adapter ended an idle stream");

    #[allow(clippy::cast_precision_loss)] // of kilobytes
    let grown = adapter.resident_kib()?.saturating_sub(without_streams) as f64 * 1024.0;
    #[allow(clippy::cast_precision_loss)] // a thousand
    run.outcome.figure("keda_stream_bytes", grown / FUNCTIONS as f64)?;
    println!("   memory of {}, observed for {observed:?}", adapter.describe());
    run.outcome.condition("idle_stream_messages", messages.load(Relaxed))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a small count
    run.outcome.condition("idle_counts_reports", reported as usize)?;
    run.outcome.condition("idle_false_active", false_active)?;
    #[allow(clippy::cast_precision_loss)] // of kilobytes
    let megabytes = adapter.resident_kib()? as f64 * 1.024 / 1e3;
    run.outcome.figure("idle_adapter_rss", megabytes)
}

/// The adapter answers once the interceptor has reported.
async fn wait_for_snapshot(keda: &mut Keda) -> Result<(), anyhow::Error> {
    let end = Instant::now() + PATIENCE;
    while let Err(status) = keda.is_active(&function(0)).await {
        anyhow::ensure!(Instant::now() < end, "the adapter keeps answering {status}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

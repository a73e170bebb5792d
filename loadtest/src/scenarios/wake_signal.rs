//! The first request for a function at zero, until KEDA's stream says `true`.
//!
//! Client → interceptor → adapter → KEDA, each a process of its own. Every wake is that of another
//! function, so that no state of an earlier one can help.

use std::time::Duration;

use kipper_measure::{client::Client, samples::Samples};
use tokio::time::{Instant, timeout};

use crate::{
    control::{function, host},
    keda::Keda,
    processes::{Adapter, Interceptor},
    requests::get,
    run::Run,
};

/// A `true` that is later than this is missing.
const MISSING_AFTER: Duration = Duration::from_secs(3);
/// Between two wakes, so that none hides in the reporter's interval of another.
const MAX_PAUSE_MS: u64 = 10;

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let wakes = run.size(2_000, 200);
    let adapter = Adapter::start(run).await?;
    let counts = adapter.counts.to_string();
    let interceptor = Interceptor::start(run, wakes, &["--adapter", &counts]).await?;
    let mut keda = Keda::new(adapter.grpc)?;
    let mut streams = Vec::with_capacity(wakes);
    for index in 0..wakes {
        streams.push(keda.stream(&function(index)).await?);
    }
    let mut missing = 0;
    let mut took = Vec::with_capacity(wakes);
    for (index, stream) in streams.iter_mut().enumerate() {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..MAX_PAUSE_MS))).await;
        let mut client = Client::connect(interceptor.proxy).await?;
        let started = Instant::now();
        client.send(&get(&host(index), "/")).await?;
        match timeout(MISSING_AFTER, stream.message()).await {
            Ok(Ok(Some(answer))) if answer.result => took.push(started.elapsed()),
            _ => missing += 1,
        }
    }
    let took: Samples = took.into_iter().collect();
    println!("   {}", took.summary());
    run.outcome.condition("wake_signal_missing", missing)?;
    run.outcome.figure("wake_signal_p99", took.quantile(0.99))
}

//! What 10,000 held requests cost the interceptor's process, and whether the next 10,000 reuse it.

#![allow(clippy::cast_precision_loss)] // of kilobytes

use super::release_10k::{answers, hold};
use crate::{
    control::{function, host},
    processes::{Function, Interceptor},
    requests::get,
    run::Run,
};

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let requests = run.size(10_000, 2_000);
    let name = function(0);
    let mut interceptor = Interceptor::start(run, 1, &[]).await?;
    let backend = Function::start(run, &[]).await?;
    // The first requests create what is there once, whatever is held later.
    interceptor.set_ready(&name, &[backend.addr]).await?;
    let warm_up = hold(interceptor.proxy, 8, |_| get(&host(0), "/")).await?;
    anyhow::ensure!(answers(warm_up).await == 0, "the function does not answer");
    interceptor.set_ready(&name, &[]).await?;
    let empty = interceptor.resident_kib()?;

    let mut rounds = Vec::new();
    let mut errors = 0;
    for round in 1..=2 {
        let held = hold(interceptor.proxy, requests, |_| get(&host(0), "/")).await?;
        interceptor.until(&name, |counts| counts.held == requests).await?;
        let full = interceptor.resident_kib()?;
        interceptor.set_ready(&name, &[backend.addr]).await?;
        errors += answers(held).await;
        interceptor.set_ready(&name, &[]).await?;
        let after = interceptor.resident_kib()?;
        println!(
            "   round {round}: {empty} KiB empty, {full} KiB with {requests} held, {after} KiB after"
        );
        // What the release of the first round needs counts to its peak.
        rounds.push(full as f64);
        rounds.push(after as f64);
    }
    run.outcome.condition("held_memory_errors", errors)?;
    run.outcome.condition("held_memory_left_over", interceptor.left_over(&name).await?)?;
    let [first, after_first, second, _] = rounds[..] else {
        anyhow::bail!("two rounds were measured")
    };
    let per_request = (first - empty as f64) * 1.024 / requests as f64;
    run.outcome.figure("held_memory_per_request", per_request)?;
    run.outcome.figure("held_memory_per_request_stretch", per_request)?;
    run.outcome.figure("held_memory_second_round", second / first.max(after_first))
}

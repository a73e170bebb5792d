//! 10,000 held requests released onto one pod whose accept queue holds 128 connections.

use std::{collections::HashSet, io, net::SocketAddr};

use kipper_measure::client::{Answer, Client};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    control::{function, host},
    processes::{Function, Interceptor},
    requests::post,
    run::{PATIENCE, Run},
};

/// Connections opened at a time, well below the proxy's own accept queue.
const OPENED_AT_A_TIME: usize = 64;
/// Of the errors of one scenario, this many are shown.
const SHOWN_ERRORS: usize = 3;

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let requests = run.size(10_000, 2_000);
    let name = function(0);
    let mut interceptor = Interceptor::start(run, 1, &[]).await?;
    let backend = Function::start(run, &["--backlog", "128"]).await?;
    let held = hold(interceptor.proxy, requests, |id| post(&host(0), &id)).await?;
    interceptor.until(&name, |counts| counts.held == requests).await?;
    let started = tokio::time::Instant::now();
    interceptor.set_ready(&name, &[backend.addr]).await?;
    let errors = answers(held).await;
    println!("   {requests} requests released in {:.2} s", started.elapsed().as_secs_f64());
    let connects = interceptor.metric("kipper_interceptor_upstream_connects_total").await?;
    println!("   over {connects} connections");

    let executed = backend.executed()?;
    let distinct: HashSet<_> = executed.iter().collect();
    run.outcome.condition("release_errors", errors)?;
    run.outcome.condition("release_executed_twice", executed.len() - distinct.len())?;
    run.outcome.condition("release_left_over", interceptor.left_over(&name).await?)
}

/// Opens connections and sends one request on each, with its number as id.
pub(super) async fn hold(
    proxy: SocketAddr,
    count: usize,
    request: impl Fn(String) -> Vec<u8>,
) -> Result<Vec<Client>, anyhow::Error> {
    let mut held = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    for index in 0..count {
        let request = request(format!("held-{index}"));
        opening.spawn(async move {
            let mut client = Client::connect(proxy).await?;
            client.send(&request).await?;
            Ok::<_, io::Error>(client)
        });
        if opening.len() >= OPENED_AT_A_TIME
            && let Some(client) = opening.join_next().await
        {
            held.push(client??);
        }
    }
    while let Some(client) = opening.join_next().await {
        held.push(client??);
    }
    Ok(held)
}

/// Reads every answer; returns how many are missing or not `200`.
pub(super) async fn answers(held: Vec<Client>) -> usize {
    let mut reading = JoinSet::new();
    for mut client in held {
        reading.spawn(async move { timeout(PATIENCE, client.answer()).await });
    }
    let is_good = |answer: &Answer| answer.status == 200;
    let mut errors = 0;
    for outcome in reading.join_all().await {
        let error = match outcome {
            Ok(Ok(answer)) if is_good(&answer) => continue,
            Ok(Ok(answer)) => {
                format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        errors += 1;
        if errors <= SHOWN_ERRORS {
            println!("   error: {error}");
        }
    }
    errors
}

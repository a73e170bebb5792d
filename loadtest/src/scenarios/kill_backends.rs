//! `kill -9` one of three backends every 2.5 s under an open loop of `POST`s at half capacity.
//!
//! The endpoints list the dead one for another second. What was in flight on it fails, visibly;
//! nothing else may fail, and nothing is executed twice.

#![allow(clippy::cast_precision_loss)] // of a few thousand requests

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use kipper_measure::samples::Samples;
use tokio::time::{Instant, sleep_until};

use crate::{
    control::{function, host},
    open_loop::{self, Fate, Load, Pace, Sent},
    processes::{Function, Interceptor},
    run::Run,
};

const CONNECTIONS: usize = 32;
const BACKENDS: usize = 3;
/// Time a backend takes for a request. With it, and not the processor, the connections limit what
/// the system can do, so that "half capacity" means the same on every machine.
const DELAY: &str = "10ms";
const KILL_INTERVAL: Duration = Duration::from_millis(2_500);
/// How long the endpoints list a backend that is dead.
const STALE: Duration = Duration::from_secs(1);
const CAPACITY_TIME: Duration = Duration::from_millis(1_500);
const SHOWN_FAILURES: usize = 5;
/// Of the requests that count.
const ID_PREFIX: &str = "id";

/// One kill.
struct Kill {
    started: Instant,
    /// From here on no request could be sent to it any more.
    dead: Instant,
    executed: Vec<String>,
}

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let duration = Duration::from_secs(run.size(20, 6));
    let name = function(0);
    let mut interceptor = Interceptor::start(run, 1, &[]).await?;
    let mut backends = Vec::new();
    for _ in 0..BACKENDS {
        backends.push(Function::start(run, &["--delay", DELAY]).await?);
    }
    let listed: Vec<SocketAddr> = backends.iter().map(|backend| backend.addr).collect();
    interceptor.set_ready(&name, &listed).await?;
    let mut load = Load {
        proxy: interceptor.proxy,
        host: host(0),
        prefix: "warm-up",
        connections: CONNECTIONS,
        duration: CAPACITY_TIME,
        pace: Pace::Closed,
    };
    let warm_up = open_loop::run(&load).await;
    anyhow::ensure!(
        warm_up.iter().all(|sent| sent.fate == Fate::Answered),
        "requests fail before any backend is killed"
    );
    let rate = warm_up.len() as f64 / CAPACITY_TIME.as_secs_f64() / 2.0;
    println!("   {rate:.0} requests/s, half of what {CONNECTIONS} connections reach");

    load = Load { prefix: ID_PREFIX, duration, pace: Pace::Steady(rate), ..load };
    let running = tokio::spawn(async move { open_loop::run(&load).await });
    let kills = kill_in_turn(run, &mut interceptor, &mut backends, duration).await?;
    let sent = running.await?;
    let mut executed = kills.iter().flat_map(|kill| kill.executed.clone()).collect::<Vec<_>>();
    for backend in &backends {
        executed.extend(backend.executed()?);
    }
    executed.retain(|id| id.starts_with(ID_PREFIX));
    report(run, &sent, &kills, &executed, rate * duration.as_secs_f64())?;
    let left_over = interceptor.left_over(&name).await?;
    run.outcome.condition("kill_backends_left_over", left_over)
}

/// Kills the oldest backend, again and again, until `duration` is over.
async fn kill_in_turn(
    run: &mut Run,
    interceptor: &mut Interceptor,
    backends: &mut Vec<Function>,
    duration: Duration,
) -> Result<Vec<Kill>, anyhow::Error> {
    let name = function(0);
    let begun = Instant::now();
    let mut kills = Vec::new();
    let mut next = begun + KILL_INTERVAL;
    while next < begun + duration {
        sleep_until(next).await;
        next += KILL_INTERVAL;
        let started = Instant::now();
        let executed = backends.remove(0).kill()?;
        kills.push(Kill { started, dead: Instant::now(), executed });
        backends.push(Function::start(run, &["--delay", DELAY]).await?);
        sleep_until(started + STALE).await;
        let listed: Vec<SocketAddr> = backends.iter().map(|backend| backend.addr).collect();
        interceptor.set_ready(&name, &listed).await?;
    }
    sleep_until(begun + duration).await;
    Ok(kills)
}

fn report(
    run: &mut Run,
    sent: &[Sent],
    kills: &[Kill],
    executed: &[String],
    due: f64,
) -> Result<(), anyhow::Error> {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for id in executed {
        *times.entry(id).or_default() += 1;
    }
    let is = |fate: fn(&Fate) -> bool| sent.iter().filter(move |sent| fate(&sent.fate));
    let answered = is(|fate| *fate == Fate::Answered);
    let not_executed = answered.clone().filter(|sent| !times.contains_key(&*sent.id)).count();
    let failed: Vec<&Sent> = is(|fate| matches!(fate, Fate::Failed(_))).collect();
    // On its way when a backend died, and sent before it was gone.
    let was_in_flight = |failed: &&&Sent| {
        let end = failed.due + failed.took;
        kills.iter().any(|kill| failed.sent < kill.dead && end > kill.started)
    };
    let elsewhere: Vec<_> = failed.iter().filter(|failed| !was_in_flight(failed)).collect();
    for failed in elsewhere.iter().take(SHOWN_FAILURES) {
        println!("   failed although no backend it was on died: {failed:?}");
    }
    let latency: Samples = answered.clone().map(|sent| sent.took).collect();
    println!(
        "   {} kills, {} sent, {} failed on a dead backend; {}",
        kills.len(),
        sent.len(),
        failed.len() - elsewhere.len(),
        latency.summary(),
    );
    run.outcome.condition("kill_backends_failed_elsewhere", elsewhere.len())?;
    let twice = times.values().filter(|times| **times > 1).count();
    run.outcome.condition("kill_backends_executed_twice", twice)?;
    run.outcome.condition("kill_backends_answered_not_executed", not_executed)?;
    run.outcome.condition("kill_backends_hung", is(|fate| *fate == Fate::Hung).count())?;
    run.outcome.figure("kill_backends_rate", answered.count() as f64 / due)
}

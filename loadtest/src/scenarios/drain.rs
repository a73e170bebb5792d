//! SIGTERM with held requests, running requests and WebSockets: none is lost, the admin port
//! answers to the end, and another interceptor takes what is new. What runs stands at its function's
//! gate until the interceptor takes no new connections.

use std::net::SocketAddr;

use kipper_measure::client::Client;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::release_10k::{answers, hold};
use crate::{
    control::{function, host},
    processes::{Function, Interceptor},
    requests::{get, post, websocket},
    run::{PATIENCE, POLL, Run},
};

const HELD: usize = 200;
const RUNNING: usize = 50;
const WEBSOCKETS: usize = 5;
const DRAIN: &[&str] = &["--drain-delay", "200ms", "--drain-deadline", "30s"];

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let [cold, slow, socket] = [0, 1, 2];
    let mut draining = Interceptor::start(run, 3, DRAIN).await?;
    let mut other = Interceptor::start(run, 3, &[]).await?;
    let fast = Function::start(run, &[]).await?;
    let backend = Function::start(run, &["--gated"]).await?;
    for interceptor in [&mut draining, &mut other] {
        interceptor.set_ready(&function(slow), &[backend.addr]).await?;
        interceptor.set_ready(&function(socket), &[fast.addr]).await?;
    }
    let held = hold(draining.proxy, HELD, |id| post(&host(cold), &id)).await?;
    let mut sockets = Vec::new();
    for _ in 0..WEBSOCKETS {
        sockets.push(open_websocket(draining.proxy, &host(socket)).await?);
    }
    let running = hold(draining.proxy, RUNNING, |id| post(&host(slow), &id)).await?;
    draining.until(&function(cold), |counts| counts.held == HELD).await?;
    draining.until(&function(slow), |counts| counts.in_flight as usize == RUNNING).await?;

    draining.terminate()?;
    let stop_asking = CancellationToken::new();
    let paths = ["/livez", "/metrics"].map(|path| get("a", path)).to_vec();
    let admin = tokio::spawn(ask(draining.admin, paths, stop_asking.clone()));
    let new = vec![get(&host(socket), "/")];
    let new = tokio::spawn(ask(other.proxy, new, stop_asking.clone()));
    draining.until_closed().await?;
    let mut lost_sockets = 0;
    for socket in &mut sockets {
        lost_sockets += usize::from(echo(socket, b"still here").await.is_err());
    }
    draining.set_ready(&function(cold), &[fast.addr]).await?;
    backend.open().await?;
    let lost = answers(held).await + answers(running).await;
    for mut socket in sockets {
        lost_sockets += usize::from(echo(&mut socket, b"goodbye").await.is_err());
    }
    stop_asking.cancel();
    let (asked, admin_errors) = admin.await?;
    let (asked_other, other_errors) = new.await?;
    println!("   admin asked {asked} times, the other interceptor {asked_other} times");
    run.outcome.condition("drain_lost", lost)?;
    run.outcome.condition("drain_lost_websockets", lost_sockets)?;
    run.outcome.condition("drain_admin_errors", admin_errors)?;
    run.outcome.condition("drain_other_errors", other_errors)?;
    let is_clean = ended(draining).await?;
    run.outcome.condition("drain_exit_code", usize::from(!is_clean))
}

/// Waits for an interceptor that has nothing left to do; true when it ends well.
async fn ended(mut interceptor: Interceptor) -> Result<bool, anyhow::Error> {
    let end = Instant::now() + PATIENCE;
    while interceptor.is_running() {
        anyhow::ensure!(Instant::now() < end, "the drain does not end");
        sleep(POLL).await;
    }
    let ended = interceptor.wait();
    if let Err(error) = &ended {
        println!("   {error:#}");
    }
    Ok(ended.is_ok())
}

async fn open_websocket(proxy: SocketAddr, host: &str) -> Result<Client, anyhow::Error> {
    let mut client = Client::connect(proxy).await?;
    let answer = client.ask(&websocket(host)).await?;
    anyhow::ensure!(answer.status == 101, "the upgrade is answered {}", answer.status);
    echo(&mut client, b"hello").await?;
    Ok(client)
}

async fn echo(socket: &mut Client, bytes: &[u8]) -> Result<(), anyhow::Error> {
    socket.send(bytes).await?;
    Ok(timeout(PATIENCE, socket.expect(bytes)).await??)
}

/// Asks for every request in turn until it is to stop: how often, and how often in vain.
async fn ask(addr: SocketAddr, requests: Vec<Vec<u8>>, stop: CancellationToken) -> (usize, usize) {
    let (mut asked, mut errors) = (0, 0);
    while !stop.is_cancelled() {
        for request in &requests {
            asked += 1;
            errors += usize::from(!is_answered(addr, request).await);
        }
        sleep(POLL).await;
    }
    (asked, errors)
}

async fn is_answered(addr: SocketAddr, request: &[u8]) -> bool {
    let ask = async { Client::connect(addr).await?.ask(request).await };
    let answer = timeout(PATIENCE, ask).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == 200))
}

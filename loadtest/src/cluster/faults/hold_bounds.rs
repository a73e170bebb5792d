//! One function fills its hold bounds while another wakes: what is too much is refused at once,
//! with a time to come back at, and the other one wakes as if nothing were.
//!
//! All of it goes through one interceptor, because each has bounds of its own.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use kipper_cluster::{Cluster, functions};
use kipper_function::Function;
use kipper_measure::samples::Samples;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    clients,
    cold::prepare,
    fleet::{self, INTERCEPTOR},
    ledger::soon_stopped,
};
use crate::{
    requests::get,
    run::{PATIENCE, Run},
};

const STUCK: &str = "stuck";
/// Nobody has it.
const ABSENT: &str = "docker.io/kipper/absent:dev";
/// `--max-held` of the interceptor, by default.
const BOUND: usize = 10_000;
/// Sent beyond the bound.
const BEYOND: usize = 100;
/// A refusal waits for nothing.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let wakes = run.size(10, 3);
    let namespace = cluster.namespace("hold_bounds").await?;
    let others = |when: &str| (0..wakes).map(|i| format!("{when}-{i}")).collect::<Vec<_>>();
    let mut functions = vec![stuck()];
    for name in others("before").iter().chain(&others("while")) {
        functions.push(soon_stopped(functions::image(name)));
    }
    let hosts = prepare(cluster, &namespace, &functions).await?;
    let Some((stuck, others)) = hosts.split_first() else { anyhow::bail!("no function") };
    let (before, while_full) = others.split_at(wakes);
    let interceptors = INTERCEPTOR.pods(cluster).await?;
    let interceptor = interceptors.first().context("no interceptor")?;
    let proxy = fleet::proxy(interceptor)?;

    let (usual, errors_before) = wake_all(proxy, before).await;
    let held = clients::send_many(proxy, stuck, BOUND).await?;
    let one = std::slice::from_ref(interceptor);
    fleet::until_held(one, &namespace, STUCK, BOUND).await?;
    let mut wrong = 0;
    for number in 0..BEYOND {
        let head = head_of_answer(proxy, &get(stuck, "/")).await?;
        if number == 0 {
            println!("   beyond the bound: {}", head.replace("\r\n", " · "));
        }
        wrong += usize::from(!is_refusal(&head));
    }
    let (meanwhile, errors) = wake_all(proxy, while_full).await;
    let still = fleet::held(one, &namespace, STUCK).await?;
    println!("   {still} held; usual wake {}; while full {}", usual.summary(), meanwhile.summary());
    drop(held);
    fleet::until_held(one, &namespace, STUCK, 0).await?;
    run.outcome.condition("hold_bounds_not_refused", wrong)?;
    run.outcome.condition("hold_bounds_given_up", BOUND.saturating_sub(still))?;
    run.outcome.condition("hold_bounds_other_errors", errors_before + errors)?;
    run.outcome.figure("hold_bounds_other_wake", meanwhile.quantile(0.5) / usual.quantile(0.5))
}

/// Its image is nowhere, so whoever asks waits.
fn stuck() -> Function {
    let mut function = functions::image(STUCK);
    function.spec.image = Some(ABSENT.to_owned());
    function.spec.timeouts.get_or_insert_default().cold_start_seconds = Some(300);
    soon_stopped(function)
}

/// Wakes one after the other; how long each took, and how many were not answered.
async fn wake_all(proxy: SocketAddr, hosts: &[String]) -> (Samples, usize) {
    let (mut times, mut errors) = (Vec::new(), 0);
    for host in hosts {
        let (answer, took) = clients::ask(proxy, host, PATIENCE).await;
        times.push(took);
        errors += usize::from(!clients::is_answered("a wake", &answer));
    }
    (times.into_iter().collect(), errors)
}

fn is_refusal(head: &str) -> bool {
    let has_time = head.lines().any(|line| line.to_ascii_lowercase().starts_with("retry-after: "));
    head.starts_with("HTTP/1.1 503 ") && has_time
}

async fn head_of_answer(proxy: SocketAddr, request: &[u8]) -> Result<String, anyhow::Error> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.write_all(request).await?;
    let mut head = Vec::new();
    let reading = async {
        while !head.windows(4).any(|end| end == b"\r\n\r\n")
            && stream.read_buf(&mut head).await? > 0
        {}
        Ok::<_, std::io::Error>(())
    };
    // One that is held instead is no refusal either.
    if let Ok(read) = timeout(REFUSED_WITHIN, reading).await {
        read?;
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    Ok(head.split("\r\n\r\n").next().unwrap_or_default().to_owned())
}

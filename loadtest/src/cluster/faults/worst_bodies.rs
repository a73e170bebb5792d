//! The bodies that cost a Node and a Python pod most, from many clients at once, under the memory limit
//! that a function has by default: no pod is killed for it, and another function is served.

#![allow(clippy::cast_precision_loss)] // of bytes

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kipper_cluster::{Cluster, Namespace, functions};
use kipper_measure::{
    client::Client,
    processes::{Size, kib},
    samples::Samples,
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    pods::{self, processes_of},
    traffic::{replicas, serve},
};
use crate::{
    open_loop::{self, Fate, Load, Pace},
    run::{PATIENCE, Run},
};

const RUNTIMES: [(&str, &str); 2] = [
    // What came stays until the answer is there.
    ("node", "module.exports = async (event) => typeof event\n"),
    ("python", "def handler(event):\n    return type(event).__name__\n"),
];
/// A function's `limits.memory`, unless it says otherwise: 256Mi.
const LIMIT: f64 = 268_435_456.0;
/// A quarter of it is for bodies; what each byte, and each that may begin a value, counts.
const FOR_BODIES: usize = 64 << 20;
const BYTE_COST: usize = 4;
const MARK_COST: usize = 108;
/// Hostile clients of each function, on a connection each.
const CLIENTS: usize = 32;
/// Of the other function, per second.
const RATE: f64 = 50.0;

/// A body that repeats a piece.
struct Shape {
    type_: &'static str,
    begin: &'static str,
    piece: &'static str,
    end: &'static str,
    /// Bytes of the piece that count as marks.
    marks: usize,
}

/// What was found to take most memory for what is counted.
const SHAPES: &[Shape] = &[
    shape("application/json", "[", "[],", "[]]", 2),
    shape("application/json", "[", "{\"a\":{}},", "0]", 4),
    shape("application/json", "[", "1.5,", "0]", 1),
    shape("application/json", "\"", "\u{1f600}x", "\"", 0),
    shape("application/x-www-form-urlencoded", "", "a&", "a=", 1),
    shape("text/plain", "", "x", "", 0),
];

const fn shape(
    type_: &'static str,
    begin: &'static str,
    piece: &'static str,
    end: &'static str,
    marks: usize,
) -> Shape {
    Shape { type_, begin, piece, end, marks }
}

impl Shape {
    /// A request that takes one part in `parts` of the memory for bodies.
    fn request(&self, host: &str, parts: usize) -> Bytes {
        let cost = self.piece.len() * BYTE_COST + self.marks * MARK_COST;
        // A little less: the ends count too.
        let pieces = FOR_BODIES / parts / cost - FOR_BODIES / parts / cost / 100;
        let body = format!("{}{}{}", self.begin, self.piece.repeat(pieces), self.end);
        let (type_, length) = (self.type_, body.len());
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\ncontent-type: {type_}\r\ncontent-length: {length}\r\n\r\n"
        );
        (head + &body).into()
    }
}

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let duration = run.size(Duration::from_secs(60), Duration::from_secs(12));
    let namespace = cluster.namespace("worst_bodies").await?;
    let beside = cluster.namespace("worst_bodies_other").await?;
    let other = serve(cluster, &beside, &replicas(functions::image("other"), 1), 1).await?;
    let (mut took, mut failed) = (Vec::new(), 0);
    for (runtime, code) in RUNTIMES {
        let function = replicas(functions::inline(runtime, runtime, code, &[]), 1);
        let host = serve(cluster, &namespace, &function, 1).await?;
        let until = Instant::now() + duration;
        let mut hostile = JoinSet::new();
        for number in 0..CLIENTS {
            let shape = &SHAPES[number % SHAPES.len()];
            // From one that takes all there is to many that share it.
            let request = shape.request(&host, 1 << (number / SHAPES.len()));
            hostile.spawn(attack(cluster.interceptor, request, until));
        }
        let load = Load {
            proxy: cluster.interceptor,
            host: other.clone(),
            prefix: runtime,
            connections: 4,
            duration,
            pace: Pace::Steady(RATE),
        };
        let sent = open_loop::run(&load).await;
        failed += sent.iter().filter(|sent| sent.fate != Fate::Answered).count();
        let samples: Samples = sent.iter().map(|sent| sent.took).collect();
        let mut told = Told::default();
        for one in hostile.join_all().await {
            told.add(&one);
        }
        let pod = the_pod(&namespace, runtime).await?;
        let peak = peak(&pod)?;
        println!(
            "   {runtime}: {told:?}; {:.0} MB at most; other function {}",
            peak / 1e6,
            samples.summary()
        );
        took.push(samples.quantile(0.99));
        run.outcome.figure(&format!("worst_bodies_{runtime}"), peak / LIMIT)?;
        run.outcome.condition(&format!("worst_bodies_{runtime}_restarts"), restarts(&pod))?;
        run.outcome.condition(&format!("worst_bodies_{runtime}_untold"), told.untold)?;
        anyhow::ensure!(told.taken > 0, "no body was taken, so none was measured");
    }
    run.outcome.condition("worst_bodies_other_failed", failed)?;
    run.outcome.figure("worst_bodies_other_p99", took.into_iter().fold(0.0, f64::max))
}

/// What hostile clients were told.
#[derive(Debug, Default)]
struct Told {
    taken: usize,
    /// 413 and 503.
    refused: usize,
    /// Anything else.
    untold: usize,
}

impl Told {
    fn add(&mut self, more: &Self) {
        self.taken += more.taken;
        self.refused += more.refused;
        self.untold += more.untold;
    }
}

/// Sends the request again and again until then.
async fn attack(proxy: SocketAddr, request: Bytes, until: Instant) -> Told {
    let mut told = Told::default();
    while Instant::now() < until {
        let ask = async { Client::connect(proxy).await?.ask(&request).await };
        match timeout(PATIENCE, ask).await {
            Ok(Ok(answer)) if answer.status == 200 => told.taken += 1,
            Ok(Ok(answer)) if matches!(answer.status, 413 | 503) => told.refused += 1,
            other => {
                println!("   told: {other:?}");
                told.untold += 1;
            }
        }
    }
    told
}

async fn the_pod(namespace: &Namespace, function: &str) -> Result<Pod, anyhow::Error> {
    let pods = pods::of(namespace, function).await?;
    pods.into_iter().next().context("the function has no pod")
}

fn restarts(pod: &Pod) -> usize {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| usize::try_from(status.restart_count).unwrap_or_default()).sum()
}

/// The most that the processes of the pod's container ever had, in bytes.
fn peak(pod: &Pod) -> Result<f64, anyhow::Error> {
    let mut peak = 0;
    for pid in processes_of(pods::container(pod)?)? {
        peak += kib(u32::try_from(pid)?, Size::Peak)?;
    }
    Ok(peak as f64 * 1024.0)
}

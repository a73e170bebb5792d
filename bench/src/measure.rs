//! One measurement: a load generator against one peer, and what the peer cost meanwhile.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    sync::mpsc::Receiver,
    time::Duration,
};

use anyhow::Context as _;
use clap::ValueEnum as _;
use kipper_measure::{
    child::ChildProcess,
    load::{Direction, MEASURED, MEASURING, Method, Report},
    processes::ProcessTree,
};

use crate::{
    budget::Budget,
    h2load::{self, Target},
    output,
    peer::{HOST, Peer, Setup},
};

/// The load of one measurement.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What is sent.
    pub load: Load,
    /// Time before the measured window.
    pub warm_up: Duration,
    /// Length of the measured window.
    pub duration: Duration,
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum Load {
    /// HTTP/1.1 in the clear.
    Http1(Http1),
    /// Over TLS, by h2load.
    Tls {
        /// Connections.
        connections: usize,
        /// HTTP/2 streams of each; `None` is HTTP/1.1 with keep-alive.
        streams: Option<usize>,
    },
    /// One large body.
    Transfer {
        /// Which way.
        direction: Direction,
        /// Its size.
        bytes: usize,
    },
}

/// Small requests over HTTP/1.1.
#[derive(Clone, Debug)]
pub struct Http1 {
    /// Connections at a time.
    pub connections: usize,
    /// Every request has a connection of its own.
    pub once: bool,
    /// Requests per second of an open loop; `None` is a closed loop.
    pub rate: Option<u64>,
    /// Request method.
    pub method: Method,
    /// Bytes of body of a POST.
    pub body_bytes: u32,
    /// Hosts the connections take turns with.
    pub hosts: Vec<String>,
}

impl Http1 {
    /// GETs over so many keep-alive connections.
    pub fn keep_alive(connections: usize) -> Self {
        Self {
            connections,
            once: false,
            rate: None,
            method: Method::Get,
            body_bytes: 0,
            hosts: vec![HOST.to_owned()],
        }
    }
}

/// What one measurement yields.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What the load generator saw.
    pub report: Report,
    /// CPU time of the peer per completed request, in microseconds.
    pub cpu_micros_per_request: Option<f64>,
    /// Memory of the peer at the end, in KiB.
    pub memory_kib: Option<u64>,
}

/// Measures one peer once.
///
/// # Errors
/// When the peer or the load generator fails, or the budget ends.
pub fn measure(
    peer: &mut Peer,
    shape: &Shape,
    setup: &Setup,
    budget: &Budget,
) -> Result<Sample, anyhow::Error> {
    match &shape.load {
        Load::Http1(http1) => {
            announced(peer, load_command(peer.addr, http1, shape, setup), setup, budget)
        }
        Load::Transfer { direction, bytes } => {
            let command = transfer_command(peer.addr, *direction, *bytes, setup);
            announced(peer, command, setup, budget)
        }
        Load::Tls { connections, streams } => {
            let addr = peer.tls.context("the peer does not end TLS")?;
            let (connections, streams) = (*connections, *streams);
            let target = Target { addr, host: HOST, connections, streams };
            by_h2load(peer, &target, shape, setup, budget)
        }
    }
}

/// CPU time and memory of a peer's processes, of which [`PeerKind::Direct`](crate::peer::PeerKind)
/// has none. The set of processes is taken before the window: listing all of /proc takes its time.
struct Cost(Option<ProcessTree>);

impl Cost {
    fn cpu(&self) -> Option<u64> {
        self.0.as_ref().map(ProcessTree::cpu_micros)
    }

    fn memory_kib(&self) -> Option<u64> {
        self.0.as_ref().map(ProcessTree::memory_kib)
    }
}

/// Runs a load of our own, which says when its window begins and ends.
fn announced(
    peer: &mut Peer,
    command: Command,
    setup: &Setup,
    budget: &Budget,
) -> Result<Sample, anyhow::Error> {
    let mut load = ChildProcess::spawn("load", command, &setup.dir)?;
    let lines = output::lines(load.take_stdout().context("the load generator has no stdout")?)?;
    let cost = Cost(peer.processes()?);
    if !expect(&lines, MEASURING, budget)? {
        return Err(failed(load));
    }
    let before = cost.cpu();
    if !expect(&lines, MEASURED, budget)? {
        return Err(failed(load));
    }
    let after = cost.cpu();
    let memory_kib = cost.memory_kib();
    let Some(report) = output::next(&lines, budget)? else {
        return Err(failed(load));
    };
    load.wait()?;
    let report: Report = serde_json::from_str(&report).context("read the load's report")?;
    Ok(sample(report, before, after, memory_kib))
}

fn by_h2load(
    peer: &mut Peer,
    target: &Target<'_>,
    shape: &Shape,
    setup: &Setup,
    budget: &Budget,
) -> Result<Sample, anyhow::Error> {
    let requests = h2load::warm_up(target, shape.warm_up, shape.duration, &setup.dir, budget)?;
    let cost = Cost(peer.processes()?);
    let before = cost.cpu();
    let report = h2load::send(target, requests, &setup.dir, budget)?;
    Ok(sample(report, before, cost.cpu(), cost.memory_kib()))
}

fn sample(
    report: Report,
    before: Option<u64>,
    after: Option<u64>,
    memory_kib: Option<u64>,
) -> Sample {
    let cpu_micros_per_request = before
        .zip(after)
        .filter(|_| report.completed > 0)
        .map(|(before, after)| after.saturating_sub(before) as f64 / report.completed as f64);
    Sample { report, cpu_micros_per_request, memory_kib }
}

fn load_command(addr: SocketAddr, http1: &Http1, shape: &Shape, setup: &Setup) -> Command {
    let mut command = Command::new(&setup.bench);
    let method = http1.method.to_possible_value();
    command
        .args(["load", "--announce", "--addr", &addr.to_string()])
        .args(["--connections", &http1.connections.to_string()])
        .args(["--warm-up", &humantime::format_duration(shape.warm_up).to_string()])
        .args(["--duration", &humantime::format_duration(shape.duration).to_string()])
        .args(["--method", method.as_ref().map_or("get", |method| method.get_name())])
        .args(["--body-bytes", &http1.body_bytes.to_string()])
        .stdout(Stdio::piped());
    if http1.once {
        command.arg("--once");
    }
    if let Some(rate) = http1.rate {
        command.args(["--mode", "open", "--rate", &rate.to_string()]);
    }
    for host in &http1.hosts {
        command.args(["--host", host]);
    }
    command
}

fn transfer_command(
    addr: SocketAddr,
    direction: Direction,
    bytes: usize,
    setup: &Setup,
) -> Command {
    let mut command = Command::new(&setup.bench);
    let direction = direction.to_possible_value();
    command
        .args(["transfer", "--announce", "--addr", &addr.to_string(), "--host", HOST])
        .args(["--direction", direction.as_ref().map_or("down", |value| value.get_name())])
        .args(["--bytes", &bytes.to_string()])
        .stdout(Stdio::piped());
    command
}

fn expect(lines: &Receiver<String>, word: &str, budget: &Budget) -> Result<bool, anyhow::Error> {
    Ok(output::next(lines, budget)?.is_some_and(|line| line == word))
}

fn failed(load: ChildProcess) -> anyhow::Error {
    match load.wait() {
        Ok(()) => anyhow::anyhow!("the load generator printed something unexpected"),
        Err(error) => error,
    }
}

//! One measurement: a load generator against one peer, and what the peer cost meanwhile.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use clap::ValueEnum as _;

use crate::{
    budget::Budget,
    child::ChildProcess,
    load::{MEASURED, MEASURING, Method, Report},
    peer::{Peer, Setup},
};

/// How often a wait for the load generator asks the budget.
const BUDGET_POLL: Duration = Duration::from_millis(50);
/// Lines of the load generator that wait to be read; it prints three.
const MAX_LINES: usize = 16;

/// The load of one measurement.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Keep-alive connections.
    pub connections: usize,
    /// Time before the measured window.
    pub warm_up: Duration,
    /// Length of the measured window.
    pub duration: Duration,
    /// Requests per second of an open loop; `None` is a closed loop.
    pub rate: Option<u64>,
    /// Request method.
    pub method: Method,
    /// Hosts the connections take turns with.
    pub hosts: Vec<String>,
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
    let command = load_command(peer.addr, shape, setup);
    let mut load = ChildProcess::spawn("load", command, &setup.dir)?;
    let lines = lines(load.take_stdout().context("the load generator has no stdout")?)?;

    // The set of processes is taken before the window: listing all of /proc takes its time.
    let processes = peer.processes()?;
    let cpu = || processes.as_ref().map(|processes| processes.cpu_micros());
    let Some(before) = expect(&lines, MEASURING, budget)?.then(&cpu) else {
        return Err(failed(load));
    };
    let Some(after) = expect(&lines, MEASURED, budget)?.then(&cpu) else {
        return Err(failed(load));
    };
    let memory_kib = processes.as_ref().map(|processes| processes.memory_kib());
    let Some(report) = next(&lines, budget)? else {
        return Err(failed(load));
    };
    load.wait()?;

    let report: Report = serde_json::from_str(&report).context("read the load's report")?;
    let cpu_micros_per_request = before
        .zip(after)
        .filter(|_| report.completed > 0)
        .map(|(before, after)| after.saturating_sub(before) as f64 / report.completed as f64);
    Ok(Sample { report, cpu_micros_per_request, memory_kib })
}

fn load_command(addr: SocketAddr, shape: &Shape, setup: &Setup) -> Command {
    let mut command = Command::new(&setup.bench);
    let method = shape.method.to_possible_value();
    command
        .args(["load", "--announce", "--addr", &addr.to_string()])
        .args(["--connections", &shape.connections.to_string()])
        .args(["--warm-up", &humantime::format_duration(shape.warm_up).to_string()])
        .args(["--duration", &humantime::format_duration(shape.duration).to_string()])
        .args(["--method", method.as_ref().map_or("get", |method| method.get_name())])
        .stdout(Stdio::piped());
    if let Some(rate) = shape.rate {
        command.args(["--mode", "open", "--rate", &rate.to_string()]);
    }
    for host in &shape.hosts {
        command.args(["--host", host]);
    }
    command
}

/// Reads lines on a thread of their own, so that waiting for one can be given up. The thread ends
/// with the child.
fn lines(stdout: ChildStdout) -> Result<Receiver<String>, anyhow::Error> {
    let (tx, rx) = mpsc::sync_channel(MAX_LINES);
    thread::Builder::new().name("load-output".to_owned()).spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if tx.send(line).is_err() {
                return;
            }
        }
    })?;
    Ok(rx)
}

/// The next line; `None` when the load generator closed its stdout.
fn next(lines: &Receiver<String>, budget: &Budget) -> Result<Option<String>, anyhow::Error> {
    loop {
        budget.check()?;
        match lines.recv_timeout(BUDGET_POLL) {
            Ok(line) => return Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

fn expect(lines: &Receiver<String>, word: &str, budget: &Budget) -> Result<bool, anyhow::Error> {
    Ok(next(lines, budget)?.is_some_and(|line| line == word))
}

fn failed(load: ChildProcess) -> anyhow::Error {
    match load.wait() {
        Ok(()) => anyhow::anyhow!("the load generator printed something unexpected"),
        Err(error) => error,
    }
}

//! A cold start of `hello.js` under `kip dev`, against the time the same runtime needs to listen
//! when it is started by hand; in turns, because both depend on what else the machine does.
//!
//! The first is a whole request: held, woken through the adapter, started, answered.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use kipper_measure::{
    child::ChildProcess,
    client::Client,
    figures::{Ratio, median},
    processes::ProcessTree,
};
use kipper_servers::free_address;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    requests::get,
    run::{PATIENCE, POLL, Run},
};

const HELLO: &str = "module.exports = async () => ({ statusCode: 200, body: 'hello' });\n";
const HOST: &str = "fn-hello-localhost";
/// Between two looks whether a process listens that is started by hand.
const CONNECT_INTERVAL: Duration = Duration::from_micros(500);

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let rounds = run.size(20, 5);
    let source = run.dir().join("hello.js");
    std::fs::write(&source, HELLO)?;
    let (kip, addr) = start_kip(run, &source).await?;
    let by_hand = ByHand { node: node_itself()?, entry: unpacked(run.dir())?, source };
    let (mut waked, mut listened, mut errors) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        until_zero(&kip).await?;
        listened.push(Some(by_hand.listen(run).await?));
        let started = Instant::now();
        let request = get(HOST, "/");
        let ask = async { Client::connect(addr).await?.ask(&request).await };
        let answer = timeout(PATIENCE, ask).await;
        let is_good = answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == 200));
        waked.push(is_good.then(|| started.elapsed().as_secs_f64() * 1e3));
        errors += usize::from(!is_good);
    }
    run.outcome.condition("dev_cold_start_errors", errors)?;
    let shown =
        |values: &[Option<f64>]| median(values.iter().copied().flatten()).unwrap_or(f64::INFINITY);
    println!(
        "   median of {rounds}: kip dev {:.1} ms, node listens after {:.1} ms",
        shown(&waked),
        shown(&listened)
    );
    let ratio = Ratio::by_round(waked, listened).context("nothing was measured")?;
    run.outcome.figure("dev_cold_start", ratio.median)
}

async fn start_kip(
    run: &mut Run,
    source: &Path,
) -> Result<(ChildProcess, SocketAddr), anyhow::Error> {
    let kip = run.binary().with_file_name("kip");
    anyhow::ensure!(kip.exists(), "{} is missing: build it first", kip.display());
    let addr = free_address()?;
    let mut command = Command::new(kip);
    command
        .args(["dev", "--no-watch", "--idle-timeout", "1s", "--polling-interval", "200ms"])
        .args(["--port", &addr.port().to_string()])
        .arg(source)
        // Its runtimes are unpacked where this run can find them.
        .env("XDG_CACHE_HOME", run.dir())
        .stdout(Stdio::null());
    let name = run.unique("kip");
    let mut child = ChildProcess::spawn(&name, command, run.dir())?;
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(addr).await.is_err() {
        child.check_running()?;
        anyhow::ensure!(Instant::now() < end, "kip dev does not listen");
        sleep(POLL).await;
    }
    Ok((child, addr))
}

/// Waits until no function process is left.
async fn until_zero(kip: &ChildProcess) -> Result<(), anyhow::Error> {
    let end = Instant::now() + PATIENCE;
    while ProcessTree::of(kip.pid())?.pids().len() > 1 {
        anyhow::ensure!(Instant::now() < end, "kip dev never scales to zero{}", kip.log_tail());
        sleep(POLL).await;
    }
    Ok(())
}

/// The interpreter itself: the one on the search path may be a script of a version switcher.
fn node_itself() -> Result<PathBuf, anyhow::Error> {
    let output = Command::new("node").args(["-p", "process.execPath"]).output().context("node")?;
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// The entry point of the runtime that `kip dev` unpacked.
fn unpacked(cache: &Path) -> Result<PathBuf, anyhow::Error> {
    for entry in std::fs::read_dir(cache.join("kipper"))? {
        let main = entry?.path().join("node/main.js");
        if main.exists() {
            return Ok(main);
        }
    }
    anyhow::bail!("kip dev has not unpacked its runtimes")
}

/// The same runtime as `kip dev` starts it, without `kip dev`.
struct ByHand {
    node: PathBuf,
    entry: PathBuf,
    source: PathBuf,
}

impl ByHand {
    /// Milliseconds from the start of the process until it accepts a connection.
    async fn listen(&self, run: &mut Run) -> Result<f64, anyhow::Error> {
        let addr = free_address()?;
        let mut command = Command::new(&self.node);
        command
            .arg(&self.entry)
            .env("KIPPER_FUNCTION_PATH", &self.source)
            .env("KIPPER_WORK_DIR", run.dir())
            .env("KIPPER_HOST", "127.0.0.1")
            .env("PORT", addr.port().to_string())
            .stdout(Stdio::null());
        let name = run.unique("node");
        let started = Instant::now();
        let mut child = ChildProcess::spawn(&name, command, run.dir())?;
        while TcpStream::connect(addr).await.is_err() {
            child.check_running()?;
            anyhow::ensure!(started.elapsed() < PATIENCE, "node does not listen");
            sleep(CONNECT_INTERVAL).await;
        }
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }
}

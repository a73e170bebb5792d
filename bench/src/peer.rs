//! The proxies of a comparison, each started as it would be in production, on a loopback port.
//!
//! All forward to the same backend, use as many workers, keep upstream connections alive, log no
//! request, and tell the backend who asked (`X-Forwarded-For`, `X-Forwarded-Proto`), as every
//! ingress does; only the TCP mode of HAProxy, the floor, passes bytes without looking at them.

mod haproxy;
mod hyper;
mod interceptor;
mod nginx;

use std::{
    fmt,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::ValueEnum;

pub use interceptor::{Interceptor, RouteTable};

use crate::{
    budget::Budget,
    child::{ChildProcess, free_addr},
    proc_stat::ProcessTree,
};

/// The host every function of a run is reached by, unless a route table has several.
pub const HOST: &str = "fn-bench-localhost";
/// How often a peer is started anew because its port was taken meanwhile.
const START_ATTEMPTS: usize = 5;
/// How long a peer may take until it answers through to the backend.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Keep-alive never ends within a run: reconnecting is not what is compared.
const KEEPALIVE_REQUESTS: u64 = 1_000_000_000;
/// Connections a peer accepts, far above what any run opens.
const MAX_CONNECTIONS: usize = 8192;

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum PeerKind {
    /// Our interceptor
    Kipper,
    /// nginx, `proxy_pass` with an upstream keep-alive pool
    Nginx,
    /// HAProxy, `mode http` with `http-reuse always`
    HaproxyHttp,
    /// HAProxy, `mode tcp`: the floor, as it reads no HTTP
    HaproxyTcp,
    /// A bare hyper proxy on one work-stealing runtime
    Hyper,
    /// A bare hyper proxy with one runtime per core
    HyperPerCore,
    /// No proxy: what load generator and backend can do
    Direct,
}

impl PeerKind {
    /// Speaks HTTP, so that its open-loop latency is worth comparing.
    pub fn is_http_proxy(self) -> bool {
        !matches!(self, Self::HaproxyTcp | Self::Direct)
    }
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// What every peer of a run is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where configurations and logs go.
    pub dir: PathBuf,
    /// The binary of this harness, which is also backend, load generator and hyper proxy.
    pub bench: PathBuf,
    /// Workers of every peer.
    pub workers: NonZeroUsize,
    /// How our own proxy is started.
    pub interceptor: Interceptor,
    /// What every proxy forwards to.
    pub backend: SocketAddr,
}

/// A peer that answers.
#[derive(Debug)]
pub struct Peer {
    /// Where it listens.
    pub addr: SocketAddr,
    process: Option<ChildProcess>,
}

impl Peer {
    /// Starts a peer and waits until it forwards.
    ///
    /// # Errors
    /// When it is not installed, does not start, or does not answer in time.
    pub fn start(kind: PeerKind, setup: &Setup, budget: &Budget) -> Result<Self, anyhow::Error> {
        if kind == PeerKind::Direct {
            return Ok(Self { addr: setup.backend, process: None });
        }
        start(&kind.to_string(), HOST, setup, budget, |addr| command(kind, setup, addr))
    }

    /// Starts our interceptor with a route table of its own; `name` tells it from others.
    ///
    /// # Errors
    /// As [`Peer::start`].
    pub fn start_interceptor(
        name: &str,
        table: &RouteTable,
        setup: &Setup,
        budget: &Budget,
    ) -> Result<Self, anyhow::Error> {
        let host = table.hosts().first().context("a route table without hosts")?.clone();
        start(name, &host, setup, budget, |addr| {
            setup.interceptor.command(&setup.dir.join(name), addr, table)
        })
    }

    /// Its processes; `None` for [`PeerKind::Direct`].
    ///
    /// # Errors
    /// When it has ended, or `/proc` cannot be read.
    pub fn processes(&mut self) -> Result<Option<ProcessTree>, anyhow::Error> {
        let Some(process) = &mut self.process else {
            return Ok(None);
        };
        process.check_running()?;
        Ok(Some(ProcessTree::of(process.pid())?))
    }
}

/// The backend of a run, with its own process.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub addr: SocketAddr,
    process: ChildProcess,
}

impl Backend {
    /// Starts the backend.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(bench: &Path, dir: &Path, budget: &Budget) -> Result<Self, anyhow::Error> {
        let (process, addr) = start_process("backend", HOST, dir, budget, |addr| {
            let mut command = Command::new(bench);
            command.arg("backend").arg("--listen").arg(addr.to_string());
            Ok(command)
        })?;
        Ok(Self { addr, process })
    }

    /// # Errors
    /// When it has ended.
    pub fn check_running(&mut self) -> Result<(), anyhow::Error> {
        self.process.check_running()
    }
}

fn command(kind: PeerKind, setup: &Setup, addr: SocketAddr) -> Result<Command, anyhow::Error> {
    let dir = setup.dir.join(kind.to_string());
    match kind {
        PeerKind::Nginx => nginx::command(&dir, addr, setup),
        PeerKind::HaproxyHttp => haproxy::command(&dir, addr, setup, haproxy::Mode::Http),
        PeerKind::HaproxyTcp => haproxy::command(&dir, addr, setup, haproxy::Mode::Tcp),
        PeerKind::Hyper => Ok(hyper::command(addr, setup, "shared")),
        PeerKind::HyperPerCore => Ok(hyper::command(addr, setup, "per-core")),
        PeerKind::Kipper => {
            let table = RouteTable::one(HOST, setup.backend);
            setup.interceptor.command(&dir, addr, &table)
        }
        PeerKind::Direct => anyhow::bail!("the backend is no process of a peer"),
    }
}

fn start(
    name: &str,
    host: &str,
    setup: &Setup,
    budget: &Budget,
    command: impl Fn(SocketAddr) -> Result<Command, anyhow::Error>,
) -> Result<Peer, anyhow::Error> {
    let (process, addr) = start_process(name, host, &setup.dir, budget, command)?;
    Ok(Peer { addr, process: Some(process) })
}

/// Starts a process on a free port and waits until it answers; starts over with another port when
/// it ends before that, as somebody else may have taken the port.
fn start_process(
    name: &str,
    host: &str,
    dir: &Path,
    budget: &Budget,
    command: impl Fn(SocketAddr) -> Result<Command, anyhow::Error>,
) -> Result<(ChildProcess, SocketAddr), anyhow::Error> {
    let mut attempt = 1;
    loop {
        let addr = free_addr()?;
        let mut command = command(addr)?;
        command.stdout(Stdio::null());
        let mut process = ChildProcess::spawn(name, command, dir)?;
        match wait_until_serving(&mut process, addr, host, budget)? {
            Started::Serving => return Ok((process, addr)),
            Started::Ended(_) if attempt < START_ATTEMPTS => attempt += 1,
            Started::Ended(error) => return Err(error),
        }
    }
}

enum Started {
    Serving,
    Ended(anyhow::Error),
}

fn wait_until_serving(
    process: &mut ChildProcess,
    addr: SocketAddr,
    host: &str,
    budget: &Budget,
) -> Result<Started, anyhow::Error> {
    let end = Instant::now() + START_TIMEOUT;
    loop {
        budget.check()?;
        let probed = probe(addr, host);
        // Checked after the probe: an answer on the port counts only if it came from this process,
        // which still runs then.
        if let Err(error) = process.check_running() {
            return Ok(Started::Ended(error));
        }
        match probed {
            Ok(200) => return Ok(Started::Serving),
            _ if Instant::now() < end => thread::sleep(START_POLL),
            Ok(status) => anyhow::bail!("{addr} answers {status}{}", process.log_tail()),
            Err(error) => {
                return Err(error).with_context(|| format!("reach {addr}{}", process.log_tail()));
            }
        }
    }
}

/// The status of one request.
fn probe(addr: SocketAddr, host: &str) -> Result<u16, std::io::Error> {
    let mut stream = TcpStream::connect_timeout(&addr, PROBE_TIMEOUT)?;
    stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut status_line = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status_line)?;
    let digits = status_line.last_chunk::<3>().and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| std::io::Error::other("no status"))
}

/// Finds a program Debian installs outside of an ordinary user's path.
fn system_binary(name: &str) -> PathBuf {
    let sbin = Path::new("/usr/sbin").join(name);
    if sbin.exists() { sbin } else { PathBuf::from(name) }
}

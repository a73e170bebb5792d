//! The proxies of a comparison, each started as it would be in production, on a loopback port.
//!
//! All forward to the same backend, use as many workers, keep upstream connections alive, log no
//! request, and tell the backend who asked (`X-Forwarded-For`, `X-Forwarded-Proto`), as every
//! ingress does; only the TCP mode of HAProxy, the floor, passes bytes without looking at them.

mod envoy;
mod haproxy;
mod hyper;
mod interceptor;
mod nginx;
mod setup;

use std::{
    fmt,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::ValueEnum;
use kipper_measure::{child::ChildProcess, processes::ProcessTree};
use kipper_servers::free_address;

pub use interceptor::{Interceptor, RouteTable};
use setup::Listen;
pub use setup::{Certificate, HOST, Setup};

use crate::budget::Budget;

/// How often a peer is started anew because its port was taken meanwhile.
const START_ATTEMPTS: usize = 5;
/// How long a peer may take until it answers through to the backend.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// Envoy with a static configuration
    Envoy,
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

    /// Ends TLS, and speaks HTTP/2 over it.
    pub fn ends_tls(self) -> bool {
        matches!(self, Self::Kipper | Self::Nginx | Self::HaproxyHttp | Self::Envoy)
    }
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// A peer that answers.
#[derive(Debug)]
pub struct Peer {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where it listens for TLS.
    pub tls: Option<SocketAddr>,
    process: Option<ChildProcess>,
}

impl Peer {
    /// Starts a peer and waits until it forwards.
    ///
    /// # Errors
    /// When it is not installed, does not start, or does not answer in time.
    pub fn start(kind: PeerKind, setup: &Setup, budget: &Budget) -> Result<Self, anyhow::Error> {
        if kind == PeerKind::Direct {
            return Ok(Self { addr: setup.backend, tls: None, process: None });
        }
        let command = |listen| command(kind, setup, listen);
        let peer = start(&kind.to_string(), HOST, setup, budget, command)?;
        Ok(Self { tls: peer.tls.filter(|_| kind.ends_tls()), ..peer })
    }

    /// Starts our interceptor with a route table of its own; `name` tells it from others.
    ///
    /// # Errors
    /// As [`Peer::start`].
    pub fn start_interceptor(
        name: &str,
        interceptor: &Interceptor,
        table: &RouteTable,
        setup: &Setup,
        budget: &Budget,
    ) -> Result<Self, anyhow::Error> {
        let host = table.hosts().first().context("a route table without hosts")?.clone();
        start(name, &host, setup, budget, |listen| {
            interceptor.command(&setup.dir.join(name), listen.plain, table)
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
        let (process, listen) = start_process("backend", HOST, dir, budget, |listen| {
            let mut command = Command::new(bench);
            command.arg("backend").arg("--listen").arg(listen.plain.to_string());
            Ok(command)
        })?;
        Ok(Self { addr: listen.plain, process })
    }

    /// # Errors
    /// When it has ended.
    pub fn check_running(&mut self) -> Result<(), anyhow::Error> {
        self.process.check_running()
    }
}

fn command(kind: PeerKind, setup: &Setup, listen: Listen) -> Result<Command, anyhow::Error> {
    let dir = setup.dir.join(kind.to_string());
    match kind {
        PeerKind::Nginx => nginx::command(&dir, listen, setup),
        PeerKind::HaproxyHttp => haproxy::command(&dir, listen, setup, haproxy::Mode::Http),
        PeerKind::HaproxyTcp => haproxy::command(&dir, listen, setup, haproxy::Mode::Tcp),
        PeerKind::Envoy => envoy::command(&dir, listen, setup),
        PeerKind::Hyper => Ok(hyper::command(listen, setup, "shared")),
        PeerKind::HyperPerCore => Ok(hyper::command(listen, setup, "per-core")),
        PeerKind::Kipper => {
            let table = RouteTable::one(HOST, setup.backend);
            let mut command = setup.interceptor.command(&dir, listen.plain, &table)?;
            command.args(["--tls-listen", &listen.tls.to_string()]);
            command.arg("--tls-cert-dir").arg(&setup.certificate.dir);
            Ok(command)
        }
        PeerKind::Direct => anyhow::bail!("the backend is not a process of a peer"),
    }
}

fn start(
    name: &str,
    host: &str,
    setup: &Setup,
    budget: &Budget,
    command: impl Fn(Listen) -> Result<Command, anyhow::Error>,
) -> Result<Peer, anyhow::Error> {
    let (process, listen) = start_process(name, host, &setup.dir, budget, command)?;
    Ok(Peer { addr: listen.plain, tls: Some(listen.tls), process: Some(process) })
}

/// Starts a process on free ports and waits until it answers; starts over with other ports when it
/// ends before that, as another process may have taken one.
fn start_process(
    name: &str,
    host: &str,
    dir: &Path,
    budget: &Budget,
    command: impl Fn(Listen) -> Result<Command, anyhow::Error>,
) -> Result<(ChildProcess, Listen), anyhow::Error> {
    let mut attempt = 1;
    loop {
        let listen = Listen { plain: free_address()?, tls: free_address()? };
        let mut command = command(listen)?;
        command.stdout(Stdio::null());
        let mut process = ChildProcess::spawn(name, command, dir)?;
        match wait_until_serving(&mut process, listen.plain, host, budget)? {
            Started::Serving => return Ok((process, listen)),
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

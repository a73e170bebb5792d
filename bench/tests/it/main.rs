//! The harness against real processes: small, and without a word about time.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use kipper_bench::{
    budget::Budget,
    measure::{Http1, Load, Shape, measure},
    peer::{Backend, Certificate, HOST, Interceptor, Peer, PeerKind, Setup},
};
use kipper_measure::{
    child::ChildProcess,
    load::{Errors, Report},
    processes::ProcessTree,
};

/// Generous: only a hang may reach it.
const PATIENCE: Duration = Duration::from_secs(60);

fn bench() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_kipper-bench"))
}

struct Fixture {
    dir: tempfile::TempDir,
    budget: Budget,
    backend: Backend,
}

impl Fixture {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let budget = Budget::new(PATIENCE);
        let backend = Backend::start(&bench(), dir.path(), &budget).unwrap();
        Self { dir, budget, backend }
    }

    fn setup(&self) -> Setup {
        Setup {
            dir: self.dir.path().to_owned(),
            bench: bench(),
            workers: NonZeroUsize::new(2).unwrap(),
            interceptor: Interceptor { binary: "unused".into(), args: Vec::new() },
            backend: self.backend.addr,
            certificate: Certificate::create(self.dir.path()).unwrap(),
        }
    }
}

/// A load of a fixed number of requests; the window is only its upper bound.
fn load(dir: &Path, addr: SocketAddr, more: &[&str]) -> Report {
    report("load", dir, addr, &[&["--host", HOST, "--duration", "50s"], more].concat())
}

/// What a role of the harness reports.
fn report(role: &str, dir: &Path, addr: SocketAddr, args: &[&str]) -> Report {
    let mut command = Command::new(bench());
    command.args([role, "--addr", &addr.to_string()]).args(args).stdout(Stdio::piped());
    let mut child = ChildProcess::spawn("load", command, dir).unwrap();
    let mut line = String::new();
    BufReader::new(child.take_stdout().unwrap()).read_line(&mut line).unwrap();
    child.wait().unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn fifty_requests_through_every_peer() {
    let fixture = Fixture::start();
    let peers = [
        PeerKind::Nginx,
        PeerKind::HaproxyHttp,
        PeerKind::HaproxyTcp,
        PeerKind::Hyper,
        PeerKind::HyperPerCore,
        PeerKind::Envoy,
        PeerKind::Direct,
    ];
    for kind in peers {
        let mut peer = Peer::start(kind, &fixture.setup(), &fixture.budget).unwrap();
        for sends in [&["--method", "get"][..], &["--method", "post"], &["--once"]] {
            let more = [&["--requests", "50", "--connections", "4"], sends].concat();
            let report = load(fixture.dir.path(), peer.addr, &more);
            assert_eq!((report.completed, report.errors), (50, Errors::default()), "{kind}");
            let latency = report.latency_us;
            assert!(0.0 < latency.p50 && latency.p50 <= latency.p99 && latency.p99 <= latency.max);
        }
        let processes = peer.processes().unwrap().map(|processes| processes.pids().len());
        let expected = match kind {
            PeerKind::Direct => None,
            // A master and its two workers.
            PeerKind::Nginx => Some(3),
            _ => Some(1),
        };
        assert_eq!(processes, expected, "{kind}");
    }
}

/// Every shape once, in small size, against every peer that takes it. The interceptor is a process
/// of its own as well and takes part where it was built beside this harness.
#[test]
fn every_shape_of_load_is_carried_by_its_peers() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let peers = "nginx,haproxy_http,haproxy_tcp,envoy,hyper,hyper_per_core,direct";
    let ours = if Interceptor::beside(&bench()).exists() { "kipper," } else { "" };
    let mut command = Command::new(bench());
    command
        .args(["proxy", "--quick", "--open-loop-rate", "200", "--peer", &format!("{ours}{peers}")])
        .env("TMPDIR", dir.path())
        .stdout(Stdio::piped());
    let mut run = ChildProcess::spawn("run", command, dir.path()).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut run.take_stdout().unwrap(), &mut text).unwrap();
    run.wait().unwrap();
    assert!(!text.contains("warning"), "{text}");
    let rows = text.lines().filter(|line| line.starts_with("nginx ")).count();
    assert_eq!(rows, 11, "{text}");
}

#[test]
fn a_large_body_arrives_whole_both_ways() {
    let fixture = Fixture::start();
    for direction in ["down", "up"] {
        let args = ["--direction", direction, "--bytes", "5000001", "--host", HOST];
        let report = report("transfer", fixture.dir.path(), fixture.backend.addr, &args);
        assert_eq!((report.completed, report.errors), (1, Errors::default()), "{direction}");
    }
}

#[test]
fn an_open_loop_sends_what_was_asked_for() {
    let fixture = Fixture::start();
    let more = ["--mode", "open", "--rate", "500", "--requests", "50", "--connections", "2"];
    let report = load(fixture.dir.path(), fixture.backend.addr, &more);
    assert_eq!((report.completed, report.errors), (50, Errors::default()));
}

#[test]
fn a_measurement_yields_cpu_and_memory() {
    let fixture = Fixture::start();
    let setup = fixture.setup();
    let mut peer = Peer::start(PeerKind::Hyper, &setup, &fixture.budget).unwrap();
    let shape = Shape {
        load: Load::Http1(Http1::keep_alive(2)),
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(200),
    };
    let sample = measure(&mut peer, &shape, &setup, &fixture.budget).unwrap();
    assert!(sample.report.completed > 0);
    assert_eq!(sample.report.errors, Errors::default());
    assert!(sample.cpu_micros_per_request.is_some());
    assert!(sample.memory_kib.unwrap() > 0);
}

#[test]
fn a_backend_that_is_gone_ends_the_load() {
    let fixture = Fixture::start();
    let addr = fixture.backend.addr;
    let (dir, backend) = (fixture.dir, fixture.backend);
    drop(backend);
    let mut command = Command::new(bench());
    command.args(["load", "--addr", &addr.to_string(), "--host", HOST]).stdout(Stdio::null());
    let child = ChildProcess::spawn("load", command, dir.path()).unwrap();
    let error = child.wait().unwrap_err().to_string();
    assert!(error.contains("error: connect to the target: Connection refused"), "{error}");
}

#[test]
fn a_delayed_backend_answers_every_connection() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(bench());
    command.args(["backend", "--delay", "5ms", "--workers", "2"]).stdout(Stdio::piped());
    let mut backend = ChildProcess::spawn("backend", command, dir.path()).unwrap();
    let mut line = String::new();
    BufReader::new(backend.take_stdout().unwrap()).read_line(&mut line).unwrap();
    let addr = line.trim().strip_prefix("listening ").unwrap().parse().unwrap();
    let report = load(dir.path(), addr, &["--requests", "40", "--connections", "8"]);
    assert_eq!((report.completed, report.errors), (40, Errors::default()));
    assert!(report.latency_us.p50 >= 5_000.0, "the delay is waited for");
}

/// True once the process is gone, or a zombie that only waits to be reaped.
fn is_gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
        Err(_) => true,
    }
}

#[test]
fn nothing_outlives_a_run_that_is_interrupted_or_killed() {
    for signal in ["INT", "KILL"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new(bench());
        command
            .args(["proxy", "--peer", "nginx,haproxy_tcp", "--shape", "c16"])
            .env("TMPDIR", dir.path())
            .stdout(Stdio::piped());
        let mut run = ChildProcess::spawn("run", command, dir.path()).unwrap();
        let mut lines = BufReader::new(run.take_stdout().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "c16"), "the peers never started");
        let tree = ProcessTree::of(run.pid()).unwrap();
        assert!(tree.pids().len() >= 6, "run, backend, nginx and its workers, HAProxy: {tree:?}");

        let pid = run.pid().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let error = run.wait().unwrap_err().to_string();
        assert!(signal == "KILL" || error.contains("error: interrupted"), "{error}");
        let patience = Instant::now() + PATIENCE;
        while !tree.pids().iter().copied().all(is_gone) {
            assert!(Instant::now() < patience, "{tree:?} lives on after {signal}");
            std::thread::yield_now();
        }
    }
}

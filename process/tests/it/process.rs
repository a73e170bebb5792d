//! Signals, exit codes and the log, seen from outside a process.
//!
//! The process is this test binary, started again to run only the test [`child`], which does
//! nothing unless the environment names a role for it.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use clap::Parser;
use kipper_process::{
    exit,
    signals::{EndSignal, shutdown_token, shutdown_token_or},
    telemetry::{self, LogArgs, LogFormat},
};

const ROLE: &str = "KIPPER_PROCESS_TEST_ROLE";
/// How long a child lives when the signal it waits for never comes.
const CHILD_LIFETIME: Duration = Duration::from_secs(30);

#[derive(Debug, Parser)]
#[command(version = "1.2.3")]
struct ChildConfig {
    #[arg(long)]
    listen: std::net::SocketAddr,
}

#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    match role.as_str() {
        "wait" => wait(),
        "override" => wait_for_override(),
        "parse" => parse(),
        "fail" => fail(),
        "panic" => log_a_panic(),
        other => panic!("unknown role {other}"),
    }
}

/// Says what it has reached on stdout, one word per line, so that the parent needs no sleeps.
fn wait() {
    runtime().block_on(async {
        telemetry::init(&LogArgs::default()).unwrap();
        let shutdown = shutdown_token().unwrap();
        println!("started");
        shutdown.cancelled().await;
        println!("draining");
        // Only a second signal ends this child before its lifetime does.
        tokio::time::sleep(CHILD_LIFETIME).await;
    });
}

fn wait_for_override() {
    runtime().block_on(async {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let shutdown = shutdown_token_or(|forced| tx.send(forced).unwrap()).unwrap();
        println!("started");
        shutdown.cancelled().await;
        println!("draining");
        assert_eq!(rx.await.unwrap(), EndSignal::Interrupt);
        println!("forced");
    });
}

fn parse() {
    let _: ChildConfig = exit::parse();
}

fn fail() {
    let error = anyhow::Error::new(std::io::Error::other("in use")).context("bind 127.0.0.1:80");
    let code = exit::main_result(Err(error));
    assert_eq!(code, ExitCode::FAILURE);
}

fn log_a_panic() {
    let args = LogArgs { log_format: LogFormat::Json, ..LogArgs::default() };
    telemetry::init(&args).unwrap();
    telemetry::init(&args).unwrap_err();
    let worker = std::thread::spawn(|| panic!("two\nlines"));
    worker.join().unwrap_err();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A child of one role, killed by its own pid when the test ends before it does.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(role: &str) -> Started {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::child", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Started(child)
}

impl Started {
    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.0.stdout.take().unwrap()).lines().map(Result::unwrap)
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn code(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

/// Skips what the test harness prints around the child's own words.
fn expect(lines: &mut impl Iterator<Item = String>, word: &str) {
    assert!(lines.any(|line| line.ends_with(word)), "the child never said {word}");
}

#[test]
fn the_first_signal_drains_and_the_second_ends_at_once() {
    for (second, code) in [("INT", 130), ("TERM", 143)] {
        let mut child = start("wait");
        let mut lines = child.lines();
        expect(&mut lines, "started");
        child.signal("TERM");
        expect(&mut lines, "draining");
        child.signal(second);
        assert_eq!(child.code(), Some(code));
        let log = child.stderr();
        assert!(log.contains("shutting down signal=\"SIGTERM\""), "{log}");
        assert!(log.contains("forced to end before the drain finished"), "{log}");
        assert!(!log.contains('\u{1b}'), "no colour without a terminal: {log}");
    }
}

#[test]
fn the_reaction_to_the_second_signal_can_be_replaced() {
    let mut child = start("override");
    let mut lines = child.lines();
    expect(&mut lines, "started");
    child.signal("INT");
    expect(&mut lines, "draining");
    child.signal("INT");
    expect(&mut lines, "forced");
    lines.for_each(drop);
    assert_eq!(child.code(), Some(0));
}

#[test]
fn a_usage_error_is_one_line_and_exit_64() {
    // The child's command line is the harness's own, which `ChildConfig` does not know.
    let mut child = start("parse");
    let text = child.stderr();
    assert_eq!(child.code(), Some(64), "{text}");
    assert_eq!(text, "error: unexpected argument '--exact' found\n");
}

#[test]
fn a_failure_is_one_line() {
    let mut child = start("fail");
    let text = child.stderr();
    assert_eq!(text, "error: bind 127.0.0.1:80: in use\n");
    assert_eq!(child.code(), Some(0));
}

#[test]
fn a_panic_is_one_log_event() {
    let mut child = start("panic");
    let text = child.stderr();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(r#""message":"panicked: two\nlines""#), "{text}");
    assert!(text.contains(r#""level":"ERROR""#), "{text}");
    assert_eq!(child.code(), Some(0));
}

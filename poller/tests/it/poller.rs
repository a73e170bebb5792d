//! Pollers of a test: in this process, or as processes that can be killed.

use std::{
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use clap::Parser as _;
use kipper_poller::{Config, Error, Metrics, run, run_embedded};
use prometheus::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Flags every poller of the tests has.
pub(crate) fn flags(target: &str) -> Vec<String> {
    let fixed = [
        "--function=fn",
        "--namespace=ns",
        "--poll-interval=20ms",
        "--admin-listen=127.0.0.1:0",
        "--drain-listen=127.0.0.1:0",
    ];
    let mut flags: Vec<String> = fixed.into_iter().map(str::to_owned).collect();
    flags.push(format!("--target-url={target}"));
    flags
}

/// Where nobody listens: for pollers that are to end before they deliver anything.
pub(crate) const TARGET: &str = "http://127.0.0.1:9/event";

/// A poller with these flags ends at once, for the user to mend, and says so.
pub(crate) async fn refused(flags: &[String], says: &str) {
    let error = Poller::start(flags).error().await;
    assert!(error.is_usage(), "{error}");
    assert!(error.to_string().contains(says), "{says:?} in {error}");
}

/// A poller in this process.
pub(crate) struct Poller {
    stop: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

impl Poller {
    pub(crate) fn start(flags: &[String]) -> Self {
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(config(flags), stop.clone()));
        Self { stop, running }
    }

    /// Signals it and waits until everything it holds is marked or released.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    /// Why it ended by itself.
    pub(crate) async fn error(self) -> Error {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.running).await;
        ended.expect("the poller runs").unwrap().expect_err("the poller ended in peace")
    }
}

fn config(flags: &[String]) -> Config {
    let flags = ["kipper-poll".to_owned()].into_iter().chain(flags.iter().cloned());
    Config::try_parse_from(flags).unwrap()
}

/// A poller in this process, without ports, that can be looked into.
pub(crate) struct Embedded {
    poller: Poller,
    registry: Registry,
}

impl Embedded {
    pub(crate) fn start(flags: &[String]) -> Self {
        let (config, stop, registry) = (config(flags), CancellationToken::new(), Registry::new());
        let metrics = Metrics::register(&registry).unwrap();
        let shutdown = stop.clone();
        let running =
            tokio::spawn(async move { run_embedded(&config, metrics, || {}, shutdown).await });
        Self { poller: Poller { stop, running }, registry }
    }

    /// Whether it has claimed anything that it has not released.
    pub(crate) fn is_holding(&self) -> bool {
        let families = self.registry.gather();
        let held = families.iter().find(|family| family.name() == "kipper_poll_held").unwrap();
        held.get_metric()[0].get_gauge().get_value() > 0.0
    }

    /// As [`Poller::stop`].
    pub(crate) async fn stop(self) {
        self.poller.stop().await;
    }
}

/// A poller that is a process of its own. Dropping it kills it.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(flags: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kipper-poll"));
        Self(command.args(flags).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Runs one that ends by itself.
    pub(crate) fn output(flags: &[String]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kipper-poll")).args(flags).output().unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

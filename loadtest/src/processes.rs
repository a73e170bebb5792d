//! The processes of a scenario, seen from the scenario: start, steer, signal, end.
//!
//! Each ends by its own pid when it is dropped. They must be started from the future that the
//! main thread blocks on: a child gets SIGTERM when the *thread* that started it ends.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use kipper_measure::{
    child::ChildProcess,
    client::Client,
    exposition,
    processes::{self, ProcessTree, Size},
};
use kipper_servers::free_address;
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::Instant,
};

use crate::{
    control::{Counts, Endpoint, Listening, Request, function},
    requests::get,
    run::{PATIENCE, POLL, Run},
    serve::function::OPEN,
};

/// How long a process may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Starts `command` and reads the one line it prints.
async fn start<T: DeserializeOwned>(
    run: &mut Run,
    name: &str,
    mut command: Command,
) -> Result<(ChildProcess, T), anyhow::Error> {
    let name = run.unique(name);
    command.stdout(Stdio::piped());
    let mut child = ChildProcess::spawn(&name, command, run.dir())?;
    let stdout = child.take_stdout().context("a process without stdout")?;
    let stdout = tokio::process::ChildStdout::from_std(stdout)?;
    let mut line = String::new();
    let mut reader = BufReader::new(stdout);
    let read = tokio::time::timeout(START_TIMEOUT, reader.read_line(&mut line)).await;
    read.with_context(|| format!("{name} does not start{}", child.log_tail()))??;
    let said = serde_json::from_str(&line)
        .with_context(|| format!("{name} said {line:?}{}", child.log_tail()))?;
    Ok((child, said))
}

fn signal(child: &ChildProcess, signal: Signal) -> Result<(), anyhow::Error> {
    let pid = i32::try_from(child.pid()).ok().and_then(Pid::from_raw).context("no pid")?;
    Ok(kill_process(pid, signal)?)
}

/// An interceptor with functions `fn-0`, `fn-1`, … that have no endpoints until they are set.
pub(crate) struct Interceptor {
    child: ChildProcess,
    pub(crate) proxy: SocketAddr,
    pub(crate) admin: SocketAddr,
    control: BufReader<TcpStream>,
}

impl Interceptor {
    pub(crate) async fn start(
        run: &mut Run,
        functions: usize,
        more: &[&str],
    ) -> Result<Self, anyhow::Error> {
        let mut command = Command::new(run.binary());
        command
            .args(["serve-interceptor", "--listen", "127.0.0.1:0", "--log-level", "warn"])
            .args(["--functions", &functions.to_string()])
            .args(more);
        let (child, Listening { proxy, admin, control }) =
            start(run, "interceptor", command).await?;
        let control = TcpStream::connect(control).await?;
        control.set_nodelay(true)?;
        let mut interceptor = Self { child, proxy, admin, control: BufReader::new(control) };
        // Answered once its routes are in place: a request that came sooner would find no function.
        interceptor.set_endpoints(&function(0), Vec::new()).await?;
        Ok(interceptor)
    }

    /// Sets the endpoints of a function.
    pub(crate) async fn set_endpoints(
        &mut self,
        function: &str,
        endpoints: Vec<Endpoint>,
    ) -> Result<(), anyhow::Error> {
        let function = function.to_owned();
        self.tell(&Request::Endpoints { function, endpoints }).await.map(|_| ())
    }

    /// Sets endpoints that are ready.
    pub(crate) async fn set_ready(
        &mut self,
        function: &str,
        addresses: &[SocketAddr],
    ) -> Result<(), anyhow::Error> {
        let ready = |address: &SocketAddr| Endpoint { address: *address, ready: true };
        self.set_endpoints(function, addresses.iter().map(ready).collect()).await
    }

    /// What it counts for a function now.
    pub(crate) async fn counts(&mut self, function: &str) -> Result<Counts, anyhow::Error> {
        self.tell(&Request::Counts { function: function.to_owned() }).await
    }

    /// Waits until `wanted` holds; returns when it did, or an error when it never did.
    pub(crate) async fn until(
        &mut self,
        function: &str,
        wanted: impl Fn(Counts) -> bool,
    ) -> Result<Instant, anyhow::Error> {
        let end = Instant::now() + PATIENCE;
        loop {
            let counts = self.counts(function).await?;
            let now = Instant::now();
            if wanted(counts) {
                return Ok(now);
            }
            anyhow::ensure!(now < end, "{function} stays at {counts:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// What is still open a while after everything should be over.
    pub(crate) async fn left_over(&mut self, function: &str) -> Result<usize, anyhow::Error> {
        let _ = self.until(function, |counts| counts.open() == 0).await;
        Ok(self.counts(function).await?.open())
    }

    async fn tell(&mut self, request: &Request) -> Result<Counts, anyhow::Error> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.control.get_mut().write_all(&line).await?;
        let mut answer = String::new();
        let read = self.control.read_line(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.context("the interceptor hangs")??;
        serde_json::from_str(&answer)
            .with_context(|| format!("the interceptor is gone{}", self.child.log_tail()))
    }

    pub(crate) fn resident_kib(&self) -> Result<u64, anyhow::Error> {
        processes::kib(self.child.pid(), Size::Resident)
    }

    /// The value of an unlabelled metric.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64, anyhow::Error> {
        metric(self.admin, name).await
    }

    /// Resolves once it takes no new connections.
    pub(crate) async fn until_closed(&self) -> Result<(), anyhow::Error> {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(self.proxy).await.is_ok() {
            anyhow::ensure!(Instant::now() < end, "the interceptor goes on accepting");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) -> Result<(), anyhow::Error> {
        signal(&self.child, Signal::TERM)
    }

    /// Is it still running?
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.check_running().is_ok()
    }

    /// Waits for its end. Blocks its thread: to be called when it is about to end.
    pub(crate) fn wait(self) -> Result<(), anyhow::Error> {
        self.child.wait()
    }

    /// `kill -9`; returns when the process is gone.
    pub(crate) fn kill(self) -> Result<(), anyhow::Error> {
        signal(&self.child, Signal::KILL)?;
        let _killed = self.child.wait();
        Ok(())
    }
}

/// What a process is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Setting<'a> {
    Flag(&'a str),
    Variable(&'a str, &'a str),
}

/// A scaler-adapter on ports that stay the same over restarts.
pub(crate) struct Adapter {
    child: Option<ChildProcess>,
    binary: PathBuf,
    role: Option<&'static str>,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    admin: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) counts: SocketAddr,
}

impl Adapter {
    /// Starts it from this binary, which is built from the same sources as everything else.
    pub(crate) async fn start(run: &mut Run) -> Result<Self, anyhow::Error> {
        Self::configured(run, &[]).await
    }

    /// The same, set up beyond what every scenario needs.
    pub(crate) async fn configured(
        run: &mut Run,
        settings: &[Setting<'_>],
    ) -> Result<Self, anyhow::Error> {
        let role = Some("serve-adapter");
        Self::start_binary(run, run.binary().to_owned(), role, settings).await
    }

    /// Starts the product's own binary where it was built beside this one: its memory is its own.
    pub(crate) async fn start_product(run: &mut Run) -> Result<Self, anyhow::Error> {
        let product = run.binary().with_file_name("kipper-scaler-adapter");
        if product.exists() {
            return Self::start_binary(run, product, None, &[]).await;
        }
        Self::start(run).await
    }

    async fn start_binary(
        run: &mut Run,
        binary: PathBuf,
        role: Option<&'static str>,
        settings: &[Setting<'_>],
    ) -> Result<Self, anyhow::Error> {
        let (mut flags, mut environment) = (Vec::new(), Vec::new());
        for setting in settings {
            match *setting {
                Setting::Flag(flag) => flags.push(flag.to_owned()),
                Setting::Variable(name, value) => {
                    environment.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        let [admin, grpc, counts] = [free_address()?, free_address()?, free_address()?];
        let mut adapter =
            Self { child: None, binary, role, flags, environment, admin, grpc, counts };
        adapter.start_again(run).await?;
        Ok(adapter)
    }

    /// Starts it after its end.
    pub(crate) async fn start_again(&mut self, run: &mut Run) -> Result<(), anyhow::Error> {
        let mut command = Command::new(&self.binary);
        command
            .args(self.role)
            .args(["--grpc-listen", &self.grpc.to_string()])
            .args(["--counts-listen", &self.counts.to_string()])
            .args(["--admin-listen", &self.admin.to_string()])
            .args(["--drain-delay", "0s", "--log-level", "warn"])
            .args(&self.flags)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null());
        let name = run.unique("adapter");
        let mut child = ChildProcess::spawn(&name, command, run.dir())?;
        let end = Instant::now() + START_TIMEOUT;
        while !is_ready(self.admin).await {
            child.check_running()?;
            anyhow::ensure!(Instant::now() < end, "the adapter does not start");
            tokio::time::sleep(POLL).await;
        }
        self.child = Some(child);
        Ok(())
    }

    /// What runs: the product's own binary, or this one in its role.
    pub(crate) fn describe(&self) -> String {
        let name = self.binary.file_name().unwrap_or_default();
        name.display().to_string()
    }

    pub(crate) fn resident_kib(&self) -> Result<u64, anyhow::Error> {
        processes::kib(self.child()?.pid(), Size::Resident)
    }

    /// User and system time so far.
    pub(crate) fn cpu_micros(&self) -> Result<u64, anyhow::Error> {
        Ok(ProcessTree::of(self.child()?.pid())?.cpu_micros())
    }

    /// The value of an unlabelled metric.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64, anyhow::Error> {
        metric(self.admin, name).await
    }

    /// SIGSTOP.
    pub(crate) fn hang(&self) -> Result<(), anyhow::Error> {
        signal(self.child()?, Signal::STOP)
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) -> Result<(), anyhow::Error> {
        signal(self.child()?, Signal::CONT)
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) {
        self.child = None;
    }

    /// `kill -9`; returns when the process is gone.
    pub(crate) fn kill(&mut self) -> Result<(), anyhow::Error> {
        signal(self.child()?, Signal::KILL)?;
        if let Some(child) = self.child.take() {
            let _killed = child.wait();
        }
        Ok(())
    }

    fn child(&self) -> Result<&ChildProcess, anyhow::Error> {
        self.child.as_ref().context("the adapter does not run")
    }
}

async fn metric(admin: SocketAddr, name: &str) -> Result<f64, anyhow::Error> {
    let answer = Client::connect(admin).await?.ask(&get("a", "/metrics")).await?;
    let text = String::from_utf8(answer.body)?;
    exposition::sample(&text, name).with_context(|| format!("no metric {name}"))
}

async fn is_ready(admin: SocketAddr) -> bool {
    let ask = async { Client::connect(admin).await?.ask(&get("a", "/readyz")).await };
    ask.await.is_ok_and(|answer| answer.status == 200)
}

/// A function, with the file of what it executed.
pub(crate) struct Function {
    child: ChildProcess,
    pub(crate) addr: SocketAddr,
    executed: PathBuf,
}

impl Function {
    pub(crate) async fn start(run: &mut Run, more: &[&str]) -> Result<Self, anyhow::Error> {
        let name = run.unique("executed");
        let executed = run.dir().join(name);
        let mut command = Command::new(run.binary());
        command.args(["serve-function", "--executed"]).arg(&executed).args(more);
        let (child, addr) = start(run, "function", command).await?;
        Ok(Self { child, addr, executed })
    }

    /// Lets through what waits at its gate, and everything after it.
    pub(crate) async fn open(&self) -> Result<(), anyhow::Error> {
        let answer = Client::connect(self.addr).await?.ask(&get("a", OPEN)).await?;
        anyhow::ensure!(answer.status == 200, "the gate is answered with {}", answer.status);
        Ok(())
    }

    /// The ids it executed, in order.
    pub(crate) fn executed(&self) -> Result<Vec<String>, anyhow::Error> {
        let text = fs::read_to_string(&self.executed)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// `kill -9`; returns the file's ids when the process is gone.
    pub(crate) fn kill(self) -> Result<Vec<String>, anyhow::Error> {
        signal(&self.child, Signal::KILL)?;
        let executed = self.executed.clone();
        let _killed = self.child.wait();
        let text = fs::read_to_string(executed)?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

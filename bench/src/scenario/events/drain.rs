//! One poller process from its start until everything pending is handled, marked and released.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use kipper_measure::{
    child::ChildProcess,
    exposition::sample,
    processes::{self, ProcessTree, Size},
};
use kipper_servers::free_address;

use super::bed::Bed;

/// The function whose pollers these are.
pub(super) const NAMESPACE: &str = "bench";
pub(super) const FUNCTION: &str = "fn";
/// How often the poller's metrics are read. They cost it a tenth of a millisecond.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A poller at work.
pub(super) struct Poller {
    admin: SocketAddr,
    begin: Instant,
    process: ChildProcess,
}

/// What a drain cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drained {
    /// Events per second, from the start of the process.
    pub(super) rate: f64,
    /// CPU time of the poller per event, in microseconds.
    pub(super) cpu_micros: f64,
    /// Most memory the poller ever had (`VmHWM`), in MiB.
    pub(super) peak_mib: f64,
}

impl Poller {
    /// Starts one with these arguments beside those that all have.
    pub(super) fn start(bed: &Bed, handler: &str, args: &[String]) -> Result<Self, anyhow::Error> {
        let admin = free_address()?;
        let mut command = Command::new(&bed.poller);
        command
            .args(["--namespace", NAMESPACE, "--function", FUNCTION, "--log-level", "warn"])
            .args(["--target-url", handler, "--admin-listen", &admin.to_string()])
            .args(args)
            .stdout(Stdio::null());
        let begin = Instant::now();
        let process = ChildProcess::spawn("kipper-poll", command, bed.dir())?;
        Ok(Self { admin, begin, process })
    }

    /// Waits until it has handled so many and holds none.
    pub(super) fn drain(&mut self, bed: &Bed, events: usize) -> Result<Drained, anyhow::Error> {
        loop {
            bed.budget.check()?;
            self.process.check_running()?;
            let metrics = metrics(self.admin, "/metrics").unwrap_or_default();
            let handled = sample(&metrics, "kipper_poll_deliveries_total{outcome=\"done\"}");
            let held = sample(&metrics, "kipper_poll_held");
            if handled.is_some_and(|handled| handled >= events as f64) && held == Some(0.0) {
                let seconds = self.begin.elapsed().as_secs_f64();
                anyhow::ensure!(handled == Some(events as f64), "handled {handled:?} of {events}");
                let pid = self.process.pid();
                let cpu = ProcessTree::of(pid)?.cpu_micros() as f64;
                return Ok(Drained {
                    rate: events as f64 / seconds,
                    cpu_micros: cpu / events as f64,
                    peak_mib: processes::kib(pid, Size::Peak)? as f64 / 1024.0,
                });
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// What a server tells of itself. In HTTP/1.0, which has no chunks.
pub(super) fn metrics(addr: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, READ_TIMEOUT)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: bench\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

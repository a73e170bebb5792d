//! One poller process from its start until everything pending is handled, marked and released.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::Bed;
use crate::{
    child::{ChildProcess, free_addr},
    proc_stat::ProcessTree,
};

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
        let admin = free_addr()?;
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
            let handled = value(&metrics, "kipper_poll_deliveries_total{outcome=\"done\"}");
            let held = value(&metrics, "kipper_poll_held");
            if handled.is_some_and(|handled| handled >= events as f64) && held == Some(0.0) {
                let seconds = self.begin.elapsed().as_secs_f64();
                anyhow::ensure!(handled == Some(events as f64), "handled {handled:?} of {events}");
                let pid = self.process.pid();
                let cpu = ProcessTree::of(pid)?.cpu_micros() as f64;
                return Ok(Drained {
                    rate: events as f64 / seconds,
                    cpu_micros: cpu / events as f64,
                    peak_mib: peak_mib(pid)?,
                });
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// Most memory a process ever had.
fn peak_mib(pid: u32) -> Result<f64, anyhow::Error> {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    Ok(kib.context("the kernel does not tell VmHWM")? / 1024.0)
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

/// The value of a sample, named with its labels.
fn value(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn samples_are_found_by_their_whole_name() {
        let text = "# HELP held x\nheld_total 3\nheld 2\ndone{outcome=\"a\"} 7\n";
        assert_eq!(value(text, "held"), Some(2.0));
        assert_eq!(value(text, "done{outcome=\"a\"}"), Some(7.0));
        assert_eq!(value(text, "hel"), None);
    }
}

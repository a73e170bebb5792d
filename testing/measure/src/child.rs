//! Child processes that cannot outlive a run.
//!
//! Each is stopped by its own pid when its guard is dropped, on success, error and panic alike;
//! should the harness itself be killed, the kernel sends the child SIGTERM. What a child writes to
//! stderr goes to a file, whose end becomes part of the error when the child dies.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{
    Pid, Signal, kill_process, kill_process_group, set_parent_process_death_signal,
};

/// How long a child may take to end after SIGTERM before its whole group is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a child that ends is looked at.
const STOP_POLL: Duration = Duration::from_millis(5);
/// How much of a child's log an error quotes.
const LOG_TAIL_LINES: usize = 8;

/// A running child. Dropping it stops it.
#[derive(Debug)]
pub struct ChildProcess {
    name: String,
    child: Child,
    pid: Pid,
    log: PathBuf,
}

impl ChildProcess {
    /// Starts `command` with its stderr in `<dir>/<name>.log`.
    ///
    /// The parent-death signal is bound to the *thread* that calls this: it must live as long as
    /// the run.
    ///
    /// # Errors
    /// When the log cannot be created or the program cannot be started.
    pub fn spawn(name: &str, mut command: Command, dir: &Path) -> Result<Self, anyhow::Error> {
        let log = dir.join(format!("{name}.log"));
        command.stdin(Stdio::null()).stderr(File::create(&log)?);
        // A group of its own: Ctrl-C in a terminal reaches only the harness, which then stops its
        // children in order, and a stubborn child is killed with its own children.
        command.process_group(0);
        die_with_parent(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        let pid = Pid::from_child(&child);
        Ok(Self { name: name.to_owned(), child, pid, log })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child's stdout, if it was piped and not taken before.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for a child that ends by itself.
    ///
    /// # Errors
    /// When it fails, with the end of its log.
    pub fn wait(mut self) -> Result<(), anyhow::Error> {
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "{} failed ({status}){}", self.name, self.log_tail());
        Ok(())
    }

    /// # Errors
    /// When the child has ended, with the end of its log.
    pub fn check_running(&mut self) -> Result<(), anyhow::Error> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                anyhow::bail!("{} ended ({status}){}", self.name, self.log_tail())
            }
        }
    }

    /// The last lines of the child's log, to be appended to an error.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        if tail.is_empty() { String::new() } else { format!(": {}", tail.join(" | ")) }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let end = Instant::now() + STOP_TIMEOUT;
        // A child that was reaped already has no pid any more that could be signalled.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = kill_process(self.pid, Signal::TERM);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(STOP_POLL);
        }
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Has the kernel send SIGTERM to the child when the thread that starts it ends.
#[expect(unsafe_code, reason = "std offers no safe way to run code between fork and exec")]
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: the closure makes one system call, which is async-signal-safe; it neither allocates
    // nor locks.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        command
    }

    /// True once the process is gone or a zombie that nobody has reaped yet.
    fn is_gone(pid: &str) -> bool {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
            Err(_) => true,
        }
    }

    #[test]
    fn dropping_stops_a_stubborn_child_and_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; sleep 60 & echo $!; while :; do wait; done";
        let mut child = ChildProcess::spawn("stubborn", shell(script), dir.path()).unwrap();
        let mut stdout = std::io::BufReader::new(child.take_stdout().unwrap());
        let mut grandchild = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut grandchild).unwrap();
        child.check_running().unwrap();
        drop(child);
        let patience = Instant::now() + Duration::from_secs(20);
        while !is_gone(grandchild.trim()) {
            assert!(Instant::now() < patience, "the grandchild lives");
            thread::yield_now();
        }
    }

    #[test]
    fn a_failure_quotes_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let child = ChildProcess::spawn("sad", shell("echo no luck >&2; exit 3"), dir.path());
        let error = child.unwrap().wait().unwrap_err().to_string();
        assert_eq!(error, "sad failed (exit status: 3): no luck");
    }
}

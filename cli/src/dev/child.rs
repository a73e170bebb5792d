//! Child processes of `kip dev`: functions, and Kipper's own programs beside them.
//!
//! Every one is the leader of a process group, so that Ctrl-C reaches only `kip`, which stops them in
//! order, and so that what it leaves behind ends with it. Should `kip` itself be killed, the kernel
//! kills them.

use std::{
    collections::BTreeSet,
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};

/// Pause after the first failure; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A process that lived this long did not fail to start.
pub(crate) const STABLE: Duration = Duration::from_secs(5);

/// Groups of processes that run now, for the case that there is no time to stop them in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups(Arc<Mutex<BTreeSet<i32>>>);

impl Groups {
    /// Kills every group at once.
    pub(crate) fn kill_all(&self) {
        for raw in self.0.lock().iter() {
            kill(*raw);
        }
    }
}

/// The group of one process. Dropping it kills whatever of it still runs.
pub(crate) struct Group {
    raw: Option<i32>,
    groups: Groups,
}

impl Group {
    /// Asks the process, but not what it started, to end.
    pub(crate) fn terminate(&self) {
        if let Some(pid) = self.raw.and_then(Pid::from_raw) {
            // It may be gone by now.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(raw) = self.raw {
            kill(raw);
            self.groups.0.lock().remove(&raw);
        }
    }
}

fn kill(raw: i32) {
    if let Some(pid) = Pid::from_raw(raw) {
        // The group may be gone by now.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Starts a process without stdin and with pipes for what it prints. Dropping the child kills it.
///
/// # Errors
/// When the system does not start it.
pub(crate) fn spawn(
    mut command: std::process::Command,
    groups: &Groups,
) -> io::Result<(Child, Group)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    die_with_parent(&mut command);
    let child = Command::from(command).kill_on_drop(true).spawn()?;
    let raw = child.id().and_then(|pid| i32::try_from(pid).ok());
    groups.0.lock().extend(raw);
    Ok((child, Group { raw, groups: groups.clone() }))
}

/// Has the kernel kill the process when the thread that starts it ends. That thread is the one
/// `kip dev` runs on: its runtime has no other.
#[expect(unsafe_code, reason = "std offers no safe way to run code between fork and exec")]
fn die_with_parent(command: &mut std::process::Command) {
    let parent = rustix::process::getpid();
    let bind = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::BrokenPipe))
        }
    };
    // SAFETY: the closure makes two system calls, which are async-signal-safe; it neither
    // allocates nor locks.
    unsafe {
        command.pre_exec(bind);
    }
}

/// How a process ended, in words: `exit code 1`, `signal 9`.
pub(crate) fn describe(status: Option<ExitStatus>) -> String {
    let Some(status) = status else {
        return "unknown status".to_owned();
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Pause before the next start after so many failures in a row before the last one.
pub(crate) fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2u32.saturating_pow(failures)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let seconds = [0, 1, 4, 5, 40].map(|failures| pause_after(failures).as_secs());
        assert_eq!(seconds, [1, 2, 16, 30, 30]);
    }
}

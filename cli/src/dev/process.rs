//! One process of a function, from its start to its end.
//!
//! Every process is a group of its own, so that Ctrl-C reaches only `kip`, which stops them in
//! order, and so that what a process leaves behind can be ended with it. Should `kip` itself be
//! killed, the kernel ends the process. Its lines go to the console; the runtime's line that it
//! listens is an event, so nobody polls for it. Who starts a process decides when it stops. A
//! process of an event function has its poller beside it, which ends before it.

use std::{
    collections::BTreeSet,
    io,
    os::unix::process::CommandExt as _,
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    process::{Child, Command},
    sync::{mpsc, watch},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    console::{Target, Voice},
    launch::{Launch, Mode},
    output::{self, Listener},
    sidecar::Sidecar,
};

/// How long a process may outlive the end it was given: its own drain takes exactly that long.
const KILL_MARGIN: Duration = Duration::from_secs(1);
/// How long a process that never listened may take to stop.
const STARTING_GRACE: Duration = Duration::from_secs(2);
/// How long a poller may take to give back what it held for a process that is gone.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long its last lines may take once it has ended.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// What a process reports to the one that started it.
#[derive(Debug)]
pub(super) enum Event {
    /// It accepts connections.
    Listening { id: u64, at: Instant },
    /// It is gone.
    Exited(Exit),
}

/// The end of a process.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) id: u64,
    /// `None` when the system did not tell.
    pub(super) status: Option<ExitStatus>,
    /// The last lines of its stderr.
    pub(super) last_words: Vec<String>,
    /// Why it was stopped, where its poller could not work.
    pub(super) failure: Option<String>,
}

/// Groups of processes that run now, for the case that there is no time to stop them in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Arc<Mutex<BTreeSet<i32>>>);

impl Groups {
    /// Kills every group at once.
    pub(super) fn kill_all(&self) {
        for raw in self.0.lock().iter() {
            if let Some(pid) = Pid::from_raw(*raw) {
                // The group may be gone by now.
                let _ = kill_process_group(pid, Signal::KILL);
            }
        }
    }
}

/// How a process is asked to stop: after which delay.
pub(super) type Stop = watch::Sender<Option<Duration>>;

/// Starts processes for one function.
#[derive(Clone)]
pub(super) struct Starter {
    pub(super) voice: Voice,
    pub(super) groups: Groups,
    /// Who waits for every process to be gone.
    pub(super) tracker: TaskTracker,
    /// Cancelled when no more events are to be claimed.
    pub(super) stop_events: CancellationToken,
}

impl Starter {
    /// Starts a process. Its `Exited` is the last event with this id; dropping the returned handle
    /// stops it. `is_muted` keeps stderr from the console until it listens; `Exit` has it anyway.
    /// A process that serves events gets its poller.
    ///
    /// # Errors
    /// When the system does not start it.
    pub(super) fn start(
        &self,
        launch: &Launch,
        mode: Mode,
        id: u64,
        is_muted: bool,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Stop> {
        let mut command = launch.command(mode);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        die_with_parent(&mut command);
        let child = Command::from(command).kill_on_drop(true).spawn()?;
        let sidecar = match (mode, &launch.events) {
            (Mode::Serve(port), Some(trigger)) => {
                let started = Sidecar::start(trigger, port, &self.voice, &self.stop_events);
                Some(started.map_err(io::Error::other)?)
            }
            _ => None,
        };
        let (stop, stopped) = watch::channel(None);
        let process = Process {
            id,
            child,
            stopped,
            grace: launch.grace,
            listens: matches!(mode, Mode::Serve(_)).then(Arc::default),
            sidecar,
            needs_source: launch.needs_source,
            failure: None,
            voice: self.voice.clone(),
            groups: self.groups.clone(),
            events,
        };
        self.tracker.spawn(process.attend(is_muted));
        Ok(stop)
    }
}

struct Process {
    id: u64,
    child: Child,
    stopped: watch::Receiver<Option<Duration>>,
    grace: Duration,
    /// Whether it was ever able to answer; `None` for a run that answers nobody.
    listens: Option<Arc<AtomicBool>>,
    sidecar: Option<Sidecar>,
    needs_source: bool,
    failure: Option<String>,
    voice: Voice,
    groups: Groups,
    events: mpsc::Sender<Event>,
}

impl Process {
    async fn attend(mut self, is_muted: bool) {
        let raw = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = raw.and_then(Pid::from_raw);
        self.groups.0.lock().extend(raw);
        let out = tokio::spawn(output::forward(
            self.child.stdout.take(),
            Target::Stdout,
            self.voice.clone(),
            None,
            false,
        ));
        let listener = self.listens.clone().map(|listens| Listener {
            id: self.id,
            listens,
            source: self.sidecar.as_ref().filter(|_| self.needs_source).map(Sidecar::connected),
            events: self.events.clone(),
        });
        let err = tokio::spawn(output::forward(
            self.child.stderr.take(),
            Target::Stderr,
            self.voice.clone(),
            listener,
            is_muted,
        ));
        let status = self.wait(pid).await;
        if let Some(pid) = pid {
            // What it started and did not end itself.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        if let Some(raw) = raw {
            self.groups.0.lock().remove(&raw);
        }
        if let Some(mut sidecar) = self.sidecar.take() {
            // What the process had is given back; what cannot be given back ends with its session.
            let _ = tokio::time::timeout(GIVE_BACK_TIMEOUT, sidecar.drain()).await;
        }
        let last_words = tokio::time::timeout(OUTPUT_TIMEOUT, async {
            let _ = out.await;
            err.await.unwrap_or_default()
        });
        let last_words = last_words.await.unwrap_or_default();
        let exit = Exit { id: self.id, status, last_words, failure: self.failure };
        // Nobody listens any more when `kip` ends.
        let _ = self.events.send(Event::Exited(exit)).await;
    }

    /// Waits for the process to end, by itself or because it was stopped.
    async fn wait(&mut self, pid: Option<Pid>) -> Option<ExitStatus> {
        let delay = loop {
            tokio::select! {
                status = self.child.wait() => return status.ok(),
                delay = stop_requested(&mut self.stopped) => break delay,
                why = failed(&mut self.sidecar) => {
                    self.sidecar = None;
                    if self.needs_source {
                        self.failure = Some(why);
                        break Duration::ZERO;
                    }
                    self.voice.warn(format!("events are not handled: {why}"));
                }
            }
        };
        let deadline = Instant::now() + delay + self.grace;
        // Requests that chose this process a moment ago still reach it, and its events end first.
        let finishing = async {
            tokio::join!(tokio::time::sleep(delay), drained(&mut self.sidecar));
        };
        tokio::select! {
            status = self.child.wait() => return status.ok(),
            _ = tokio::time::timeout_at(deadline.into(), finishing) => {}
        }
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let is_serving = self.listens.as_ref().is_none_or(|listens| listens.load(Relaxed));
        let left = deadline.saturating_duration_since(Instant::now());
        // One that never listened has nothing to finish.
        let patience = if is_serving { left + KILL_MARGIN } else { STARTING_GRACE };
        if let Ok(status) = tokio::time::timeout(patience, self.child.wait()).await {
            return status.ok();
        }
        if is_serving {
            let grace = humantime::format_duration(self.grace);
            self.voice.warn(format!("did not stop within {grace}, killed"));
        }
        let _ = self.child.start_kill();
        self.child.wait().await.ok()
    }
}

/// Why the poller ended by itself; pending without one.
async fn failed(sidecar: &mut Option<Sidecar>) -> String {
    match sidecar {
        Some(sidecar) => sidecar.failed().await,
        None => std::future::pending().await,
    }
}

async fn drained(sidecar: &mut Option<Sidecar>) {
    if let Some(sidecar) = sidecar {
        sidecar.drain().await;
    }
}

/// Resolves with the delay once a stop is asked for; a dropped handle asks for it at once.
async fn stop_requested(stopped: &mut watch::Receiver<Option<Duration>>) -> Duration {
    match stopped.wait_for(Option::is_some).await {
        Ok(delay) => delay.unwrap_or_default(),
        Err(_) => Duration::ZERO,
    }
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
pub(super) fn describe(status: Option<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    let Some(status) = status else {
        return "unknown status".to_owned();
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

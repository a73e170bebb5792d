//! One process of a function, from its start to its end.
//!
//! Its lines go to the console; the runtime's line that it listens is an event, so nothing polls for
//! it. Whoever starts a process decides when it stops. A process of an event function has its poller
//! beside it, which ends before it.

use std::{
    io,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    process::Child,
    sync::{mpsc, oneshot, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    super::{
        child::{self, Group},
        console::{Target, Voice},
        events::{companion::Context, poller::Sidecar},
    },
    launch::{Launch, Mode},
    output,
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
pub(crate) enum Event {
    /// It accepts connections.
    Listening { id: u64, at: Instant },
    /// It is gone.
    Exited(Exit),
}

/// The end of a process.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) id: u64,
    /// `None` when the system did not tell.
    pub(crate) status: Option<ExitStatus>,
    /// The last lines of its stderr.
    pub(crate) last_words: Vec<String>,
    /// Why it was stopped, where its poller could not work.
    pub(crate) failure: Option<String>,
}

/// How a process is asked to stop: after which delay.
pub(crate) type Stop = watch::Sender<Option<Duration>>;

/// Starts processes for one function.
#[derive(Clone)]
pub(crate) struct Starter {
    pub(crate) context: Context,
    /// Who waits for every process to be gone.
    pub(crate) tracker: TaskTracker,
    /// Cancelled when no more events are to be claimed.
    pub(crate) stop_events: CancellationToken,
}

impl Starter {
    /// Starts a process. Its `Exited` is the last event with this id; dropping the returned handle
    /// stops it. `is_muted` keeps stderr from the console until it listens; `Exit` has it anyway.
    /// A process that serves events gets its poller.
    ///
    /// # Errors
    /// When the system does not start it.
    pub(crate) fn start(
        &self,
        launch: &Launch,
        mode: Mode,
        id: u64,
        is_muted: bool,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Stop> {
        let (child, group) = child::spawn(launch.command(mode), &self.context.groups)?;
        let sidecar = match (mode, &launch.events) {
            (Mode::Serve(port), Some(trigger)) => {
                let context = self.context.clone();
                Some(Sidecar::start(trigger, port, context, &self.stop_events))
            }
            _ => None,
        };
        let (stop, stopped) = watch::channel(None);
        let process = Process {
            id,
            child,
            group: Some(group),
            stopped,
            grace: launch.grace,
            listens: matches!(mode, Mode::Serve(_)).then(Arc::default),
            sidecar,
            needs_source: launch.needs_source,
            failure: None,
            voice: self.context.voice.clone(),
            events,
        };
        self.tracker.spawn(process.attend(is_muted));
        Ok(stop)
    }
}

struct Process {
    id: u64,
    child: Child,
    /// `None` once it has ended.
    group: Option<Group>,
    stopped: watch::Receiver<Option<Duration>>,
    grace: Duration,
    /// Whether it was ever able to answer; `None` for a run that answers nobody.
    listens: Option<Arc<AtomicBool>>,
    sidecar: Option<Sidecar>,
    needs_source: bool,
    failure: Option<String>,
    voice: Voice,
    events: mpsc::Sender<Event>,
}

impl Process {
    async fn attend(mut self, is_muted: bool) {
        let out = tokio::spawn(output::forward(
            self.child.stdout.take(),
            Target::Stdout,
            self.voice.clone(),
            None,
            false,
        ));
        let listening = self.listens.clone().map(|listens| self.announce(listens));
        let err = tokio::spawn(output::forward(
            self.child.stderr.take(),
            Target::Stderr,
            self.voice.clone(),
            listening,
            is_muted,
        ));
        let status = self.wait().await;
        // With what it started and did not end itself.
        self.group = None;
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

    /// Reports that it listens, once the runtime says so; a process that has nothing to do without its
    /// source does not listen before that is there.
    fn announce(&self, listens: Arc<AtomicBool>) -> oneshot::Sender<Instant> {
        let (said, listening) = oneshot::channel();
        let (id, events) = (self.id, self.events.clone());
        let source = self.sidecar.as_ref().filter(|_| self.needs_source).map(Sidecar::connected);
        tokio::spawn(async move {
            let Ok(mut at) = listening.await else { return };
            listens.store(true, Relaxed);
            if let Some(mut source) = source {
                // An error is a poller that ended, which its process reports.
                if source.wait_for(|is_there| *is_there).await.is_err() {
                    return;
                }
                at = Instant::now();
            }
            // Nothing receives it any more when `kip` ends.
            let _ = events.send(Event::Listening { id, at }).await;
        });
        said
    }

    /// Waits for the process to end, by itself or because it was stopped.
    async fn wait(&mut self) -> Option<ExitStatus> {
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
        if let Some(group) = &self.group {
            group.terminate();
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

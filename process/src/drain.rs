//! The orderly end of a process: one trigger, any number of watchers, one deadline.
//!
//! A drain has two steps. *Announced*: the process still accepts, because load balancers have not
//! yet noticed that it is not ready. *Draining*: listeners stop accepting and running work
//! finishes, at the latest by the deadline. Work is counted by guards. A listener holds a guard of
//! its own while it accepts, so that the count cannot touch zero between the last accept and that
//! connection's guard.
//!
//! Nothing here cancels work: whoever awaits [`DrainTrigger::finished`] decides what happens to
//! the rest. The shape (trigger, watcher, deadline) follows istio's ztunnel, `src/drain.rs`.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// Where a process stands in its drain. Only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainPhase {
    /// No drain was started.
    Running,
    /// A drain was started; the process still accepts until the delay has passed.
    Announced,
    /// Listeners stop accepting; running work finishes.
    Draining,
}

#[derive(Debug)]
struct State {
    phase: AtomicU8,
    started: AtomicBool,
    /// Set before `phase` reaches `Draining`.
    deadline: OnceLock<Instant>,
    draining: CancellationToken,
    guards: AtomicUsize,
    /// Notified whenever `guards` reaches zero.
    idle: Notify,
}

impl State {
    fn set_phase(&self, phase: DrainPhase) {
        self.phase.store(phase as u8, Ordering::Release);
    }
}

/// Namespace of [`Drain::new`].
#[derive(Debug)]
pub struct Drain;

impl Drain {
    /// A drain that was not started yet: who starts it, and who watches it.
    #[expect(clippy::new_ret_no_self, reason = "a channel-like constructor returns both ends")]
    pub fn new() -> (DrainTrigger, DrainWatch) {
        let state = Arc::new(State {
            phase: AtomicU8::new(DrainPhase::Running as u8),
            started: AtomicBool::new(false),
            deadline: OnceLock::new(),
            draining: CancellationToken::new(),
            guards: AtomicUsize::new(0),
            idle: Notify::new(),
        });
        (DrainTrigger { state: state.clone() }, DrainWatch { state })
    }
}

/// Starts the drain and waits for its end.
#[derive(Clone, Debug)]
pub struct DrainTrigger {
    state: Arc<State>,
}

impl DrainTrigger {
    /// Announces the drain now, begins it after `delay`, and gives running work `deadline` from
    /// then on. Only the first call counts. Must be called inside a tokio runtime.
    pub fn start(&self, delay: Duration, deadline: Duration) {
        if self.state.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let begin = Instant::now() + delay;
        let state = self.state.clone();
        // `set` cannot fail: only the first caller comes here.
        let _ = state.deadline.set(begin + deadline);
        if delay.is_zero() {
            state.set_phase(DrainPhase::Draining);
            state.draining.cancel();
            return;
        }
        state.set_phase(DrainPhase::Announced);
        tokio::spawn(async move {
            tokio::time::sleep_until(begin).await;
            state.set_phase(DrainPhase::Draining);
            state.draining.cancel();
        });
    }

    /// Resolves when the drain has begun and every guard is gone, or when the deadline has passed.
    /// Returns how many guards remained. Pending for as long as no drain was started.
    pub async fn finished(&self) -> usize {
        let state = &self.state;
        state.draining.cancelled().await;
        let deadline = state.deadline.get().copied().unwrap_or_else(Instant::now);
        loop {
            let mut idle = std::pin::pin!(state.idle.notified());
            // Registered before the count is read, so a guard dropped in between is not missed.
            idle.as_mut().enable();
            if state.guards.load(Ordering::Acquire) == 0 {
                return 0;
            }
            tokio::select! {
                () = idle => {}
                () = tokio::time::sleep_until(deadline) => {
                    return state.guards.load(Ordering::Acquire);
                }
            }
        }
    }

    /// Another watcher.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch { state: self.state.clone() }
    }
}

/// Tells a stage when to stop. Cloning costs one reference count.
#[derive(Clone, Debug)]
pub struct DrainWatch {
    state: Arc<State>,
}

impl DrainWatch {
    /// Resolves when listeners must stop accepting; at once when that has happened before.
    pub async fn draining(&self) {
        self.state.draining.cancelled().await;
    }

    /// True once listeners must stop accepting. One atomic load.
    pub fn is_draining(&self) -> bool {
        self.phase() == DrainPhase::Draining
    }

    /// The current phase. One atomic load.
    pub fn phase(&self) -> DrainPhase {
        match self.state.phase.load(Ordering::Acquire) {
            0 => DrainPhase::Running,
            1 => DrainPhase::Announced,
            _ => DrainPhase::Draining,
        }
    }

    /// When running work is cut off; `None` until a drain is started.
    pub fn deadline(&self) -> Option<Instant> {
        self.state.deadline.get().copied()
    }

    /// Counts one piece of running work until the guard is dropped.
    pub fn guard(&self) -> DrainGuard {
        self.state.guards.fetch_add(1, Ordering::AcqRel);
        DrainGuard { state: self.state.clone() }
    }

    /// How many guards exist now.
    pub fn guards(&self) -> usize {
        self.state.guards.load(Ordering::Acquire)
    }
}

/// One piece of running work that a drain waits for.
#[derive(Debug)]
#[must_use = "the work is counted only while the guard lives"]
pub struct DrainGuard {
    state: Arc<State>,
}

impl DrainGuard {
    /// A watcher of the same drain.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch { state: self.state.clone() }
    }
}

impl Clone for DrainGuard {
    fn clone(&self) -> Self {
        self.watch().guard()
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        if self.state.guards.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.state.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DELAY: Duration = Duration::from_secs(5);
    const DEADLINE: Duration = Duration::from_secs(25);

    #[tokio::test(start_paused = true)]
    async fn the_phases_follow_the_delay() {
        let (trigger, watch) = Drain::new();
        assert_eq!(watch.phase(), DrainPhase::Running);
        assert_eq!(watch.deadline(), None);
        let start = Instant::now();
        trigger.start(DELAY, DEADLINE);
        assert_eq!(watch.phase(), DrainPhase::Announced);
        assert!(!watch.is_draining());
        watch.clone().draining().await;
        assert_eq!(start.elapsed(), DELAY);
        assert!(watch.is_draining());
        assert_eq!(watch.deadline(), Some(start + DELAY + DEADLINE));
        watch.draining().await;
    }

    #[tokio::test(start_paused = true)]
    async fn finished_waits_for_the_last_guard() {
        let (trigger, watch) = Drain::new();
        let listener = watch.guard();
        let connection = watch.guard();
        let start = Instant::now();
        trigger.start(DELAY, DEADLINE);
        let worker = tokio::spawn(async move {
            listener.watch().draining().await;
            drop(listener);
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(connection);
        });
        assert_eq!(trigger.finished().await, 0);
        assert_eq!(start.elapsed(), DELAY + Duration::from_secs(3));
        worker.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_cuts_off_and_says_how_many() {
        let (trigger, watch) = Drain::new();
        let stuck = watch.guard();
        let also_stuck = stuck.clone();
        let start = Instant::now();
        trigger.start(DELAY, DEADLINE);
        assert_eq!(trigger.finished().await, 2);
        assert_eq!(start.elapsed(), DELAY + DEADLINE);
        drop((stuck, also_stuck));
        assert_eq!(watch.guards(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_start_counts_and_no_delay_begins_at_once() {
        let (trigger, watch) = Drain::new();
        trigger.start(Duration::ZERO, DEADLINE);
        let deadline = watch.deadline();
        assert!(watch.is_draining());
        trigger.clone().start(DELAY, DELAY);
        assert_eq!(watch.deadline(), deadline);
        assert_eq!(trigger.finished().await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn finished_is_pending_without_a_start() {
        let (trigger, watch) = Drain::new();
        let pending = tokio::time::timeout(DEADLINE, trigger.finished()).await;
        assert!(pending.is_err());
        drop(watch);
    }
}

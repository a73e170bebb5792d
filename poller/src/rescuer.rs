//! The links to the source: when to prove that claims are alive, and when to connect again.
//!
//! Keeps what is known of the two links and says what is next. It must never give up: a source that
//! is away for hours is asked every few seconds.

use std::time::Duration;

use kipper_process::backoff::Backoff;
use tokio::time::Instant;

use crate::source::SourceError;

/// How often claims are proved alive. Leases last several times as long.
pub(crate) const EXTEND_INTERVAL: Duration = Duration::from_secs(5);
/// Pauses between attempts to connect.
pub(crate) const RECONNECT: Backoff =
    Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// What to ask of the source next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// [`crate::source::Source::extend`].
    Extend,
    /// [`crate::source::Source::recover`].
    Recover,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Rescuer {
    claims: bool,
    marks: bool,
    reconnect: Backoff,
    due: Instant,
}

impl Rescuer {
    /// Both links are up.
    pub(crate) fn new(now: Instant) -> Self {
        Self { claims: true, marks: true, reconnect: RECONNECT, due: now + EXTEND_INTERVAL }
    }

    /// True while claims are alive as far as is known.
    pub(crate) fn claims(&self) -> bool {
        self.claims
    }

    /// True while marks can be made.
    pub(crate) fn marks(&self) -> bool {
        self.marks
    }

    /// When there is something to do by time alone.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// What to do now.
    pub(crate) fn task(&self, now: Instant) -> Option<Task> {
        if now < self.due {
            return None;
        }
        Some(if self.claims && self.marks { Task::Extend } else { Task::Recover })
    }

    /// Takes in what any call to the source said. True if the claims were lost just now.
    pub(crate) fn failed(&mut self, error: &SourceError, now: Instant) -> bool {
        let link = match error {
            SourceError::Lost(_) => &mut self.claims,
            SourceError::Broken(_) => &mut self.marks,
            SourceError::Failed(_) | SourceError::Invalid(_) => return false,
        };
        let news = std::mem::replace(link, false);
        if news {
            self.due = now;
        }
        news && matches!(error, SourceError::Lost(_))
    }

    /// Takes in the end of a [`Task`].
    pub(crate) fn ended(&mut self, task: Task, succeeded: bool, now: Instant) {
        match (task, succeeded) {
            (Task::Recover, false) => {
                self.due = now + self.reconnect.pause();
            }
            (Task::Recover, true) => {
                (self.claims, self.marks) = (true, true);
                self.reconnect.reset();
                self.due = now + EXTEND_INTERVAL;
            }
            // What its failure says of the links is told by `failed`.
            (Task::Extend, _) if self.claims && self.marks => self.due = now + EXTEND_INTERVAL,
            (Task::Extend, _) => {}
        }
    }
}

//! Timers of a client's connection.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use crate::limits::Limits;

/// Whether a client keeps a transfer moving that waits for it. Each period stands for itself: what
/// went fast earlier is no credit for standing still now.
#[derive(Default)]
pub(crate) struct Pace {
    since: Option<Instant>,
    moved: u64,
}

impl Pace {
    /// The transfer waits for the client now.
    pub(crate) fn wait(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    pub(crate) fn moved(&mut self, bytes: usize) {
        self.moved += bytes as u64;
    }

    /// It does not wait for the client any more.
    pub(crate) fn stop(&mut self) {
        *self = Self::default();
    }

    /// When the client is looked at next.
    pub(crate) fn due(&self, limits: &Limits) -> Option<Instant> {
        self.since.map(|since| since + limits.grace)
    }

    /// The period is over: true if too little was moved, else the next one begins.
    pub(crate) fn too_slow(&mut self, limits: &Limits) -> bool {
        let milliseconds = u64::try_from(limits.grace.as_millis()).unwrap_or(u64::MAX);
        let enough = limits.min_rate.saturating_mul(milliseconds) / 1000;
        let slow = self.moved < enough.max(1);
        *self = Self { since: Some(Instant::now()), moved: 0 };
        slow
    }
}

/// A timer that is moved for free: it is armed anew only when it fires early or must fire sooner.
pub(crate) struct Deadline {
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl Deadline {
    pub(crate) fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(at.into())) }
    }

    /// Ready once `at` has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let at = tokio::time::Instant::from_std(at);
        if at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
        }
        loop {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if tokio::time::Instant::now() >= at {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(at);
        }
    }
}

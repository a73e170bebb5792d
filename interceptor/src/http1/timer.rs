//! Timers of a client's connection, and what they allow.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// Timers and sizes of downstream connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the first byte of a head (or the accepted connection) to its end.
    pub header: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// A client that owes bytes, or does not take any, is looked at once per this time…
    pub grace: Duration,
    /// …and has to have moved this many bytes per second since the last look.
    pub min_rate: u64,
    /// Longest head.
    pub head_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(180),
            grace: Duration::from_secs(20),
            min_rate: 500,
            head_bytes: 32 << 10,
        }
    }
}

impl Limits {
    /// Further away than any timer.
    pub(crate) fn far(&self) -> Instant {
        Instant::now() + Duration::from_secs(86_400)
    }
}

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
        let enough = limits.min_rate.saturating_mul(limits.grace.as_secs()).max(1);
        let slow = self.moved < enough;
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

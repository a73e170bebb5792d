//! When one request reached which phase, shown to the client of a cold start as `Server-Timing`
//! (W3C Server Timing): `queue` = held in all; `wake` = until the function's first pod had an
//! address; `ready` = from there until a pod could answer; `connect` = opening the connection;
//! `ttfb` = from sending the request to the first byte of the response. Milliseconds.

use std::{
    fmt::Write as _,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use crate::{clock, destination::Destination};

/// Phases of one request.
pub(crate) struct Timeline {
    accepted: Instant,
    held: Option<Instant>,
    released: Option<Instant>,
    connect: Duration,
    sent: Option<Instant>,
}

impl Timeline {
    pub(crate) fn new(accepted: Instant) -> Self {
        Self { accepted, held: None, released: None, connect: Duration::ZERO, sent: None }
    }

    /// The request joined the queue; a cold start if no pod can answer.
    pub(crate) fn held(&mut self, function: &Destination) {
        if function.waiting() > 0 {
            self.held.get_or_insert_with(Instant::now);
        }
    }

    pub(crate) fn released(&mut self) {
        self.released = Some(Instant::now());
    }

    pub(crate) fn connected(&mut self, took: Duration) {
        self.connect += took;
    }

    pub(crate) fn sent(&mut self) {
        if self.held.is_some() {
            self.sent = Some(Instant::now());
        }
    }

    /// The field's value, for a request of a cold start.
    pub(crate) fn server_timing(&self, function: &Destination) -> Option<String> {
        let (held, released) = (self.held?, self.released?);
        let wake = &function.wake_clock;
        let (from, until) = (clock::at(held), clock::at(released));
        let address = wake.address.load(Relaxed).clamp(from, until);
        let usable = wake.usable.load(Relaxed).clamp(address, until);
        let ttfb = self.sent.map_or(Duration::ZERO, |at| at.elapsed());
        let mut value = String::with_capacity(96);
        let phases = [
            ("queue", Duration::from_micros(until.saturating_sub(clock::at(self.accepted)))),
            ("wake", Duration::from_micros(address - from)),
            ("ready", Duration::from_micros(usable - address)),
            ("connect", self.connect),
            ("ttfb", ttfb),
        ];
        for (name, took) in phases {
            let comma = if value.is_empty() { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(value, "{comma}{name};dur={:.1}", took.as_secs_f64() * 1000.0);
        }
        Some(value)
    }
}

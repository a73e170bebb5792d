//! When one request reached which phase: shown to the client of a cold start as `Server-Timing` (W3C
//! Server Timing, in milliseconds), and told to those who observe requests. What the phases are stands
//! in `observe/record.rs`.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    clock,
    destination::{Destination, Started},
    observe::record::{CONNECT, PHASES, Phase, Phases, QUEUE, READY, TTFB, WAKE, took},
};

/// Phases of one request, if they count: those of a cold start, and of a request of which somebody is
/// told. Nothing is kept, and no clock is read, for any other.
pub(crate) struct Timeline(Option<Box<Times>>);

struct Times {
    accepted: Instant,
    queued: bool,
    /// It was held because no pod could answer: a cold start.
    cold: Option<Instant>,
    /// When it left the queue last, and how far the start of its function had come: another one may
    /// begin while it still runs.
    released: Option<(Instant, Started)>,
    /// Each connection that was opened for it; at most one an attempt.
    connects: Vec<(Instant, Duration)>,
    /// When it was sent last, and to whom.
    sent: Option<(Instant, SocketAddr)>,
    /// When the head of the response came, and its status.
    answered: Option<(Instant, u16)>,
}

impl Times {
    fn new(accepted: Instant) -> Box<Self> {
        Box::new(Self {
            accepted,
            queued: false,
            cold: None,
            released: None,
            connects: Vec::new(),
            sent: None,
            answered: None,
        })
    }
}

impl Timeline {
    pub(crate) fn new(accepted: Instant, observed: bool) -> Self {
        Self(observed.then(|| Times::new(accepted)))
    }

    /// The request joined the queue.
    pub(crate) fn held(&mut self, accepted: Instant, function: &Destination) {
        let cold = function.waiting() > 0;
        if cold {
            self.0.get_or_insert_with(|| Times::new(accepted));
        }
        if let Some(times) = &mut self.0 {
            times.queued = true;
            times.released = None;
            times.cold = times.cold.or_else(|| cold.then(Instant::now));
        }
    }

    pub(crate) fn released(&mut self, function: &Destination) {
        if let Some(times) = &mut self.0 {
            times.released = Some((Instant::now(), function.wake_clock.so_far()));
        }
    }

    /// A connection was opened for it, or could not be.
    pub(crate) fn connected(&mut self, since: Instant) {
        if let Some(times) = &mut self.0 {
            times.connects.push((since, since.elapsed()));
        }
    }

    pub(crate) fn sent(&mut self, pod: SocketAddr) {
        if let Some(times) = &mut self.0 {
            times.sent = Some((Instant::now(), pod));
        }
    }

    /// The head of the response is there.
    pub(crate) fn answered(&mut self, status: u16) {
        if let Some(times) = &mut self.0 {
            times.answered = Some((Instant::now(), status));
        }
    }

    /// Who had the request last.
    pub(crate) fn pod(&self) -> Option<SocketAddr> {
        self.0.as_ref().and_then(|times| times.sent).map(|(_, pod)| pod)
    }

    /// Status of the response that came.
    pub(crate) fn status(&self) -> Option<u16> {
        self.0.as_ref().and_then(|times| times.answered).map(|(_, status)| status)
    }

    /// The field's value, for a request of a cold start.
    pub(crate) fn server_timing(&self, function: &Destination) -> Option<String> {
        let times = self.0.as_ref().filter(|times| times.cold.is_some())?;
        let phases = times.phases(function);
        let mut value = String::with_capacity(96);
        for name in PHASES {
            let comma = if value.is_empty() { "" } else { ", " };
            let milliseconds = took(&phases, name).as_secs_f64() * 1000.0;
            // Writing to a string cannot fail.
            let _ = write!(value, "{comma}{name};dur={milliseconds:.1}");
        }
        Some(value)
    }

    /// The phases so far; one that is not over lasts until now.
    pub(crate) fn phases(&self, function: &Destination) -> Phases {
        self.0.as_ref().map(|times| times.phases(function)).unwrap_or_default()
    }
}

impl Times {
    fn phases(&self, function: &Destination) -> Phases {
        let mut phases = Phases::new();
        let start = clock::at(self.accepted);
        let mut add = |name, from: u64, until: u64| {
            let from_start = Duration::from_micros(from.saturating_sub(start));
            let took = Duration::from_micros(until.saturating_sub(from));
            phases.push(Phase { name, from: from_start, took });
        };
        let now = clock::now();
        let (released, started) = match self.released {
            Some((at, started)) => (clock::at(at), started),
            None => (now, function.wake_clock.so_far()),
        };
        if self.queued {
            add(QUEUE, start, released);
        }
        if let Some(held) = self.cold {
            let from = clock::at(held).min(released);
            let reached = |at: u64, from| match at {
                // Not yet.
                0 => released,
                at => at.clamp(from, released),
            };
            let address = reached(started.address, from);
            let usable = reached(started.usable, address);
            add(WAKE, from, address);
            add(READY, address, usable);
        }
        for (since, took) in &self.connects {
            add(CONNECT, clock::at(*since), clock::at(*since + *took));
        }
        if let Some((sent, _)) = self.sent {
            add(TTFB, clock::at(sent), self.answered.map_or(now, |(at, _)| clock::at(at)));
        }
        phases
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;
    use crate::{
        destination::DestinationContext,
        source::{EndpointState, FunctionId, RouteSpec},
    };

    #[test]
    fn a_later_start_is_not_that_of_a_request_that_was_released() {
        let spec = RouteSpec::new(FunctionId::new("ns", "f"), Vec::new());
        let function =
            Arc::new(Destination::new(spec, Arc::default(), DestinationContext::for_test(1)));
        let address = "10.0.0.1:80".parse().unwrap();
        let pod = |ready| [EndpointState { address, ready, terminating: false }];
        let pause = || thread::sleep(Duration::from_millis(2));
        let accepted = Instant::now();
        let mut timeline = Timeline::new(accepted, true);
        let first = function.acquire(0).ok();
        timeline.held(accepted, &function);
        pause();
        function.set_endpoints(&pod(false));
        pause();
        function.set_endpoints(&pod(true));
        timeline.released(&function);
        let phases = timeline.phases(&function);
        assert!(took(&phases, WAKE) >= Duration::from_millis(2), "{phases:?}");
        assert!(took(&phases, READY) >= Duration::from_millis(2), "{phases:?}");
        drop(first);
        // It is idle for a while, and wakes for somebody else.
        function.set_endpoints(&[]);
        let _second = function.acquire(0).ok();
        assert_eq!(timeline.phases(&function), phases);
    }
}

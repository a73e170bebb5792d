//! The loop of the load generator: one thread, one epoll, all connections.

use std::{
    collections::VecDeque,
    io,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use super::{
    announce::Mark,
    args::{LoadArgs, Mode},
    connection::{Connection, Failure, Progress},
    recorder::{Recorder, Report},
    request,
    schedule::Arrivals,
};
use crate::epoll::Epoll;

/// How long an open loop waits after its window for what was due inside it.
const GRACE: Duration = Duration::from_secs(2);
/// More failures than this end the run: its figures would mean nothing.
const MAX_ERRORS: u64 = 1_000;
/// The kernel may delay a wake-up by its timer slack, 50 µs by default; an open loop at 20,000
/// requests a second would be late for each of them.
const TIMER_SLACK_NANOS: NonZeroU64 = NonZeroU64::MIN;

/// Why a run has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The target refuses connections.
    #[error("connect to the target")]
    Connect(#[source] io::Error),
    /// Too many requests failed; the last failure is the source, if it was not a status.
    #[error("more than {MAX_ERRORS} requests failed")]
    TooManyErrors(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// The operating system refused something.
    #[error("load generator")]
    System(#[from] io::Error),
    /// The histogram cannot be built.
    #[error("histogram")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// Runs the load; `announce` is called at both ends of the measured window.
///
/// # Errors
/// When the target cannot be reached, too much fails, or the system refuses something.
pub fn run(args: &LoadArgs, announce: &mut dyn FnMut(Mark)) -> Result<Report, LoadError> {
    // Refused in some sandboxes, where the schedule is merely less exact.
    let _ = rustix::thread::set_current_timer_slack(Some(TIMER_SLACK_NANOS));
    let mut engine = Engine::new(args)?;
    engine.run(announce)?;
    Ok(engine.report())
}

struct Engine<'a> {
    args: &'a LoadArgs,
    origin: Instant,
    /// When the measured window begins and ends.
    window: (u64, u64),
    epoll: Epoll,
    connections: Vec<Connection>,
    /// Connections without a request under way, longest idle first. Only the open loop uses it.
    idle: VecDeque<u32>,
    arrivals: Option<Arrivals>,
    /// Requests that may still be sent.
    budget: u64,
    under_way: usize,
    recorder: Recorder,
}

impl<'a> Engine<'a> {
    fn new(args: &'a LoadArgs) -> Result<Self, LoadError> {
        let warm_up = if args.requests.is_some() { 0 } else { nanos(args.warm_up) };
        let window = (warm_up, warm_up + nanos(args.duration));
        let arrivals = match args.mode {
            Mode::Closed => None,
            Mode::Open => args.rate.map(|rate| Arrivals::new(rate, window.1)),
        };
        let epoll = Epoll::new()?;
        let mut connections = Vec::with_capacity(args.connections.get());
        for index in 0..args.connections.get() {
            let request = request::render(args, index);
            let connection = Connection::open(args.addr, request).map_err(LoadError::Connect)?;
            epoll.add(&connection.stream, token(index))?;
            connections.push(connection);
        }
        let idle = (0..connections.len()).map(token).collect();
        let recorder = Recorder::new(args.mode, window.0..window.1)?;
        let budget = args.requests.map_or(u64::MAX, NonZeroU64::get);
        // Connecting is no part of the run.
        let origin = Instant::now();
        Ok(Self {
            args,
            origin,
            window,
            epoll,
            connections,
            idle,
            arrivals,
            budget,
            under_way: 0,
            recorder,
        })
    }

    fn now(&self) -> u64 {
        nanos(self.origin.elapsed())
    }

    fn report(&self) -> Report {
        self.recorder.report(self.now())
    }

    fn run(&mut self, announce: &mut dyn FnMut(Mark)) -> Result<(), LoadError> {
        let mut ready = Vec::new();
        if self.args.mode == Mode::Closed {
            let all: Vec<u32> = self.idle.drain(..).collect();
            for token in all {
                self.next(token, self.now())?;
            }
        }
        let (mut measuring, mut measured) = (false, false);
        loop {
            let now = self.now();
            if !measuring && now >= self.window.0 {
                measuring = true;
                announce(Mark::Measuring);
            }
            if !measured && (now >= self.window.1 || self.is_spent()) {
                measured = true;
                announce(Mark::Measured);
            }
            if measured && self.is_over(now) {
                return Ok(());
            }
            self.send_due(now)?;
            let timeout = self.next_wake().saturating_sub(self.now());
            self.epoll.wait(Some(Duration::from_nanos(timeout)), &mut ready)?;
            for &token in &ready {
                self.receive(token)?;
            }
        }
    }

    /// Every request of a limited run was sent and answered.
    fn is_spent(&self) -> bool {
        self.budget == 0 && self.under_way == 0
    }

    /// Whether to leave after the measured window: a closed loop at once, an open loop when all
    /// that was due is answered or its grace is over. What is left then is charged.
    fn is_over(&mut self, now: u64) -> bool {
        let Some(arrivals) = &mut self.arrivals else {
            return true;
        };
        let waiting = arrivals.next_due().is_some() && self.budget > 0;
        if !waiting && self.under_way == 0 {
            return true;
        }
        if now < self.window.1 + nanos(GRACE) {
            return false;
        }
        while let Some(due) = arrivals.take(now) {
            self.recorder.unfinished(due, now);
        }
        for due in self.connections.iter().filter_map(Connection::started) {
            self.recorder.unfinished(due, now);
        }
        true
    }

    /// Sends what is due on the connections that are idle. What finds none stays due.
    fn send_due(&mut self, now: u64) -> Result<(), LoadError> {
        while let Some(arrivals) = &mut self.arrivals
            && self.budget > 0
            && let Some(&token) = self.idle.front()
            && let Some(due) = arrivals.take(now)
        {
            self.idle.pop_front();
            self.send(token, due)?;
        }
        Ok(())
    }

    /// When the loop has something to do although no socket is ready.
    fn next_wake(&self) -> u64 {
        let now = self.now();
        let grace_end = self.window.1 + nanos(GRACE);
        let mark = [self.window.0, self.window.1, grace_end].into_iter().find(|mark| *mark > now);
        let due = match &self.arrivals {
            Some(arrivals) if !self.idle.is_empty() && self.budget > 0 => arrivals.next_due(),
            _ => None,
        };
        mark.unwrap_or(now).min(due.unwrap_or(u64::MAX))
    }

    fn send(&mut self, token: u32, start: u64) -> Result<(), LoadError> {
        self.budget = self.budget.saturating_sub(1);
        self.under_way += 1;
        match self.connections[token as usize].send(start) {
            Ok(()) => Ok(()),
            Err(failure) => self.fail(token, failure),
        }
    }

    fn receive(&mut self, token: u32) -> Result<(), LoadError> {
        match self.connections[token as usize].receive() {
            Ok(Progress::Partial) => Ok(()),
            Ok(Progress::Answered { started, status, close }) => {
                self.under_way -= 1;
                let now = self.now();
                if (200..300).contains(&status) {
                    self.recorder.completed(started, now);
                } else {
                    self.recorder.errors.status += 1;
                    self.check_errors(None)?;
                }
                if self.args.once {
                    // Closed as soon as the answer is complete. Connecting is part of a request.
                    if self.budget > 0 {
                        self.connect(token)?;
                    }
                } else if close {
                    self.reopen(token)?;
                }
                self.next(token, now)
            }
            Ok(Progress::ClosedIdle) => self.reopen(token),
            Err(failure) => self.fail(token, failure),
        }
    }

    /// A connection has become free. A request that follows at once counts from `start`.
    fn next(&mut self, token: u32, start: u64) -> Result<(), LoadError> {
        match &mut self.arrivals {
            None if self.budget == 0 => Ok(()),
            None => self.send(token, start),
            Some(_) => {
                self.idle.push_back(token);
                Ok(())
            }
        }
    }

    /// A connection failed, usually with a request under way. It is opened anew, and free again
    /// if it was not before. `MAX_ERRORS` bounds how often this can call itself through `next`.
    fn fail(&mut self, token: u32, failure: Failure) -> Result<(), LoadError> {
        let was_under_way = self.connections[token as usize].started().is_some();
        match &failure {
            Failure::Closed(_) => self.recorder.errors.closed += 1,
            Failure::Framing(_) => self.recorder.errors.framing += 1,
        }
        self.check_errors(Some(failure))?;
        self.reopen(token)?;
        if !was_under_way {
            return Ok(());
        }
        self.under_way -= 1;
        self.next(token, self.now())
    }

    fn reopen(&mut self, token: u32) -> Result<(), LoadError> {
        self.recorder.reconnects += 1;
        self.connect(token)
    }

    fn connect(&mut self, token: u32) -> Result<(), LoadError> {
        let connection = &mut self.connections[token as usize];
        connection.reopen(self.args.addr).map_err(LoadError::Connect)?;
        Ok(self.epoll.add(&connection.stream, token)?)
    }

    fn check_errors(&self, last: Option<Failure>) -> Result<(), LoadError> {
        if self.recorder.errors.total() <= MAX_ERRORS {
            return Ok(());
        }
        Err(LoadError::TooManyErrors(last.map(Into::into)))
    }
}

/// The token of a connection is its index.
fn token(index: usize) -> u32 {
    // A process has far fewer descriptors than this.
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn nanos(duration: Duration) -> u64 {
    // 584 years.
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

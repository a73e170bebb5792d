//! What the fleet says about one function: counts in, activity and rate out.
//!
//! Pure: no clock, no I/O, no locks, no metrics; time comes in as `now`, a duration on the
//! collector's clock. Each interceptor has one [`Cell`] per function, which the collector keeps and
//! the function's sums contain; totals are monotonic within an epoch, so what is new is always a
//! difference, and a report that comes twice counts once. A function that is idle keeps no buckets.

use std::time::Duration;

mod slots;
mod window;

pub use slots::Recent;
pub use window::Window;

/// Slack on the polling interval: KEDA waits one interval *after* each poll's work, so its polls
/// are a little further apart than the interval, and no request may fall between two of them.
const POLL_SLACK_DIVISOR: u32 = 10;
/// Polls for which a (re)connected KEDA is answered by the idle time.
const GRACE_POLLS: u32 = 2;
/// After so many missed polls a KEDA without a stream counts as newly connected. Several, because
/// a KEDA that balances over adapter replicas asks each of them more rarely.
const SILENT_POLLS: u32 = 4;
/// A function without load or stream is forgotten after this, as interceptors forget it too.
const FUNCTION_RETENTION: Duration = Duration::from_secs(3600);

/// Seconds of the short mean.
const SHORT_SPAN: u64 = 10;
/// Standard deviations of a Poisson process (the root of what was counted) by which the short mean
/// is lowered. With the HPA's own tolerance of a tenth, chance alone then lifts no steady rate over
/// its replicas.
const RATE_CERTAINTY: f64 = 2.0;

/// Which stream of an interceptor reports, and after which gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The stream, as numbered by the collector from 1 on.
    pub stream: u32,
    /// When this interceptor was last heard before this report: where a gap began.
    pub heard: Option<Duration>,
    /// What was heard then came from an earlier process, so all totals started at zero since.
    pub is_restarted: bool,
}

/// One function's counts as an interceptor reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests accepted since the interceptor started.
    pub total: u64,
    /// Forwarded and not finished.
    pub in_flight: u32,
    /// Waiting in the hold queue.
    pub held: u32,
    /// Those of `held` that wait while the function has no ready endpoint.
    pub waiting: u32,
    /// Since the last request was accepted.
    pub idle: Duration,
    /// `total` as this stream last reported it; `None` in a snapshot, which cannot know.
    pub base: Option<u64>,
    /// What is new came in within this time.
    pub over: Duration,
}

/// What the fleet has open for a function right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Forwarded and not finished.
    pub in_flight: u64,
    /// Waiting in hold queues.
    pub held: u64,
    /// Those of `held` that wait while the function has no ready endpoint.
    pub waiting: u64,
}

impl Load {
    /// Whether nothing is open.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl std::ops::AddAssign for Load {
    fn add_assign(&mut self, other: Self) {
        self.in_flight += other.in_flight;
        self.held += other.held;
        self.waiting += other.waiting;
    }
}

impl std::ops::SubAssign for Load {
    fn sub_assign(&mut self, other: Self) {
        self.in_flight -= other.in_flight;
        self.held -= other.held;
        self.waiting -= other.waiting;
    }
}

/// How KEDA polls a function, from its `scalerMetadata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// KEDA's `pollingInterval`.
    pub polling_interval: Duration,
    /// KEDA's `cooldownPeriod`.
    pub idle_timeout: Duration,
}

impl Cadence {
    fn poll(self) -> Duration {
        self.polling_interval + self.polling_interval / POLL_SLACK_DIVISOR
    }
}

/// The latest word of one interceptor process on one function. There is one for each pair, so its
/// size counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    total: u64,
    in_flight: u32,
    held: u32,
    waiting: u32,
    /// The stream of that word; 0 before the first one.
    stream: u32,
}

const _: () = assert!(size_of::<Cell>() == 24);

impl Cell {
    /// Of a function of which `stream` has said no more than its name.
    pub fn named_on(stream: u32) -> Self {
        Self { stream, ..Self::default() }
    }

    /// Whether `stream` has said something about this function.
    pub fn is_of(&self, stream: u32) -> bool {
        self.stream == stream
    }

    /// The total of a report that may have been read before the one that made this cell: where it is lower, nothing
    /// is new.
    pub fn grown_to(&self, total: u64) -> u64 {
        self.total.max(total)
    }

    /// What this interceptor has open.
    pub fn load(&self) -> Load {
        Load {
            in_flight: self.in_flight.into(),
            held: self.held.into(),
            waiting: self.waiting.into(),
        }
    }
}

/// Everything known about one function.
#[derive(Debug, Default)]
pub struct Function {
    /// The sum over all cells.
    load: Load,
    window: Option<Box<Window>>,
    last_request: Option<Duration>,
    last_poll: Option<Duration>,
    grace_until: Duration,
}

impl Function {
    /// Takes one report in, whose interceptor has `cell`, and returns how many requests it adds.
    ///
    /// The requests of a gap between two streams are spread over the gap, and those that were kept back
    /// over that time: counted at once, they would look like a burst.
    pub fn apply(
        &mut self,
        cell: &mut Cell,
        origin: Origin,
        report: &Report,
        now: Duration,
    ) -> u64 {
        let (added, from) = new_requests(cell, origin, report, now);
        let former = std::mem::replace(
            cell,
            Cell {
                total: report.total,
                in_flight: report.in_flight,
                held: report.held,
                waiting: report.waiting,
                stream: origin.stream,
            },
        );
        self.load -= former.load();
        self.load += cell.load();
        if report.total > 0 {
            let at = now.saturating_sub(report.idle);
            self.last_request = Some(self.last_request.map_or(at, |last| last.max(at)));
        }
        if added > 0 {
            self.window.get_or_insert_default().add(from, now, added);
        }
        added
    }

    /// Takes away what an interceptor had open, whose cell is given up.
    pub fn retire(&mut self, cell: &Cell) {
        self.load -= cell.load();
    }

    /// What is open now, over all interceptors.
    pub fn load(&self) -> Load {
        self.load
    }

    /// Requests per second: the larger of the 60 s mean and of what the last 10 s show beyond chance,
    /// so that a step up is seen within ten seconds and a step down only after a minute, and that a
    /// steady rate does not look higher than it is.
    ///
    /// `covered` is for how long interceptors have been reporting; after a restart the means are taken
    /// over that, not over time in which nothing could be known.
    pub fn rate(&self, now: Duration, covered: Duration) -> f64 {
        let Some(window) = &self.window else {
            return 0.0;
        };
        let short = window.mean(now, SHORT_SPAN, covered);
        let seconds = covered.as_secs_f64().clamp(1.0, SHORT_SPAN as f64);
        let certain = short - RATE_CERTAINTY * (short / seconds).sqrt();
        window.mean(now, 60, covered).max(certain)
    }

    /// The rate of this moment, which is over after two seconds.
    pub fn recent(&self, now: Duration) -> Recent {
        self.window.as_ref().map(|window| window.recent(now)).unwrap_or_default()
    }

    /// Whether KEDA should keep the function up.
    pub fn is_active(&self, cadence: Cadence, now: Duration) -> bool {
        let load = self.load();
        load.held > 0
            || load.in_flight > 0
            || self.requested_within(cadence.poll(), now)
            || (now < self.grace_until && self.requested_within(cadence.idle_timeout, now))
    }

    /// KEDA opened a stream. For the next two polls the idle time decides: KEDA may not know of
    /// requests that were served while it was away, and would scale to zero at its first poll.
    pub fn keda_connected(&mut self, cadence: Cadence, now: Duration) {
        self.grace_until = self.grace_until.max(now + cadence.poll() * GRACE_POLLS);
    }

    /// KEDA polls. Its first poll may come before its stream does; then the poll counts as the
    /// connection.
    pub fn keda_polled(&mut self, cadence: Cadence, has_stream: bool, now: Duration) {
        let silence = cadence.poll() * SILENT_POLLS;
        let is_new = self.last_poll.is_none_or(|last| now.saturating_sub(last) > silence);
        if is_new && !has_stream {
            self.keda_connected(cadence, now);
        }
        self.last_poll = Some(now);
    }

    /// Drops what an idle function does not need.
    pub fn compact(&mut self, now: Duration) {
        if self.window.as_ref().is_some_and(|window| window.is_over(now)) {
            self.window = None;
        }
    }

    /// True when nothing is lost by forgetting the function.
    pub fn is_forgettable(&self, now: Duration) -> bool {
        self.load().is_zero() && !self.requested_within(FUNCTION_RETENTION, now)
    }

    fn requested_within(&self, span: Duration, now: Duration) -> bool {
        self.last_request.is_some_and(|last| now.saturating_sub(last) <= span)
    }
}

/// How many of `report.total` are new, and since when they have been coming in.
fn new_requests(known: &Cell, origin: Origin, report: &Report, now: Duration) -> (u64, Duration) {
    let is_known = known.stream != 0;
    let gap = origin.heard.unwrap_or(now);
    let from = now.saturating_sub(report.over);
    match report.base {
        // The usual one, and it needs no base.
        Some(_) if is_known && report.total >= known.total => (report.total - known.total, from),
        // The first report, or the counter went back without a new epoch: the function was deleted
        // and made again.
        Some(base) => (report.total.saturating_sub(base), from),
        None if is_known && report.total >= known.total => (report.total - known.total, gap),
        // The counter began anew since the last word.
        None if is_known || origin.is_restarted => (report.total, gap),
        // Nothing to compare with; how old these requests are is unknown.
        None => (0, now),
    }
}

#[cfg(test)]
mod tests;

//! What the fleet says about one function: counts in, activity and rate out.
//!
//! Pure: no clock, no I/O, no locks, no metrics; time comes in as `now`, a duration on the
//! collector's clock. Each interceptor has one [`Cell`] per function; totals are monotonic within
//! an epoch, so what is new is always a difference, and a report that comes twice counts once.
//! A function that is idle keeps neither cells nor buckets.

use std::time::Duration;

mod window;

pub use window::Window;

/// Slack on the polling interval: KEDA waits one interval *after* each poll's work, so its polls
/// are a little further apart than the interval, and no request may fall between two of them.
const POLL_SLACK_DIVISOR: u32 = 10;
/// Polls for which a (re)connected KEDA is answered by the idle time.
const GRACE_POLLS: u32 = 2;
/// After so many missed polls a KEDA without a stream counts as newly connected. Several, because
/// a KEDA that balances over adapter replicas asks each of them more rarely.
const SILENT_POLLS: u32 = 4;
/// A cell without load is dropped after this; every report carries the base for its successor.
const CELL_RETENTION: Duration = Duration::from_secs(120);
/// A function without load or stream is forgotten after this, as interceptors forget it too.
const FUNCTION_RETENTION: Duration = Duration::from_secs(3600);

/// Which stream of which interceptor process reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The interceptor, as numbered by the collector.
    pub interceptor: u32,
    /// Drawn once per interceptor process: another epoch started its totals at zero.
    pub epoch: u64,
    /// The stream, as numbered by the collector; later streams have higher numbers.
    pub stream: u64,
    /// When this interceptor was last heard before this report: where a gap began.
    pub heard: Option<Duration>,
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
    fn is_zero(self) -> bool {
        self == Self::default()
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

/// The latest word of one interceptor on one function.
#[derive(Clone, Copy, Debug)]
struct Cell {
    interceptor: u32,
    in_flight: u32,
    held: u32,
    waiting: u32,
    stream: u64,
    epoch: u64,
    total: u64,
}

/// Everything known about one function.
#[derive(Debug, Default)]
pub struct Function {
    cells: Vec<Cell>,
    window: Option<Box<Window>>,
    last_request: Option<Duration>,
    last_poll: Option<Duration>,
    grace_until: Duration,
}

impl Function {
    /// Takes one report in and returns how many requests it adds.
    ///
    /// The requests of a gap between two streams are spread over the gap: counted at once, they
    /// would look like a burst.
    pub fn apply(&mut self, origin: Origin, report: &Report, now: Duration) -> u64 {
        let index = self.cells.iter().position(|cell| cell.interceptor == origin.interceptor);
        let known = index.map(|index| self.cells[index]);
        if known.is_some_and(|cell| cell.stream > origin.stream) {
            return 0;
        }
        let (added, from) = new_requests(known, origin, report, now);
        let cell = Cell {
            interceptor: origin.interceptor,
            in_flight: report.in_flight,
            held: report.held,
            waiting: report.waiting,
            stream: origin.stream,
            epoch: origin.epoch,
            total: report.total,
        };
        match index {
            Some(index) => self.cells[index] = cell,
            None => self.cells.push(cell),
        }
        if report.total > 0 {
            let at = now.saturating_sub(report.idle);
            self.last_request = Some(self.last_request.map_or(at, |last| last.max(at)));
        }
        if added > 0 {
            self.window.get_or_insert_default().add(from, now, added);
        }
        added
    }

    /// Zeroes what `interceptor` last reported, unless that was on `stream`: it was not listed in
    /// that stream's snapshot, or (with `None`) the interceptor is forgotten.
    pub fn retire(&mut self, interceptor: u32, stream: Option<u64>) {
        self.cells.retain(|cell| {
            cell.interceptor != interceptor || stream.is_some_and(|stream| cell.stream >= stream)
        });
        self.shrink();
    }

    /// What is open now, over all interceptors.
    pub fn load(&self) -> Load {
        self.cells.iter().fold(Load::default(), |sum, cell| Load {
            in_flight: sum.in_flight + u64::from(cell.in_flight),
            held: sum.held + u64::from(cell.held),
            waiting: sum.waiting + u64::from(cell.waiting),
        })
    }

    /// Requests per second: the larger of the 60 s and the 10 s mean, so that a step up is seen
    /// within ten seconds and a step down only after a minute.
    ///
    /// `covered` is for how long interceptors have been reporting; after a restart the means are taken
    /// over that, not over time in which nothing could be known.
    pub fn rate(&self, now: Duration, covered: Duration) -> f64 {
        let Some(window) = &self.window else {
            return 0.0;
        };
        window.mean(now, 60, covered).max(window.mean(now, 10, covered))
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
        if self.load().is_zero() && !self.requested_within(CELL_RETENTION, now) {
            self.cells.clear();
        }
        self.shrink();
    }

    /// True when nothing is lost by forgetting the function.
    pub fn is_forgettable(&self, now: Duration) -> bool {
        self.load().is_zero() && !self.requested_within(FUNCTION_RETENTION, now)
    }

    fn requested_within(&self, span: Duration, now: Duration) -> bool {
        self.last_request.is_some_and(|last| now.saturating_sub(last) <= span)
    }

    fn shrink(&mut self) {
        if self.cells.is_empty() {
            self.cells = Vec::new();
        }
    }
}

/// How many of `report.total` are new, and since when they have been coming in.
fn new_requests(
    known: Option<Cell>,
    origin: Origin,
    report: &Report,
    now: Duration,
) -> (u64, Duration) {
    let gap = origin.heard.unwrap_or(now);
    match (known, report.base) {
        // Another process under the same name: all of its requests came after the last word.
        (Some(cell), _) if cell.epoch != origin.epoch => (report.total, gap),
        (Some(cell), None) if report.total >= cell.total => (report.total - cell.total, gap),
        (Some(cell), Some(_)) if report.total >= cell.total => (report.total - cell.total, now),
        // The counter went back without a new epoch: the function was deleted and made again.
        (_, Some(base)) => (report.total.saturating_sub(base), now),
        (Some(_), None) => (report.total, gap),
        // Nothing to compare with; how old these requests are is unknown.
        (None, None) => (0, now),
    }
}

#[cfg(test)]
mod tests;

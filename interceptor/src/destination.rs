//! Where requests go: one function as the data plane sees it, with its route, its endpoints, its
//! queue and its counters.
//!
//! This is where hold meets balance: [`Destination::acquire`] leases a place on a pod or joins the
//! queue, and [`Destination::dispatch`] pairs the first waiter with the next free place. It never
//! opens a connection.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicU64, Ordering::AcqRel, Ordering::Relaxed, Ordering::Release,
        Ordering::SeqCst, fence,
    },
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::{
    balancer::{self, Choice},
    clock,
    error::ProxyError,
    fleet::{Share, share},
    headers::SecurityBlock,
    inflight::{Changes, Counters},
    metrics::{FunctionMetrics, Metrics},
    queue::{Held, Queue, Waiting},
    source::{EndpointState, Fleet, FunctionId, RouteSpec},
    upstream::endpoint::{Endpoint, Endpoints},
};

/// Weight of the newest wake in the moving average of wake times (1 in 4).
const WAKE_AVERAGE_SHIFT: u64 = 2;
/// `Retry-After` before any wake was observed, in seconds.
const FIRST_RETRY_AFTER: u64 = 3;

/// A function's bad answers are told once in this time.
const COMPLAINT_INTERVAL: u64 = 60_000_000;

/// What every function of one process shares.
pub struct DestinationContext {
    /// Bounds and usage of all holds.
    pub held: Arc<Held>,
    /// Functions whose counts changed.
    pub changes: Changes<Destination>,
    /// Metric families.
    pub metrics: Arc<Metrics>,
    /// Number of data-plane workers, one connection pool each.
    pub workers: usize,
    /// The interceptors that share the work.
    pub fleet: ArcSwap<Fleet>,
}

#[cfg(test)]
impl DestinationContext {
    /// With every default, alone.
    pub(crate) fn for_test(workers: usize) -> Arc<Self> {
        let metrics = Metrics::new(&prometheus::Registry::new(), true);
        Arc::new(Self {
            held: Arc::new(Held::new(crate::queue::HoldLimits::default())),
            changes: Changes::default(),
            metrics: Arc::new(metrics.expect("no family is there twice")),
            workers,
            fleet: ArcSwap::default(),
        })
    }
}

/// A route with what is derived from it once per change, not once per request.
pub struct Route {
    /// As the source gave it.
    pub spec: RouteSpec,
    /// Security header lines, ready to be copied into a response.
    pub security: Option<SecurityBlock>,
}

/// When the present cold start reached which phase; microseconds of the process clock, 0 = not yet.
#[derive(Default)]
pub struct WakeClock {
    /// The first request was held.
    pub started: AtomicU64,
    /// The first endpoint was listed, ready or not.
    pub address: AtomicU64,
    /// The first endpoint could answer.
    pub usable: AtomicU64,
}

/// How far a cold start had come at one moment, as [`WakeClock`] says it.
#[derive(Clone, Copy)]
pub(crate) struct Started {
    pub(crate) address: u64,
    pub(crate) usable: u64,
}

impl WakeClock {
    /// How far it has come.
    pub(crate) fn so_far(&self) -> Started {
        Started { address: self.address.load(Relaxed), usable: self.usable.load(Relaxed) }
    }
}

/// One function of the data plane.
pub struct Destination {
    /// Its name.
    pub id: FunctionId,
    /// What it has in flight and held.
    pub counters: Arc<Counters>,
    /// The phases of its present or last cold start.
    pub wake_clock: WakeClock,
    /// Its metric handles.
    pub metrics: FunctionMetrics,
    pub(crate) context: Arc<DestinationContext>,
    route: ArcSwap<Route>,
    endpoints: ArcSwap<Endpoints>,
    /// What the source said last, before the fleet divides it.
    listed: Mutex<Vec<EndpointState>>,
    queue: Queue<Lease>,
    /// A release task runs for it (see `probe`).
    pub(crate) releasing: AtomicBool,
    /// What was started for it ended before it could answer, and nothing was started since.
    failed: AtomicBool,
    /// Tells the release task that endpoints changed.
    pub(crate) endpoints_changed: Notify,
    /// A cold start is under way: something is held and nothing can answer.
    cold: AtomicBool,
    /// Moving average of wake times, in microseconds; 0 = none observed.
    wake_time: AtomicU64,
    /// When a bad answer of it was told last, in microseconds of the process clock; 0 = never.
    complained: AtomicU64,
}

/// What [`Destination::acquire`] came to.
pub(crate) enum Acquired {
    /// Go ahead.
    Lease(Lease),
    /// Wait for the lease.
    Held(Waiting<Lease>),
}

impl Destination {
    /// A function without endpoints, which goes on with these counters.
    pub fn new(spec: RouteSpec, counters: Arc<Counters>, context: Arc<DestinationContext>) -> Self {
        Self {
            id: spec.id.clone(),
            counters,
            wake_clock: WakeClock::default(),
            metrics: FunctionMetrics::new(&context.metrics, &spec.id),
            queue: Queue::new(Arc::clone(&context.held)),
            context,
            route: ArcSwap::from_pointee(Route::new(spec)),
            endpoints: ArcSwap::default(),
            listed: Mutex::default(),
            releasing: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            endpoints_changed: Notify::new(),
            cold: AtomicBool::new(false),
            wake_time: AtomicU64::new(0),
            complained: AtomicU64::new(0),
        }
    }

    /// Its present route.
    pub fn route(&self) -> arc_swap::Guard<Arc<Route>> {
        self.route.load()
    }

    /// Its present endpoints.
    pub fn endpoints(&self) -> arc_swap::Guard<Arc<Endpoints>> {
        self.endpoints.load()
    }

    /// Requests held now.
    pub fn held(&self) -> usize {
        self.queue.len()
    }

    /// Held requests that no usable endpoint exists for.
    pub fn waiting(&self) -> usize {
        let held = self.queue.len();
        if held > 0 && self.endpoints.load().any_usable(clock::now()) { 0 } else { held }
    }

    /// Changes its configuration; running and held requests keep going.
    pub(crate) fn set_route(self: &Arc<Self>, spec: RouteSpec) {
        let limited = |limit: u32| limit > 0;
        let before = self.route.load().spec.concurrency;
        let after = spec.concurrency;
        self.route.store(Arc::new(Route::new(spec)));
        if limited(before) != limited(after) {
            self.redivide();
        }
    }

    /// Takes its share of the endpoints again, after the fleet or the limit changed.
    pub(crate) fn redivide(self: &Arc<Self>) {
        let listed = self.listed.lock();
        let states = listed.clone();
        self.replace_endpoints(listed, states);
    }

    /// Replaces its endpoints and releases what can go now.
    pub(crate) fn set_endpoints(self: &Arc<Self>, states: &[EndpointState]) {
        self.failed.store(false, Relaxed);
        self.replace_endpoints(self.listed.lock(), states.to_vec());
    }

    fn replace_endpoints(
        self: &Arc<Self>,
        mut listed: MutexGuard<'_, Vec<EndpointState>>,
        states: Vec<EndpointState>,
    ) {
        let now = clock::now();
        let fleet = self.context.fleet.load();
        *listed = states;
        let share = if self.route.load().spec.concurrency > 0 {
            share(&listed, &fleet)
        } else {
            Share { pods: listed.clone(), owners: Vec::new() }
        };
        let known = self.endpoints.load();
        let next = known.updated(&share, self.context.workers, now);
        let any_listed = !next.all.is_empty();
        let unchanged = next.all.len() == known.all.len()
            && next.all.iter().zip(&known.all).all(|(a, b)| Arc::ptr_eq(a, b));
        if !unchanged {
            self.endpoints.store(Arc::new(next));
        }
        // The lock has kept two updates apart; pairing needs none.
        drop(listed);
        if self.queue.is_empty() {
            return;
        }
        let clock = &self.wake_clock;
        if any_listed {
            let _ = clock.address.compare_exchange(0, now, Relaxed, Relaxed);
        }
        self.note_usable(now);
        self.note_unserved(now);
        self.context.changes.mark(self);
        self.dispatch();
        self.endpoints_changed.notify_one();
    }

    /// Its held requests end as for an unknown host, and no further one is held.
    pub(crate) fn remove(&self) {
        self.queue.close();
        self.endpoints_changed.notify_one();
    }

    /// It is routed no more; one of its name that comes later is another.
    pub(crate) fn is_removed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Nothing can answer, and it is known that waiting does not help: its held requests end, and no
    /// further one is held until endpoints are set.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Relaxed);
        self.queue.drop_waiters();
        self.endpoints_changed.notify_one();
    }

    /// Why a held request was dropped from the queue.
    pub(crate) fn refusal(&self) -> ProxyError {
        if self.is_removed() { ProxyError::UnknownHost } else { ProxyError::StartFailed }
    }

    /// A place on a pod at once, or a place in the queue. `bytes` are what is held in memory.
    pub(crate) fn acquire(self: &Arc<Self>, bytes: usize) -> Result<Acquired, ProxyError> {
        if self.queue.is_empty()
            && let Choice::Endpoint(endpoint) = self.choose()
        {
            return Ok(Acquired::Lease(Lease::new(self, endpoint)));
        }
        if self.failed.load(Relaxed) {
            return Err(ProxyError::StartFailed);
        }
        let joined = self.queue.join(bytes);
        self.note_unserved(clock::now());
        self.context.changes.mark(self);
        let waiting = joined?;
        // It may have failed since. The queue's lock lies between: whoever joined after its waiters
        // were dropped sees it here.
        if self.failed.load(Relaxed) {
            return Err(ProxyError::StartFailed);
        }
        // An endpoint may have become free between choosing and joining.
        self.dispatch();
        Ok(Acquired::Held(waiting))
    }

    /// Pairs waiters with free places, first come first served, until one of the two runs out.
    pub(crate) fn dispatch(self: &Arc<Self>) {
        while self.queue.has_waiter() {
            let Choice::Endpoint(endpoint) = self.choose() else { return };
            let mut lease = Some(Lease::new(self, endpoint));
            while let Some(l) = lease.take() {
                let Some(waiter) = self.queue.pop() else {
                    // Everybody left; giving the place back must not dispatch again from here.
                    let mut l = l;
                    l.settle();
                    return;
                };
                lease = waiter.send(l).err();
            }
        }
    }

    fn choose(&self) -> Choice<Endpoint> {
        let endpoints = self.endpoints.load();
        // Who owns the pods keeps the limit.
        let limit = if endpoints.hand_over() { 0 } else { self.route.load().spec.concurrency };
        balancer::choose(&endpoints.all, limit, fastrand::u64(..), clock::now())
    }

    /// A request that leaves the queue without a lease marks nothing; the release task looks
    /// whether fewer are held than were reported last.
    pub(crate) fn tell_leavers(self: &Arc<Self>) {
        let held = self.held();
        // With the one in `note_reported`: whichever of the two comes second sees the other's count.
        fence(SeqCst);
        if self.counters.reported_held() != held {
            self.context.changes.mark(self);
        }
    }

    /// These were reported, and `held` may have changed since it was read.
    pub(crate) fn note_reported(self: &Arc<Self>, total: u64, held: usize) {
        self.counters.reported(total, held);
        fence(SeqCst);
        if self.held() != held {
            self.context.changes.mark(self);
        }
    }

    /// Something is held and nothing can answer: if that is new, a cold start begins, and is
    /// reported at once.
    fn note_unserved(self: &Arc<Self>, now: u64) {
        let endpoints = self.endpoints.load();
        if self.queue.is_empty() || endpoints.any_usable(now) {
            return;
        }
        let clock = &self.wake_clock;
        if !self.cold.swap(true, AcqRel) {
            clock.started.store(now, Relaxed);
            clock.address.store(if endpoints.all.is_empty() { 0 } else { now }, Relaxed);
            clock.usable.store(0, Relaxed);
            self.context.changes.mark_urgent(self);
        }
    }

    /// Nothing is held any more: the cold start is over, with or without an answer.
    pub(crate) fn end_wake(self: &Arc<Self>) {
        self.cold.store(false, Release);
        // Whoever joined the queue meanwhile is owed a wake of its own.
        self.note_unserved(clock::now());
    }

    /// Records that an endpoint can answer, once per cold start.
    pub(crate) fn note_usable(&self, now: u64) {
        if !self.endpoints.load().any_usable(now) || !self.cold.swap(false, AcqRel) {
            return;
        }
        let clock = &self.wake_clock;
        clock.usable.store(now, Relaxed);
        let took = now.saturating_sub(clock.started.load(Relaxed));
        let old = self.wake_time.load(Relaxed);
        let next = if old == 0 {
            took
        } else {
            old - (old >> WAKE_AVERAGE_SHIFT) + (took >> WAKE_AVERAGE_SHIFT)
        };
        self.wake_time.store(next.max(1), Relaxed);
        self.metrics.observe_wake(took);
    }

    /// A pod's answer broke `rule` and is not passed on: counted, and told now and then.
    pub(crate) fn refused(&self, rule: &'static str) {
        self.metrics.refused(rule);
        if is_due(&self.complained, clock::now().max(1)) {
            tracing::warn!(function = %self.id, rule, "an answer of the function is not passed on");
        }
    }

    /// Whole seconds after which trying again makes sense: this function's observed wake time.
    pub(crate) fn retry_after(&self) -> u64 {
        match self.wake_time.load(Relaxed) {
            0 => FIRST_RETRY_AFTER,
            us => us.div_ceil(1_000_000).clamp(1, 60),
        }
    }
}

/// Is there something to be told again? One of many that ask at a time is told so.
fn is_due(told: &AtomicU64, now: u64) -> bool {
    let last = told.load(Relaxed);
    (last == 0 || now.saturating_sub(last) >= COMPLAINT_INTERVAL)
        && told.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
}

impl AsRef<Counters> for Destination {
    fn as_ref(&self) -> &Counters {
        &self.counters
    }
}

impl Route {
    fn new(spec: RouteSpec) -> Self {
        let security = spec.security.as_ref().map(SecurityBlock::new);
        Self { spec, security }
    }
}

/// A place on an endpoint for one request: in flight while it lives.
pub struct Lease {
    destination: Arc<Destination>,
    /// The pod.
    pub endpoint: Arc<Endpoint>,
    answered: bool,
    settled: bool,
}

impl Lease {
    /// Wraps the place that `choose` took.
    fn new(destination: &Arc<Destination>, endpoint: Arc<Endpoint>) -> Self {
        // What is handed over counts where it is served.
        if !endpoint.sibling {
            destination.counters.forwarded();
            destination.context.changes.mark(destination);
        }
        Self { destination: Arc::clone(destination), endpoint, answered: false, settled: false }
    }

    /// A response head came back.
    pub(crate) fn answered(&mut self) {
        if !std::mem::replace(&mut self.answered, true) {
            self.endpoint.load.answered(true);
            if !self.destination.queue.is_empty() {
                self.destination.dispatch();
            }
        }
    }

    fn settle(&mut self) {
        self.settled = true;
        if !std::mem::replace(&mut self.answered, true) {
            self.endpoint.load.answered(false);
        }
        self.endpoint.load.release();
        if !self.endpoint.sibling {
            self.destination.counters.finished();
            self.destination.context.changes.mark(&self.destination);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.settle();
        if !self.destination.queue.is_empty() {
            self.destination.dispatch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_spaced() {
        let told = AtomicU64::new(0);
        assert!(is_due(&told, 1));
        assert!(!is_due(&told, 2));
        assert!(!is_due(&told, COMPLAINT_INTERVAL));
        assert!(is_due(&told, COMPLAINT_INTERVAL + 1));
        assert!(!is_due(&told, COMPLAINT_INTERVAL + 2));
    }
}

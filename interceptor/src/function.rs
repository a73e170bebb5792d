//! One function as the data plane sees it: its route, its endpoints, its queue, its counters.
//!
//! This is where hold meets balance: [`Function::acquire`] leases a place on a pod or joins the
//! queue, and [`Function::dispatch`] pairs the first waiter with the next free place. It never
//! opens a connection.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    balancer::{Choice, Endpoint, Endpoints},
    clock,
    headers::SecurityBlock,
    inflight::{Changes, Counters},
    metrics::{FunctionMetrics, Metrics},
    queue::{Held, Queue, QueueError, Waiting},
    source::{EndpointState, FunctionId, RouteSpec},
};

/// Weight of the newest wake in the moving average of wake times (1 in 4).
const WAKE_AVERAGE_SHIFT: u64 = 2;
/// `Retry-After` before any wake was observed, in seconds.
const FIRST_RETRY_AFTER: u64 = 3;

/// What every function of one process shares.
pub struct Shared {
    /// Bounds and usage of all holds.
    pub held: Arc<Held>,
    /// Functions whose counts changed.
    pub changes: Changes,
    /// Metric families.
    pub metrics: Arc<Metrics>,
    /// Number of data-plane workers, one connection pool each.
    pub workers: usize,
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

/// See the module's text.
pub struct Function {
    /// Its name.
    pub id: FunctionId,
    /// What it has in flight and held.
    pub counters: Counters,
    /// The phases of its present or last cold start.
    pub wake_clock: WakeClock,
    /// Its metric handles.
    pub metrics: FunctionMetrics,
    pub(crate) shared: Arc<Shared>,
    route: ArcSwap<Route>,
    endpoints: ArcSwap<Endpoints>,
    updating: Mutex<()>,
    queue: Queue,
    /// A release task runs for it (see `probe`).
    pub(crate) releasing: AtomicBool,
    /// Tells the release task that endpoints changed.
    pub(crate) endpoints_changed: Notify,
    /// Moving average of wake times, in microseconds; 0 = none observed.
    wake_time: AtomicU64,
}

/// What [`Function::acquire`] came to.
pub(crate) enum Acquired {
    /// Go ahead.
    Lease(Lease),
    /// Wait for the lease.
    Held(Waiting),
}

impl Function {
    /// A function without endpoints.
    pub fn new(spec: RouteSpec, shared: Arc<Shared>) -> Self {
        Self {
            id: spec.id.clone(),
            counters: Counters::default(),
            wake_clock: WakeClock::default(),
            metrics: FunctionMetrics::new(&shared.metrics, &spec.id),
            queue: Queue::new(Arc::clone(&shared.held)),
            shared,
            route: ArcSwap::from_pointee(Route::new(spec)),
            endpoints: ArcSwap::default(),
            updating: Mutex::new(()),
            releasing: AtomicBool::new(false),
            endpoints_changed: Notify::new(),
            wake_time: AtomicU64::new(0),
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
    pub(crate) fn set_route(&self, spec: RouteSpec) {
        self.route.store(Arc::new(Route::new(spec)));
    }

    /// Replaces its endpoints and releases what can go now.
    pub(crate) fn set_endpoints(self: &Arc<Self>, states: &[EndpointState]) {
        let now = clock::now();
        {
            let _one_at_a_time = self.updating.lock();
            let next = self.endpoints.load().updated(states, self.shared.workers, now);
            let unchanged = next.all.len() == self.endpoints.load().all.len()
                && next.all.iter().zip(&self.endpoints.load().all).all(|(a, b)| Arc::ptr_eq(a, b));
            if !unchanged {
                self.endpoints.store(Arc::new(next));
            }
        }
        if self.queue.is_empty() {
            return;
        }
        let clock = &self.wake_clock;
        if !states.is_empty() {
            let _ = clock.address.compare_exchange(0, now, Relaxed, Relaxed);
        }
        self.note_usable(now);
        self.shared.changes.mark(self);
        self.dispatch();
        self.endpoints_changed.notify_one();
    }

    /// Its held requests end as for an unknown host, and no further one is held.
    pub(crate) fn remove(&self) {
        self.queue.close();
        self.endpoints_changed.notify_one();
    }

    /// A place on a pod at once, or a place in the queue. `bytes` are what is held in memory.
    pub(crate) fn acquire(self: &Arc<Self>, bytes: usize) -> Result<Acquired, QueueError> {
        if self.queue.is_empty()
            && let Choice::Endpoint(endpoint) = self.choose()
        {
            return Ok(Acquired::Lease(Lease::new(self, endpoint)));
        }
        let now = clock::now();
        let unserved = !self.endpoints.load().any_usable(now);
        let first = self.queue.is_empty();
        let waiting = self.queue.join(bytes)?;
        if unserved {
            if first {
                self.start_wake_clock(now);
            }
            self.shared.changes.mark_urgent(self);
        } else {
            self.shared.changes.mark(self);
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

    fn choose(&self) -> Choice {
        let limit = self.route.load().spec.concurrency;
        self.endpoints.load().choose(limit, fastrand::u64(..), clock::now())
    }

    fn start_wake_clock(&self, now: u64) {
        let listed = !self.endpoints.load().all.is_empty();
        self.wake_clock.started.store(now, Relaxed);
        self.wake_clock.address.store(if listed { now } else { 0 }, Relaxed);
        self.wake_clock.usable.store(0, Relaxed);
    }

    /// Records that an endpoint can answer, once per cold start.
    pub(crate) fn note_usable(&self, now: u64) {
        let clock = &self.wake_clock;
        let started = clock.started.load(Relaxed);
        if started == 0 || !self.endpoints.load().any_usable(now) {
            return;
        }
        if clock.usable.compare_exchange(0, now, Relaxed, Relaxed).is_ok() {
            let took = now.saturating_sub(started);
            let old = self.wake_time.load(Relaxed);
            let next = if old == 0 {
                took
            } else {
                old - (old >> WAKE_AVERAGE_SHIFT) + (took >> WAKE_AVERAGE_SHIFT)
            };
            self.wake_time.store(next.max(1), Relaxed);
            self.metrics.observe_wake(took);
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

impl Route {
    fn new(spec: RouteSpec) -> Self {
        let security = spec.security.as_ref().map(SecurityBlock::new);
        Self { spec, security }
    }
}

/// A place on an endpoint for one request: in flight while it lives.
pub struct Lease {
    function: Arc<Function>,
    /// The pod.
    pub endpoint: Arc<Endpoint>,
    answered: bool,
    settled: bool,
}

impl Lease {
    /// Wraps the place that `choose` took.
    fn new(function: &Arc<Function>, endpoint: Arc<Endpoint>) -> Self {
        function.counters.forwarded();
        function.shared.changes.mark(function);
        Self { function: Arc::clone(function), endpoint, answered: false, settled: false }
    }

    /// A response head came back.
    pub(crate) fn answered(&mut self) {
        if !std::mem::replace(&mut self.answered, true) {
            self.endpoint.answered(true);
            if !self.function.queue.is_empty() {
                self.function.dispatch();
            }
        }
    }

    fn settle(&mut self) {
        self.settled = true;
        if !std::mem::replace(&mut self.answered, true) {
            self.endpoint.answered(false);
        }
        self.endpoint.release();
        self.function.counters.finished();
        self.function.shared.changes.mark(&self.function);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.settle();
        if !self.function.queue.is_empty() {
            self.function.dispatch();
        }
    }
}

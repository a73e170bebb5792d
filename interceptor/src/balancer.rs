//! Balance: which pod takes a request.
//!
//! Power of two choices on requests in flight (Mitzenmacher, "The Power of Two Choices in
//! Randomized Load Balancing", 2001), over the endpoints that may serve now. An endpoint is usable
//! when it is ready (or answered our own probe), not terminating and not ejected. This stage only
//! chooses and counts; it never opens a connection and never waits. Randomness and time come in as
//! arguments.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{source::EndpointState, upstream::IdleConnections};

/// A new pod first gets this many unanswered requests at a time.
const INITIAL_WINDOW: u32 = 8;
/// A window that has grown to this is open: it limits nothing any more.
const OPEN_WINDOW: u32 = 1024;
/// Without any answer the window still doubles this often, so that slow handlers are not starved.
const WINDOW_DOUBLING_US: u64 = 100_000;
/// Connections opened to an endpoint that it has not answered on yet. They may all stand in the
/// pod's accept queue, often 128 long, together with those of other interceptors; one more than it
/// holds is reset after the request was written, when it can no longer be sent elsewhere.
const FRESH_CONNECTIONS: usize = 32;
/// Timeouts in a row after which an endpoint is ejected. A refused connection ejects at once.
const STRIKES: u32 = 3;
/// First ejection lasts this long; it doubles with each further one in a row.
const EJECTION_US: u64 = 1_000_000;
/// Longest ejection.
const MAX_EJECTION_US: u64 = 30_000_000;

/// One pod address, with what this proxy knows of it. Lives as long as the source lists it.
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    ready: AtomicBool,
    terminating: AtomicBool,
    /// It answered our probe although the source does not call it ready yet.
    probed: AtomicBool,
    in_flight: AtomicU32,
    /// Leased, and no response head has come back yet.
    unanswered: AtomicU32,
    window: AtomicU32,
    /// When it first became usable, in microseconds of the process clock; 0 = not yet.
    usable_since: AtomicU64,
    strikes: AtomicU32,
    ejections: AtomicU32,
    ejected_until: AtomicU64,
    /// A probe of it is under way.
    probing: AtomicBool,
    /// Permits for connections that the pod has not answered on yet; see [`FRESH_CONNECTIONS`].
    pub(crate) fresh: Arc<Semaphore>,
    /// Idle connections to it, one list per worker.
    pub(crate) idle: Box<[Mutex<IdleConnections>]>,
    /// Multiplexed HTTP/2 connection to it, one per worker.
    pub(crate) h2: Box<[crate::upstream::h2::Slot]>,
}

impl Endpoint {
    /// A new endpoint as its source describes it.
    pub fn new(state: EndpointState, workers: usize, now: u64) -> Self {
        Self {
            address: state.address,
            ready: AtomicBool::new(state.ready),
            terminating: AtomicBool::new(state.terminating),
            probed: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            unanswered: AtomicU32::new(0),
            window: AtomicU32::new(INITIAL_WINDOW),
            usable_since: AtomicU64::new(if state.ready { now.max(1) } else { 0 }),
            strikes: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            probing: AtomicBool::new(false),
            fresh: Arc::new(Semaphore::new(FRESH_CONNECTIONS)),
            idle: (0..workers).map(|_| Mutex::default()).collect(),
            h2: (0..workers).map(|_| crate::upstream::h2::Slot::default()).collect(),
        }
    }

    /// Takes over what the source says now. A pod that stops being ready must be probed anew.
    pub fn update(&self, state: EndpointState, now: u64) {
        let was_ready = self.ready.swap(state.ready, Relaxed);
        self.terminating.store(state.terminating, Relaxed);
        if was_ready && !state.ready {
            self.probed.store(false, Relaxed);
        }
        if state.ready {
            let _ = self.usable_since.compare_exchange(0, now.max(1), Relaxed, Relaxed);
        }
    }

    /// May a new request go to it now?
    pub fn usable(&self, now: u64) -> bool {
        self.stays()
            && (self.ready.load(Relaxed) || self.probed.load(Relaxed))
            && self.ejected_until.load(Relaxed) <= now
    }

    /// Is its pod there to stay, ready or not?
    pub fn stays(&self) -> bool {
        !self.terminating.load(Relaxed)
    }

    /// Is it worth probing: there, but not usable?
    pub fn wants_probe(&self, now: u64) -> bool {
        self.stays() && !self.usable(now)
    }

    /// Claims the one probe an endpoint may have at a time.
    pub(crate) fn start_probe(self: &Arc<Self>) -> Option<ProbeGuard> {
        let free = !self.probing.swap(true, Relaxed);
        free.then(|| ProbeGuard(Arc::clone(self)))
    }

    /// It answered a probe: usable from now on, whatever readiness says, and not ejected.
    pub fn mark_probed(&self, now: u64) {
        self.probed.store(true, Relaxed);
        self.ejected_until.store(0, Relaxed);
        self.strikes.store(0, Relaxed);
        let _ = self.usable_since.compare_exchange(0, now.max(1), Relaxed, Relaxed);
    }

    /// Requests sent to it and not finished.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// When it became usable, microseconds of the process clock; 0 = never yet.
    pub fn usable_since(&self) -> u64 {
        self.usable_since.load(Relaxed)
    }

    /// Room under the hard limit (0 = none) and the ramp-up window?
    fn has_room(&self, limit: u32, now: u64) -> bool {
        if limit != 0 && self.in_flight.load(Relaxed) >= limit {
            return false;
        }
        let window = self.window.load(Relaxed);
        if window >= OPEN_WINDOW {
            return true;
        }
        let age = now.saturating_sub(self.usable_since.load(Relaxed));
        let doublings = u32::try_from(age / WINDOW_DOUBLING_US).unwrap_or(u32::MAX).min(16);
        self.unanswered.load(Relaxed) < window.saturating_mul(1 << doublings)
    }

    /// Takes one place; exact under concurrency when there is a hard limit.
    fn take(&self, limit: u32) -> bool {
        if limit == 0 {
            self.in_flight.fetch_add(1, Relaxed);
        } else {
            let taken =
                self.in_flight.fetch_update(Relaxed, Relaxed, |n| (n < limit).then_some(n + 1));
            if taken.is_err() {
                return false;
            }
        }
        self.unanswered.fetch_add(1, Relaxed);
        true
    }

    /// A response head came back (or the attempt ended without one).
    pub(crate) fn answered(&self, well: bool) {
        self.unanswered.fetch_sub(1, Relaxed);
        if !well {
            return;
        }
        if self.strikes.load(Relaxed) != 0 {
            self.strikes.store(0, Relaxed);
        }
        if self.ejections.load(Relaxed) != 0 {
            self.ejections.store(0, Relaxed);
        }
        if self.window.load(Relaxed) < OPEN_WINDOW {
            self.window.fetch_add(1, Relaxed);
        }
    }

    /// The request is over: gives its place back.
    pub(crate) fn release(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// It refused a connection: ejected now, until it is probed or the time is over.
    pub(crate) fn refused(&self, now: u64) {
        self.eject(now);
    }

    /// A connection attempt or a response timed out: three in a row eject.
    pub(crate) fn timed_out(&self, now: u64) {
        if self.strikes.fetch_add(1, Relaxed) + 1 >= STRIKES {
            self.eject(now);
        }
    }

    fn eject(&self, now: u64) {
        self.probed.store(false, Relaxed);
        self.strikes.store(0, Relaxed);
        let earlier = self.ejections.fetch_add(1, Relaxed).min(5);
        let length = (EJECTION_US << earlier).min(MAX_EJECTION_US);
        self.ejected_until.store(now + length, Relaxed);
        // It comes back as a new pod would: through the small window.
        self.window.store(INITIAL_WINDOW, Relaxed);
        self.usable_since.store(now + length, Relaxed);
    }
}

/// A probe under way; the next one may start when it is dropped.
pub(crate) struct ProbeGuard(Arc<Endpoint>);

impl ProbeGuard {
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for ProbeGuard {
    fn drop(&mut self) {
        self.0.probing.store(false, Relaxed);
    }
}

/// The endpoints of one function: an immutable list, replaced as a whole.
#[derive(Default)]
pub struct Endpoints {
    /// Every listed endpoint, usable or not.
    pub all: Vec<Arc<Endpoint>>,
}

/// What choosing came to.
pub enum Choice {
    /// This one; a place on it is taken.
    Endpoint(Arc<Endpoint>),
    /// Endpoints are usable, but each is at its limit or window.
    Saturated,
    /// Nothing is usable: the function has to wake.
    Unavailable,
}

impl Endpoints {
    /// The next list: endpoints that stay keep their state, new ones start afresh.
    pub fn updated(&self, states: &[EndpointState], workers: usize, now: u64) -> Self {
        let all = states
            .iter()
            .map(|state| match self.all.iter().find(|e| e.address == state.address) {
                Some(known) => {
                    known.update(*state, now);
                    Arc::clone(known)
                }
                None => Arc::new(Endpoint::new(*state, workers, now)),
            })
            .collect();
        Self { all }
    }

    /// Is any endpoint usable?
    pub fn any_usable(&self, now: u64) -> bool {
        self.all.iter().any(|e| e.usable(now))
    }

    /// Chooses an endpoint and takes a place on it. `random` is any number.
    pub fn choose(&self, limit: u32, random: u64, now: u64) -> Choice {
        let fits = |e: &Endpoint| e.usable(now) && e.has_room(limit, now);
        if let Some(picked) = self.two_choices(random, &fits)
            && picked.take(limit)
        {
            return Choice::Endpoint(Arc::clone(picked));
        }
        // Neither sample fits: look at all of them, least loaded first found wins.
        let mut usable = false;
        loop {
            let mut best: Option<&Arc<Endpoint>> = None;
            for e in &self.all {
                usable |= e.usable(now);
                if fits(e) && best.is_none_or(|b| e.in_flight() < b.in_flight()) {
                    best = Some(e);
                }
            }
            match best {
                // Another worker may take the last place first; then look again.
                Some(e) if e.take(limit) => return Choice::Endpoint(Arc::clone(e)),
                Some(_) => {}
                None if usable => return Choice::Saturated,
                None => return Choice::Unavailable,
            }
        }
    }

    fn two_choices(&self, random: u64, fits: &dyn Fn(&Endpoint) -> bool) -> Option<&Arc<Endpoint>> {
        let n = u64::try_from(self.all.len()).ok().filter(|n| *n > 0)?;
        let pick = |r: u64| self.all.get(usize::try_from(r % n).unwrap_or(0));
        let first = pick(random & 0xffff_ffff)?;
        if n == 1 {
            return fits(first).then_some(first);
        }
        // The second sample is another one: an offset in 1..n from the first.
        let second = pick((random & 0xffff_ffff) % n + 1 + (random >> 32) % (n - 1))?;
        match (fits(first), fits(second)) {
            (true, true) if second.in_flight() < first.in_flight() => Some(second),
            (true, _) => Some(first),
            (false, true) => Some(second),
            (false, false) => None,
        }
    }
}

/// The share of a concurrency-limited function's pods that this interceptor may use, so that the
/// fleet together keeps the limit exact: each pod belongs to the interceptor with the highest
/// random weight (rendezvous hashing, Thaler and Ravishankar 1998). With fewer pods than
/// interceptors some own none; those use all, and the limit is then exact per interceptor only.
pub fn owned(states: &[EndpointState], me: &str, interceptors: &[String]) -> Vec<EndpointState> {
    if interceptors.len() < 2 || !interceptors.iter().any(|i| i == me) {
        return states.to_vec();
    }
    let mine: Vec<_> = states
        .iter()
        .filter(|s| {
            let owner = interceptors.iter().max_by_key(|i| (weight(i, s.address), i.as_str()));
            owner.is_some_and(|o| o == me)
        })
        .copied()
        .collect();
    if mine.is_empty() { states.to_vec() } else { mine }
}

/// FNV-1a over both names, finished with a 64-bit mix so that near names spread.
fn weight(interceptor: &str, pod: SocketAddr) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in interceptor.bytes().chain([0]).chain(pod.to_string().bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn state(port: u16, ready: bool) -> EndpointState {
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        EndpointState { address, ready, terminating: false }
    }

    fn endpoints(n: u16) -> Endpoints {
        let states: Vec<_> = (1..=n).map(|p| state(p, true)).collect();
        Endpoints::default().updated(&states, 1, 1)
    }

    fn port(choice: Choice) -> Option<u16> {
        match choice {
            Choice::Endpoint(e) => Some(e.address.port()),
            Choice::Saturated | Choice::Unavailable => None,
        }
    }

    #[test]
    fn two_choices_keep_the_load_level() {
        let set = endpoints(5);
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..40 {
            assert!(port(set.choose(0, rng.u64(..), 1)).is_some());
        }
        let loads: Vec<_> = set.all.iter().map(|e| e.in_flight()).collect();
        assert_eq!(loads.iter().sum::<u32>(), 40);
        assert!(loads.iter().all(|l| (5..=11).contains(l)), "{loads:?}");
    }

    #[test]
    fn a_hard_limit_is_exact() {
        let set = endpoints(3);
        let mut rng = fastrand::Rng::with_seed(1);
        let taken = (0..100).filter(|_| port(set.choose(2, rng.u64(..), 1)).is_some()).count();
        assert_eq!(taken, 6);
        assert!(matches!(set.choose(2, 0, 1), Choice::Saturated));
        set.all[1].release();
        assert_eq!(port(set.choose(2, 0, 1)), Some(2));
    }

    #[test]
    fn a_new_pod_ramps_up_by_answers_and_by_time() {
        let set = endpoints(1);
        let take = |now| (0..5000).filter(|_| port(set.choose(0, 0, now)).is_some()).count();
        assert_eq!(take(1), 8);
        for _ in 0..8 {
            set.all[0].answered(true);
        }
        assert_eq!(take(1), 16, "each answer frees a place and adds one");
        assert_eq!(take(1 + WINDOW_DOUBLING_US), 16, "no answer for a while: twice the window");
    }

    #[test]
    fn refused_ejects_at_once_timeouts_need_three() {
        let set = endpoints(2);
        set.all[0].refused(10);
        assert_eq!(port(set.choose(0, 0, 11)), Some(2));
        set.all[1].timed_out(11);
        set.all[1].timed_out(11);
        assert!(set.any_usable(11));
        set.all[1].timed_out(11);
        assert!(matches!(set.choose(0, 0, 12), Choice::Unavailable));
        assert!(set.all[1].wants_probe(12), "an ejected endpoint is probed back");
        set.all[1].mark_probed(13);
        assert_eq!(port(set.choose(0, 0, 13)), Some(2));
        assert!(set.all[0].usable(10 + EJECTION_US), "never for long");
    }

    #[test]
    fn updates_keep_what_stays() {
        let set = endpoints(2);
        assert!(port(set.choose(0, 0, 1)).is_some());
        let next = set.updated(&[state(1, true), state(3, false)], 1, 2);
        assert!(Arc::ptr_eq(&set.all[0], &next.all[0]));
        assert!(!next.all[1].usable(2));
        assert!(next.all[1].wants_probe(2));
    }

    #[test]
    fn rendezvous_divides_and_moves_little() {
        let states: Vec<_> = (1..=60).map(|p| state(p, true)).collect();
        let fleet = |n: usize| (0..n).map(|i| format!("interceptor-{i}")).collect::<Vec<_>>();
        let three = fleet(3);
        let shares: Vec<_> = three.iter().map(|i| owned(&states, i, &three)).collect();
        assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), 60, "each pod has one owner");
        assert!(shares.iter().all(|s| s.len() >= 8), "roughly even");
        let four = fleet(4);
        let kept = owned(&states, "interceptor-0", &four);
        assert!(kept.iter().all(|s| shares[0].contains(s)), "a new one only takes away");
        assert_eq!(owned(&states[..1], "interceptor-9", &three).len(), 1, "unknown self: all");
    }
}

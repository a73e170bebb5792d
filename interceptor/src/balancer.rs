//! Balance: which pod takes a request.
//!
//! Power of two choices on requests in flight (Mitzenmacher, "The Power of Two Choices in
//! Randomized Load Balancing", 2001), over the endpoints that may serve now. An endpoint is usable
//! when it is ready (or answered our own probe), not terminating and not ejected. This stage only
//! chooses and counts; it never opens a connection and never waits. Randomness and time come in as
//! arguments.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
};

/// A new pod first gets this many unanswered requests at a time.
const INITIAL_WINDOW: u32 = 8;
/// A window that has grown to this is open: it limits nothing any more.
const OPEN_WINDOW: u32 = 1024;
/// Without any answer the window still doubles this often, so that slow handlers are not starved.
const WINDOW_DOUBLING_US: u64 = 100_000;
/// Timeouts in a row after which an endpoint is ejected. A refused connection ejects at once.
const STRIKES: u32 = 3;
/// First ejection lasts this long; it doubles with each further one in a row.
const EJECTION_US: u64 = 1_000_000;
/// Longest ejection.
const MAX_EJECTION_US: u64 = 30_000_000;

/// What one endpoint has to do, and whether it can. Atomics only.
pub struct Load {
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
}

impl Load {
    /// Of a new endpoint.
    pub fn new(ready: bool, terminating: bool, now: u64) -> Self {
        Self {
            ready: AtomicBool::new(ready),
            terminating: AtomicBool::new(terminating),
            probed: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            unanswered: AtomicU32::new(0),
            window: AtomicU32::new(INITIAL_WINDOW),
            usable_since: AtomicU64::new(if ready { now.max(1) } else { 0 }),
            strikes: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
        }
    }

    /// It needs no ramp-up.
    pub fn open(&self) {
        self.window.store(OPEN_WINDOW, Relaxed);
    }

    /// Takes over what the source says now. A pod that stops being ready must be probed anew.
    pub fn update(&self, ready: bool, terminating: bool, now: u64) {
        let was_ready = self.ready.swap(ready, Relaxed);
        self.terminating.store(terminating, Relaxed);
        if was_ready && !ready {
            self.probed.store(false, Relaxed);
        }
        if ready {
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

/// What choosing came to.
pub enum Choice<E> {
    /// This one; a place on it is taken.
    Endpoint(Arc<E>),
    /// Endpoints are usable, but each is at its limit or window.
    Saturated,
    /// Nothing is usable: the function has to wake.
    Unavailable,
}

/// Chooses one of `all` and takes a place on it. `random` is any number.
pub fn choose<E: AsRef<Load>>(all: &[Arc<E>], limit: u32, random: u64, now: u64) -> Choice<E> {
    let load = |e: &Arc<E>| -> u32 { (**e).as_ref().in_flight() };
    let fits = |e: &Arc<E>| {
        let load = (**e).as_ref();
        load.usable(now) && load.has_room(limit, now)
    };
    if let Some(picked) = two_choices(all, random, &fits)
        && (**picked).as_ref().take(limit)
    {
        return Choice::Endpoint(Arc::clone(picked));
    }
    // Neither sample fits: look at all of them, least loaded first found wins.
    let mut usable = false;
    loop {
        let mut best: Option<&Arc<E>> = None;
        for e in all {
            usable |= (**e).as_ref().usable(now);
            if fits(e) && best.is_none_or(|b| load(e) < load(b)) {
                best = Some(e);
            }
        }
        match best {
            // Another worker may take the last place first; then look again.
            Some(e) if (**e).as_ref().take(limit) => return Choice::Endpoint(Arc::clone(e)),
            Some(_) => {}
            None if usable => return Choice::Saturated,
            None => return Choice::Unavailable,
        }
    }
}

fn two_choices<'a, E: AsRef<Load>>(
    all: &'a [Arc<E>],
    random: u64,
    fits: &impl Fn(&Arc<E>) -> bool,
) -> Option<&'a Arc<E>> {
    let n = u64::try_from(all.len()).ok().filter(|n| *n > 0)?;
    let pick = |r: u64| all.get(usize::try_from(r % n).unwrap_or(0));
    let first = pick(random & 0xffff_ffff)?;
    if n == 1 {
        return fits(first).then_some(first);
    }
    // The second sample is another one: an offset in 1..n from the first.
    let second = pick((random & 0xffff_ffff) % n + 1 + (random >> 32) % (n - 1))?;
    let load = |e: &Arc<E>| -> u32 { (**e).as_ref().in_flight() };
    match (fits(first), fits(second)) {
        (true, true) if load(second) < load(first) => Some(second),
        (true, _) => Some(first),
        (false, true) => Some(second),
        (false, false) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// An endpoint by its number.
    struct Numbered(u16, Load);

    impl AsRef<Load> for Numbered {
        fn as_ref(&self) -> &Load {
            &self.1
        }
    }

    fn endpoints(n: u16) -> Vec<Arc<Numbered>> {
        (1..=n).map(|p| Arc::new(Numbered(p, Load::new(true, false, 1)))).collect()
    }

    fn number(choice: Choice<Numbered>) -> Option<u16> {
        match choice {
            Choice::Endpoint(e) => Some(e.0),
            Choice::Saturated | Choice::Unavailable => None,
        }
    }

    #[test]
    fn two_choices_keep_the_load_level() {
        let set = endpoints(5);
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..40 {
            assert!(number(choose(&set, 0, rng.u64(..), 1)).is_some());
        }
        let loads: Vec<_> = set.iter().map(|e| e.1.in_flight()).collect();
        assert_eq!(loads.iter().sum::<u32>(), 40);
        assert!(loads.iter().all(|l| (5..=11).contains(l)), "{loads:?}");
    }

    #[test]
    fn a_hard_limit_is_exact() {
        let set = endpoints(3);
        let mut rng = fastrand::Rng::with_seed(1);
        let taken = (0..100).filter(|_| number(choose(&set, 2, rng.u64(..), 1)).is_some()).count();
        assert_eq!(taken, 6);
        assert!(matches!(choose(&set, 2, 0, 1), Choice::Saturated));
        set[1].1.release();
        assert_eq!(number(choose(&set, 2, 0, 1)), Some(2));
    }

    #[test]
    fn a_new_pod_ramps_up_by_answers_and_by_time() {
        let set = endpoints(1);
        let take = |now| (0..5000).filter(|_| number(choose(&set, 0, 0, now)).is_some()).count();
        assert_eq!(take(1), 8);
        for _ in 0..8 {
            set[0].1.answered(true);
        }
        assert_eq!(take(1), 16, "each answer frees a place and adds one");
        assert_eq!(take(1 + WINDOW_DOUBLING_US), 16, "no answer for a while: twice the window");
    }

    #[test]
    fn refused_ejects_at_once_timeouts_need_three() {
        let set = endpoints(2);
        set[0].1.refused(10);
        assert_eq!(number(choose(&set, 0, 0, 11)), Some(2));
        set[1].1.timed_out(11);
        set[1].1.timed_out(11);
        assert!(set[1].1.usable(11));
        set[1].1.timed_out(11);
        assert!(matches!(choose(&set, 0, 0, 12), Choice::Unavailable));
        assert!(set[1].1.wants_probe(12), "an ejected endpoint is probed back");
        set[1].1.mark_probed(13);
        assert_eq!(number(choose(&set, 0, 0, 13)), Some(2));
        assert!(set[0].1.usable(10 + EJECTION_US), "never for long");
    }
}

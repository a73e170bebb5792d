//! What a process knows of an event object that it has leased.
//!
//! Several calls may look at one event at the same time: a lease is renewed while the event is being
//! marked. The object itself decides; here is only what was written and read last.

use std::time::Duration;

use kipper_bucket::{Lease, Record};
use parking_lot::Mutex;

/// Leases are set to an hour at most; this is what clocks may be apart besides.
const LONGEST_LEASE: Duration = Duration::from_secs(2 * 3600);

/// Whose an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// This process's, as far as it knows.
    Ours,
    /// Somebody else's.
    Lost,
    /// Nobody's: the object is not there any more.
    Gone,
}

/// A leased event object.
#[derive(Debug)]
pub struct Leased {
    name: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    record: Record,
    etag: String,
    hold: Hold,
    is_released: bool,
}

impl Leased {
    pub(super) fn new(name: String, record: Record, etag: String) -> Self {
        let state = State { record, etag, hold: Hold::Ours, is_released: false };
        Self { name, state: Mutex::new(state) }
    }

    /// The object's key.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The event as it was written last, and the ETag that this had.
    pub(super) fn snapshot(&self) -> (Record, String) {
        let state = self.state.lock();
        (state.record.clone(), state.etag.clone())
    }

    /// A write succeeded.
    pub(super) fn written(&self, record: Record, etag: String) {
        let mut state = self.state.lock();
        // Attempts may have been counted meanwhile.
        state.record.lease = record.lease;
        state.etag = etag;
    }

    /// The object turned out to carry this lease, by an earlier write of this process.
    pub(super) fn adopt(&self, lease: Option<Lease>, etag: String) {
        let mut state = self.state.lock();
        state.record.lease = lease;
        state.etag = etag;
    }

    /// The event turned out not to be this process's.
    pub(super) fn ended(&self, hold: Hold) -> Hold {
        self.state.lock().hold = hold;
        hold
    }

    pub(super) fn hold(&self) -> Hold {
        self.state.lock().hold
    }

    pub(super) fn until_ms(&self) -> u64 {
        self.state.lock().record.lease.as_ref().map_or(0, |lease| lease.until_ms)
    }

    /// Its lease is to be given up, and not to be renewed any more.
    pub(super) fn release(&self) {
        self.state.lock().is_released = true;
    }

    pub(super) fn is_released(&self) -> bool {
        self.state.lock().is_released
    }

    /// True if there is a lease to renew.
    pub(super) fn is_kept(&self) -> bool {
        let state = self.state.lock();
        !state.is_released && state.hold == Hold::Ours
    }

    pub(super) fn set_attempts(&self, attempts: u32) {
        self.state.lock().record.attempts = attempts;
    }
}

/// Whether a lease still holds at this moment of the server's clock. One that would last for longer
/// than any lease was written while the clock was wrong, and holds nothing.
pub(super) fn is_held(lease: &Lease, now_ms: Option<u64>) -> bool {
    let Some(now_ms) = now_ms else { return true };
    let longest_ms = u64::try_from(LONGEST_LEASE.as_millis()).unwrap_or(u64::MAX);
    lease.until_ms.checked_sub(now_ms).is_some_and(|left| left > 0 && left <= longest_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_from_a_clock_that_was_wrong_holds_nothing() {
        let hour = 3_600_000;
        let lease = |until_ms| Lease { owner: "other".to_owned(), until_ms };
        let now = Some(1_764_118_800_000);
        for (until_ms, expected) in [
            (1_764_118_800_000 - 1, false),
            (1_764_118_800_000, false),
            (1_764_118_800_001, true),
            (1_764_118_800_000 + hour, true),
            (1_764_118_800_000 + 3 * hour, false),
            (u64::MAX, false),
        ] {
            assert_eq!(is_held(&lease(until_ms), now), expected, "{until_ms}");
        }
        assert!(is_held(&lease(1), None), "nothing is known of the clock");
    }
}

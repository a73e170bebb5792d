//! What one link has yet to send: the latest counts of each changed function.
//!
//! Filling never waits. While the link has no stream nothing is kept, because every stream begins
//! with a snapshot. At [`MAX_FUNCTIONS`] the map overflows, and the link starts over with one.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
};

use kipper_counts::FunctionCounts;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::counts::Counts;
use crate::source::FunctionId;

/// Functions reported at most; the adapter's own bound.
pub(super) const MAX_FUNCTIONS: usize = 200_000;

/// A function's counts when its change was taken.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) counts: Counts,
    /// The total as of the previous change.
    pub(super) base: u64,
    /// When `counts` was read.
    pub(super) taken: Instant,
}

/// The map was full; changes were lost.
#[derive(Debug)]
pub(super) struct Overflow;

/// Changes to be sent, merged by function.
#[derive(Default)]
pub(super) struct Pending {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    is_open: bool,
    overflowed: bool,
    changes: HashMap<FunctionId, Change>,
}

impl Pending {
    /// Starts to keep changes; to be called before the snapshot is taken, so that none is missed.
    /// Ends with the guard.
    pub(super) fn open(&self) -> Open<'_> {
        *self.state.lock() = State { is_open: true, ..State::default() };
        Open(self)
    }

    /// Adds changes. A later change of a function replaces its earlier one but keeps its base.
    pub(super) fn add(&self, changes: &[Change]) {
        let mut state = self.state.lock();
        if !state.is_open || changes.is_empty() {
            return;
        }
        for change in changes {
            let room = state.changes.len() < MAX_FUNCTIONS;
            match state.changes.entry(change.counts.id.clone()) {
                Entry::Occupied(mut entry) => {
                    let earlier = entry.get();
                    let is_new_counter = change.counts.total < earlier.counts.total;
                    let base = if is_new_counter { change.base } else { earlier.base };
                    entry.insert(Change { base, ..change.clone() });
                }
                Entry::Vacant(entry) if room => {
                    entry.insert(change.clone());
                }
                Entry::Vacant(_) => {
                    state.overflowed = true;
                    break;
                }
            }
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Resolves when changes were added since it last did.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes all changes.
    pub(super) fn take(&self) -> Result<Vec<FunctionCounts>, Overflow> {
        let changes = {
            let mut state = self.state.lock();
            if state.overflowed {
                return Err(Overflow);
            }
            mem::take(&mut state.changes)
        };
        let now = Instant::now();
        Ok(changes.values().map(|change| change.at(now)).collect())
    }
}

impl Change {
    /// As the protocol has it.
    pub(super) fn at(&self, now: Instant) -> FunctionCounts {
        let counts = &self.counts;
        let idle = counts.idle + now.saturating_duration_since(self.taken);
        FunctionCounts {
            namespace: counts.id.namespace.to_string(),
            name: counts.id.name.to_string(),
            total: counts.total,
            in_flight: counts.in_flight,
            held: counts.held,
            waiting: counts.waiting,
            idle_ms: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
            base: self.base,
        }
    }
}

/// Changes are kept while this lives.
pub(super) struct Open<'a>(&'a Pending);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        *self.0.state.lock() = State::default();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn change(name: &str, total: u64, base: u64) -> Change {
        let counts = Counts {
            id: FunctionId::new("shop-prod", name),
            total,
            in_flight: 1,
            held: 0,
            waiting: 0,
            idle: Duration::ZERO,
        };
        Change { counts, base, taken: Instant::now() }
    }

    #[test]
    fn changes_merge_and_keep_the_first_base() {
        let pending = Pending::default();
        let _open = pending.open();
        pending.add(&[change("hello", 5, 3), change("other", 1, 0)]);
        pending.add(&[change("hello", 9, 5)]);
        let mut taken = pending.take().unwrap();
        taken.sort_by(|a, b| a.name.cmp(&b.name));
        let counts: Vec<_> = taken.iter().map(|counts| (counts.total, counts.base)).collect();
        assert_eq!(counts, [(9, 3), (1, 0)]);
        assert!(pending.take().unwrap().is_empty());
    }

    #[test]
    fn a_counter_that_began_anew_brings_its_own_base() {
        let pending = Pending::default();
        let _open = pending.open();
        pending.add(&[change("hello", 90, 80)]);
        pending.add(&[change("hello", 2, 0)]);
        let taken = pending.take().unwrap();
        assert_eq!((taken[0].total, taken[0].base), (2, 0));
    }

    #[test]
    fn nothing_is_kept_without_a_stream() {
        let pending = Pending::default();
        pending.add(&[change("hello", 1, 0)]);
        assert!(pending.take().unwrap().is_empty());
        let open = pending.open();
        pending.add(&[change("hello", 2, 1)]);
        drop(open);
        assert!(pending.take().unwrap().is_empty());
    }

    #[test]
    fn a_full_map_overflows_until_the_next_snapshot() {
        let pending = Pending::default();
        let open = pending.open();
        let many: Vec<_> =
            (0..MAX_FUNCTIONS).map(|index| change(&index.to_string(), 1, 0)).collect();
        pending.add(&many);
        pending.add(&[change("0", 2, 1)]);
        pending.add(&[change("one too many", 1, 0)]);
        assert!(pending.take().is_err());
        drop(open);
        let _open = pending.open();
        assert!(pending.take().unwrap().is_empty());
    }
}

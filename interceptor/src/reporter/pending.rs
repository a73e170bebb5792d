//! What one link has yet to send: the latest counts of each changed function.
//!
//! Filling never waits. While the link has no stream nothing is kept, because every stream begins
//! with a snapshot. What exceeds the link's budget stays here and merges. At [`MAX_FUNCTIONS`] the map
//! overflows, and the link starts over with a snapshot.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
};

use kipper_counts::{FunctionCounts, MAX_NUMBER};
use kipper_trigger::shard::Shard;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{counts::Counts, numbers::Named};
use crate::source::FunctionId;

/// Functions reported at most; the adapter's own bound.
pub(super) const MAX_FUNCTIONS: usize = MAX_NUMBER as usize;

/// A function's counts on the wire, at most, but for its name.
const ROW_BYTES: usize = 27;

/// A function's counts when its change was taken.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) counts: Counts,
    /// The function's; 0 where none was left.
    pub(super) number: u32,
    /// When `counts` was read.
    pub(super) taken: Instant,
    /// When the first of the changes merged here was.
    pub(super) since: Instant,
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
    /// The shard whose functions the stream carries.
    shard: Shard,
    overflowed: bool,
    changes: HashMap<FunctionId, Change>,
    freed: Vec<u32>,
}

impl Pending {
    /// Starts to keep changes; to be called before the snapshot is taken, so that none is missed.
    /// Ends with the guard.
    pub(super) fn open(&self, shard: Shard) -> Open<'_> {
        *self.state.lock() = State { is_open: true, shard, ..State::default() };
        Open(self)
    }

    /// The shard whose functions the open stream carries.
    pub(super) fn shard(&self) -> Shard {
        self.state.lock().shard
    }

    /// Adds changes, and numbers that were given back before them, also where nothing changed: whoever has
    /// them next is not to be taken for who had them. A later change of a function replaces its earlier one
    /// but keeps its base.
    pub(super) fn add(&self, changes: &[Change], freed: &[u32]) {
        let mut state = self.state.lock();
        if !state.is_open || (changes.is_empty() && freed.is_empty()) {
            return;
        }
        state.freed.extend_from_slice(freed);
        let shard = state.shard;
        let is_own =
            |change: &&Change| shard.has(&change.counts.id.namespace, &change.counts.id.name);
        for change in changes.iter().filter(is_own) {
            let room = state.changes.len() < MAX_FUNCTIONS;
            match state.changes.entry(change.counts.id.clone()) {
                Entry::Occupied(mut entry) => {
                    entry.get_mut().merge(change.clone());
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
        let is_filled = !state.changes.is_empty() || !state.freed.is_empty() || state.overflowed;
        drop(state);
        if is_filled {
            self.filled.notify_one();
        }
    }

    /// A snapshot is being taken: numbers that were given back before it mean nothing on its stream.
    pub(super) fn forget_freed(&self) {
        self.state.lock().freed.clear();
    }

    /// Resolves when changes were added since it last did.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes wakes, and other changes as far as there is room, the oldest first; and the numbers that the
    /// stream's adapter is to forget before them.
    pub(super) fn take(&self, named: &mut Named, room: usize) -> Result<Taken, Overflow> {
        let mut state = self.state.lock();
        if state.overflowed {
            return Err(Overflow);
        }
        let mut freed = mem::take(&mut state.freed);
        freed.retain(|number| named.forget(*number));
        let mut changes: Vec<Change> = state.changes.drain().map(|(_, change)| change).collect();
        changes.sort_unstable_by_key(|change| (!change.is_wake(), change.since));
        let now = Instant::now();
        let mut taken = Taken { freed, ..Taken::default() };
        for change in changes {
            if change.is_wake() || taken.bytes < room {
                let counts = change.at(now, named);
                taken.bytes += ROW_BYTES + counts.namespace.len() + counts.name.len();
                taken.functions.push(counts);
            } else {
                state.changes.insert(change.counts.id.clone(), change);
            }
        }
        taken.is_all = state.changes.is_empty();
        Ok(taken)
    }
}

/// What a stream says next.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) functions: Vec<FunctionCounts>,
    pub(super) freed: Vec<u32>,
    /// About what it takes on the wire.
    pub(super) bytes: usize,
    /// Nothing is left.
    pub(super) is_all: bool,
}

impl Taken {
    /// The same in reports of so many functions, numbers to forget with the first.
    pub(super) fn in_parts(self, functions: usize) -> impl Iterator<Item = Self> {
        let Self { functions: mut rest, mut freed, .. } = self;
        std::iter::from_fn(move || {
            if rest.is_empty() && freed.is_empty() {
                return None;
            }
            let later = rest.split_off(functions.min(rest.len()));
            let functions = mem::replace(&mut rest, later);
            Some(Self { functions, freed: mem::take(&mut freed), ..Self::default() })
        })
    }
}

impl Change {
    pub(super) fn new(counts: Counts, number: u32, taken: Instant) -> Self {
        Self { counts, number, taken, since: taken }
    }

    fn is_wake(&self) -> bool {
        self.counts.waiting > 0
    }

    /// Makes one change of two: the latest counts, and the base of the first ones.
    pub(super) fn merge(&mut self, later: Self) {
        let earlier = mem::replace(self, later);
        self.since = earlier.since;
        let is_new_counter = self.counts.total < earlier.counts.total;
        if !is_new_counter {
            self.counts.base = earlier.counts.base;
        }
    }

    /// As the protocol has it, on a stream that has said so much about names.
    pub(super) fn at(&self, now: Instant, named: &mut Named) -> FunctionCounts {
        let counts = &self.counts;
        let idle = counts.idle + now.saturating_duration_since(self.taken);
        let over = now.saturating_duration_since(self.since);
        let (number, needs_name) = named.name(self.number);
        let name = |part: &str| if needs_name { part.to_owned() } else { String::new() };
        FunctionCounts {
            namespace: name(&counts.id.namespace),
            name: name(&counts.id.name),
            number,
            total: counts.total,
            in_flight: counts.in_flight,
            held: counts.held,
            waiting: counts.waiting,
            idle_ms: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
            base: if needs_name { counts.base } else { 0 },
            over_ms: u32::try_from(over.as_millis()).unwrap_or(u32::MAX),
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
            base,
            in_flight: 1,
            held: 0,
            waiting: 0,
            idle: Duration::ZERO,
        };
        Change::new(counts, 0, Instant::now())
    }

    fn take(pending: &Pending) -> Vec<FunctionCounts> {
        pending.take(&mut Named::new(true), usize::MAX).unwrap().functions
    }

    #[test]
    fn changes_merge_and_keep_the_first_base() {
        let pending = Pending::default();
        let _open = pending.open(Shard::WHOLE);
        pending.add(&[change("hello", 5, 3), change("other", 1, 0)], &[]);
        pending.add(&[change("hello", 9, 5)], &[]);
        let mut taken = take(&pending);
        taken.sort_by(|a, b| a.name.cmp(&b.name));
        let counts: Vec<_> = taken.iter().map(|counts| (counts.total, counts.base)).collect();
        assert_eq!(counts, [(9, 3), (1, 0)]);
        assert!(take(&pending).is_empty());
    }

    #[test]
    fn a_name_goes_once_per_stream_and_again_when_its_number_was_freed() {
        let pending = Pending::default();
        let _open = pending.open(Shard::WHOLE);
        let mut named = Named::new(true);
        let mut said = |name: &str, freed: &[u32]| {
            pending.add(&[Change { number: 7, ..change(name, 5, 3) }], freed);
            let taken = pending.take(&mut named, usize::MAX).unwrap();
            let counts = &taken.functions[0];
            (taken.freed, counts.number, counts.name.clone(), counts.base)
        };
        assert_eq!(said("hello", &[1]), (vec![], 7, "hello".to_owned(), 3), "1 was never named");
        assert_eq!(said("hello", &[]), (vec![], 7, String::new(), 0));
        assert_eq!(said("other", &[7]), (vec![7], 7, "other".to_owned(), 3));
        // Given back while nothing else changed.
        pending.add(&[], &[7]);
        assert_eq!(said("third", &[]), (vec![7], 7, "third".to_owned(), 3));
    }

    #[test]
    fn beyond_the_room_the_oldest_go_first_and_wakes_before_them() {
        let pending = Pending::default();
        let _open = pending.open(Shard::WHOLE);
        let start = Instant::now();
        let at = |name: &str, second, waiting| {
            let mut change = change(name, 5, 3);
            change.since = start + Duration::from_secs(second);
            change.counts.waiting = waiting;
            change
        };
        pending.add(&[at("c", 3, 0), at("a", 1, 0), at("wake", 4, 1), at("b", 2, 0)], &[]);
        // It keeps its turn, and says the latest.
        pending.add(&[Change { counts: change("a", 9, 5).counts, ..at("a", 9, 0) }], &[]);
        let mut named = Named::new(true);
        let mut take = |room| {
            let taken = pending.take(&mut named, room).unwrap();
            let said: Vec<_> =
                taken.functions.iter().map(|it| (it.name.clone(), it.total, it.base)).collect();
            (said, taken.is_all)
        };
        let said = |name: &str, total| (name.to_owned(), total, 3);
        assert_eq!(take(0), (vec![said("wake", 5)], false));
        assert_eq!(take(1), (vec![said("a", 9)], false));
        assert_eq!(take(ROW_BYTES + 11), (vec![said("b", 5), said("c", 5)], true));
        assert_eq!(take(usize::MAX), (vec![], true));
    }

    #[test]
    fn a_large_merge_goes_in_parts() {
        let pending = Pending::default();
        let _open = pending.open(Shard::WHOLE);
        let many: Vec<_> = (0..25).map(|index| change(&index.to_string(), 1, 0)).collect();
        pending.add(&many, &[]);
        let taken = pending.take(&mut Named::new(true), usize::MAX).unwrap();
        let parts = Taken { freed: vec![7], ..taken }.in_parts(10);
        let sizes: Vec<_> = parts.map(|it| (it.functions.len(), it.freed.len())).collect();
        assert_eq!(sizes, [(10, 1), (10, 0), (5, 0)]);
        let freed = Taken { freed: vec![7], ..Taken::default() };
        assert_eq!(freed.in_parts(10).count(), 1);
        assert_eq!(Taken::default().in_parts(10).count(), 0);
    }

    #[test]
    fn a_counter_that_began_anew_brings_its_own_base() {
        let pending = Pending::default();
        let _open = pending.open(Shard::WHOLE);
        pending.add(&[change("hello", 90, 80)], &[]);
        pending.add(&[change("hello", 2, 0)], &[]);
        let taken = take(&pending);
        assert_eq!((taken[0].total, taken[0].base), (2, 0));
    }

    #[test]
    fn nothing_is_kept_without_a_stream() {
        let pending = Pending::default();
        pending.add(&[change("hello", 1, 0)], &[]);
        assert!(take(&pending).is_empty());
        let open = pending.open(Shard::WHOLE);
        pending.add(&[change("hello", 2, 1)], &[]);
        drop(open);
        assert!(take(&pending).is_empty());
    }

    #[test]
    fn a_stream_of_a_shard_is_about_its_functions() {
        let pending = Pending::default();
        let names: Vec<_> = (0..100).map(|number| format!("f{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| change(name, 1, 0)).collect();
        let mut seen = 0;
        for index in 0..3 {
            let shard = Shard::new(index, 3).unwrap();
            let open = pending.open(shard);
            pending.add(&many, &[]);
            let taken = take(&pending);
            assert!(!taken.is_empty());
            assert!(taken.iter().all(|counts| shard.has(&counts.namespace, &counts.name)));
            seen += taken.len();
            drop(open);
        }
        assert_eq!(seen, many.len());
    }

    #[test]
    fn a_full_map_overflows_until_the_next_snapshot() {
        let pending = Pending::default();
        let open = pending.open(Shard::WHOLE);
        let many: Vec<_> =
            (0..MAX_FUNCTIONS).map(|index| change(&index.to_string(), 1, 0)).collect();
        pending.add(&many, &[]);
        pending.add(&[change("0", 2, 1)], &[]);
        pending.add(&[change("one too many", 1, 0)], &[]);
        assert!(pending.take(&mut Named::new(true), usize::MAX).is_err());
        drop(open);
        let _open = pending.open(Shard::WHOLE);
        assert!(take(&pending).is_empty());
    }
}

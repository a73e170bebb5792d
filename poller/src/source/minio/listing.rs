//! Which events to try next: what the last list said, less what is known to be others'.
//!
//! Pure: time and randomness come in as arguments. One pod alone takes events in the order of their
//! names. Where several run into each other, each takes its share from a random place further on:
//! trying the same ones costs everybody two requests for each.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use kipper_bucket::Listed;
use tokio::time::Instant;

/// Pages read at most for one list. All pods together hold fewer events than these have.
pub(super) const MAX_PAGES: usize = 8;
/// A list is used this long.
const FRESH: Duration = Duration::from_secs(1);
/// How many times what is wanted is looked at when pods run into each other.
const MAX_SPREAD: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Listing {
    free: VecDeque<Listed>,
    /// The server has more than was listed.
    is_cut: bool,
    listed: Option<Instant>,
    spread: usize,
    /// Leased by others: the ETag under which this was seen, and until when by the server's clock.
    left: HashMap<String, (String, u64)>,
}

impl Default for Listing {
    fn default() -> Self {
        let left = HashMap::new();
        Self { free: VecDeque::new(), is_cut: false, listed: None, spread: 1, left }
    }
}

impl Listing {
    /// True if a new list is needed for so many events.
    pub(super) fn is_stale(&self, wanted: usize) -> bool {
        let fresh = self.listed.is_some_and(|listed| listed.elapsed() < FRESH);
        self.free.is_empty()
            || (!fresh && self.free.len() < self.enough(wanted))
            || self.listed.is_some_and(|listed| listed.elapsed() >= 10 * FRESH)
    }

    /// How many free events a list should find.
    pub(super) fn enough(&self, wanted: usize) -> usize {
        wanted.saturating_mul(self.spread)
    }

    /// False for an event that is known to be somebody else's.
    pub(super) fn may_try(&self, object: &Listed) -> bool {
        self.left.get(&object.key).is_none_or(|(etag, _)| *etag != object.etag)
    }

    /// Takes a new list in.
    pub(super) fn refill(&mut self, found: Vec<Listed>, is_cut: bool, now_ms: u64) {
        self.left.retain(|_, (_, until_ms)| *until_ms > now_ms);
        let mut left = HashMap::new();
        for object in &found {
            if let Some(entry) = self.left.remove_entry(&object.key) {
                left.insert(entry.0, entry.1);
            }
        }
        // Of the others nothing is left in the bucket, or they are further on.
        self.left = left;
        self.free = found.into_iter().filter(|object| self.may_try(object)).collect();
        self.is_cut = is_cut;
        self.listed = Some(Instant::now());
    }

    /// What to try now: `wanted` events that are not larger than `bytes` together, one at least.
    pub(super) fn take(
        &mut self,
        wanted: usize,
        bytes: usize,
        random: f64,
        is_free: impl Fn(&str) -> bool,
    ) -> Vec<Listed> {
        self.free.retain(|object| is_free(&object.key));
        let window = self.enough(wanted).min(self.free.len());
        let room = window.saturating_sub(wanted);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a short list"
        )]
        let begin = (random * (room + 1) as f64) as usize;
        let mut size = 0usize;
        let fitting = self.free.range(begin.min(room)..window).take(wanted).take_while(|object| {
            let first = size == 0;
            size = size.saturating_add(usize::try_from(object.size).unwrap_or(usize::MAX));
            first || size <= bytes
        });
        let count = fitting.count();
        self.free.drain(begin.min(room)..begin.min(room) + count).collect()
    }

    /// An event is somebody else's as long as it looks like this, until then at most.
    pub(super) fn leave(&mut self, key: String, etag: String, until_ms: u64) {
        self.left.insert(key, (etag, until_ms));
    }

    /// Takes in how many of the tried events were free. True if there are others to try.
    pub(super) fn tried(&mut self, tried: usize, taken: usize) -> bool {
        if taken * 2 < tried {
            self.spread = (self.spread * 2).min(MAX_SPREAD);
        } else if taken == tried && tried > 0 {
            self.spread = (self.spread / 2).max(1);
        }
        tried > 0 && (!self.free.is_empty() || self.is_cut || taken < tried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(count: usize) -> Vec<Listed> {
        let object =
            |n| Listed { key: format!("{n:03}"), etag: "e".to_owned(), modified_ms: 0, size: 100 };
        (0..count).map(object).collect()
    }

    fn names(taken: &[Listed]) -> Vec<&str> {
        taken.iter().map(|object| &*object.key).collect()
    }

    #[test]
    fn one_pod_takes_them_in_order() {
        let mut listing = Listing::default();
        assert!(listing.is_stale(1));
        listing.refill(listed(5), false, 0);
        assert_eq!(names(&listing.take(2, 1_000, 0.99, |_| true)), ["000", "001"]);
        assert!(listing.tried(2, 2));
        assert_eq!(names(&listing.take(9, 1_000, 0.0, |key| key != "003")), ["002", "004"]);
        assert!(!listing.tried(2, 2));
    }

    #[test]
    fn bytes_are_a_bound_but_for_the_first() {
        let mut listing = Listing::default();
        listing.refill(listed(5), false, 0);
        assert_eq!(listing.take(5, 250, 0.0, |_| true).len(), 2);
        assert_eq!(listing.take(5, 1, 0.0, |_| true).len(), 1);
    }

    #[test]
    fn pods_that_run_into_each_other_spread() {
        let mut listing = Listing::default();
        listing.refill(listed(100), false, 0);
        let first = listing.take(10, 10_000, 0.5, |_| true);
        assert!(listing.tried(first.len(), 1));
        assert_eq!(names(&listing.take(2, 10_000, 0.999, |_| true)), ["012", "013"]);
        for _ in 0..10 {
            listing.tried(10, 0);
        }
        assert_eq!(listing.spread, MAX_SPREAD);
        for _ in 0..10 {
            listing.tried(10, 10);
        }
        assert_eq!(listing.spread, 1);
    }

    #[test]
    fn what_is_leased_is_left_until_it_changes_or_the_lease_is_over() {
        let mut listing = Listing::default();
        listing.leave("000".to_owned(), "e".to_owned(), 100);
        listing.leave("001".to_owned(), "older".to_owned(), 100);
        listing.refill(listed(3), false, 99);
        assert_eq!(names(&listing.take(9, 1_000, 0.0, |_| true)), ["001", "002"]);
        listing.refill(listed(3), false, 100);
        assert_eq!(listing.take(9, 1_000, 0.0, |_| true).len(), 3);
    }
}

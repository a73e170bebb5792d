//! The numbers under which functions are reported, so that their names travel once per stream, and what was
//! reported of each last.
//!
//! Pure. A number is one function's on every stream of this process until the function has been idle for
//! [`RETENTION`]; then it is free for another. Bounded by [`MAX_NUMBER`]: a function beyond it has none
//! and is reported by its name.

use std::{collections::HashMap, time::Duration};

use kipper_counts::MAX_NUMBER;
use tokio::time::Instant;

use super::{counts::Counts, steady::Reported};
use crate::source::FunctionId;

/// A function of which there was nothing to report for so long, and has nothing open, gives its number back.
const RETENTION: Duration = Duration::from_secs(600);
/// How often such functions are looked for, at most: while nothing changes, nothing is done.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Who has which number.
#[derive(Default)]
pub(super) struct Numbers {
    functions: HashMap<FunctionId, Numbered>,
    free: Vec<u32>,
    /// To be told, and only then free.
    given_up: Vec<u32>,
    /// The highest one that was ever given.
    highest: u32,
    swept: Option<Instant>,
}

struct Numbered {
    number: u32,
    changed: Instant,
    reported: Option<Reported>,
}

impl Numbered {
    fn is_idle(&self, now: Instant) -> bool {
        let is_open = self.reported.is_some_and(|reported| reported.is_open());
        !is_open && now.saturating_duration_since(self.changed) >= RETENTION
    }
}

impl Numbers {
    /// The number of a function that has these counts; 0 where none is left. One whose counter began anew, because
    /// it was deleted and made again, gets another: under one number totals only grow.
    pub(super) fn of(&mut self, counts: &Counts, now: Instant) -> u32 {
        if let Some(numbered) = self.functions.get_mut(&counts.id) {
            let began_anew = |reported: Reported| reported.began_anew(counts);
            if !numbered.reported.is_some_and(began_anew) {
                numbered.changed = now;
                return numbered.number;
            }
            self.given_up.push(numbered.number);
            self.functions.remove(&counts.id);
        }
        let Some(number) = self.free.pop().or_else(|| self.next()) else { return 0 };
        let numbered = Numbered { number, changed: now, reported: None };
        self.functions.insert(counts.id.clone(), numbered);
        number
    }

    /// Whether these counts of a function can wait for the next ones.
    pub(super) fn is_steady(&self, counts: &Counts) -> bool {
        self.reported(&counts.id).is_some_and(|reported| reported.is_steady(counts))
    }

    /// Whether counts of a function that have waited are to be reported now.
    pub(super) fn is_due(&self, id: &FunctionId, now: Instant, interval: Duration) -> bool {
        self.reported(id).is_none_or(|reported| reported.is_due(now, interval))
    }

    /// These counts are reported.
    pub(super) fn report(&mut self, counts: &Counts, now: Instant) {
        if let Some(numbered) = self.functions.get_mut(&counts.id) {
            numbered.reported = Some(Reported::new(counts, now));
        }
    }

    fn reported(&self, id: &FunctionId) -> Option<&Reported> {
        self.functions.get(id)?.reported.as_ref()
    }

    fn next(&mut self) -> Option<u32> {
        let next = (self.highest < MAX_NUMBER).then_some(self.highest + 1)?;
        self.highest = next;
        Some(next)
    }

    /// Numbers that were given up, and those of functions that have been idle. From now on they are free, so every
    /// stream has to say so.
    pub(super) fn take_freed(&mut self, now: Instant) -> Vec<u32> {
        let mut freed = std::mem::take(&mut self.given_up);
        if self.swept.is_none_or(|swept| now - swept >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            let idle = self.functions.extract_if(|_, numbered| numbered.is_idle(now));
            freed.extend(idle.map(|(_, numbered)| numbered.number));
        }
        self.free.extend_from_slice(&freed);
        freed
    }
}

/// What one stream has said about names. Bits, because a stream may know many functions.
pub(super) struct Named {
    /// Of each number, whether its function was named; without it the adapter wants names always.
    bits: Option<Vec<u64>>,
}

impl Named {
    /// On a new stream, of an adapter that knows numbers or does not.
    pub(super) fn new(knows_numbers: bool) -> Self {
        Self { bits: knows_numbers.then(Vec::new) }
    }

    /// The number to send, and whether it needs its name.
    pub(super) fn name(&mut self, number: u32) -> (u32, bool) {
        let Some(bits) = self.bits.as_mut().filter(|_| number > 0) else { return (0, true) };
        let (word, bit) = place(number);
        if word >= bits.len() {
            bits.resize(word + 1, 0);
        }
        let is_named = bits[word] & bit != 0;
        bits[word] |= bit;
        (number, !is_named)
    }

    /// Forgets a number. False where the adapter has never heard of it.
    pub(super) fn forget(&mut self, number: u32) -> bool {
        let (word, bit) = place(number);
        let bits = self.bits.as_mut().and_then(|bits| bits.get_mut(word));
        bits.is_some_and(|bits| std::mem::replace(bits, *bits & !bit) & bit != 0)
    }
}

fn place(number: u32) -> (usize, u64) {
    ((number / u64::BITS) as usize, 1 << (number % u64::BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(numbers: &mut Numbers, name: &str, in_flight: u32, at: Instant) -> u32 {
        let id = FunctionId::new("shop-prod", name);
        let idle = Duration::ZERO;
        let counts = Counts { id, total: 1, base: 0, in_flight, held: 0, waiting: 0, idle };
        report(numbers, &counts, at)
    }

    fn report(numbers: &mut Numbers, counts: &Counts, at: Instant) -> u32 {
        let number = numbers.of(counts, at);
        numbers.report(counts, at);
        number
    }

    #[test]
    fn a_counter_that_began_anew_has_another_number() {
        let mut numbers = Numbers::default();
        let now = Instant::now();
        let (id, idle) = (FunctionId::new("shop-prod", "hello"), Duration::ZERO);
        let counts = Counts { id, total: 9, base: 0, in_flight: 2, held: 0, waiting: 0, idle };
        assert_eq!(report(&mut numbers, &counts, now), 1);
        assert_eq!(report(&mut numbers, &Counts { total: 10, ..counts.clone() }, now), 1);
        assert_eq!(report(&mut numbers, &Counts { total: 1, ..counts }, now), 2);
        // Not free before it is told.
        assert_eq!(change(&mut numbers, "other", 0, now), 3);
        assert_eq!(numbers.take_freed(now), [1]);
        assert_eq!(change(&mut numbers, "next", 0, now), 1);
    }

    #[test]
    fn a_number_is_kept_until_its_function_has_been_idle() {
        let mut numbers = Numbers::default();
        let start = Instant::now();
        assert_eq!(change(&mut numbers, "idle", 0, start), 1);
        assert_eq!(change(&mut numbers, "open", 1, start), 2);
        assert_eq!(change(&mut numbers, "idle", 0, start), 1);
        assert!(numbers.take_freed(start + RETENTION / 2).is_empty());
        assert_eq!(change(&mut numbers, "new", 0, start + RETENTION), 3);
        assert_eq!(numbers.take_freed(start + RETENTION), [1]);
        assert_eq!(change(&mut numbers, "next", 0, start + RETENTION), 1);
        assert_eq!(change(&mut numbers, "idle", 0, start + RETENTION), 4);
        let mut freed = numbers.take_freed(start + RETENTION * 9);
        freed.sort_unstable();
        assert_eq!(freed, [1, 3, 4], "2 is open");
    }

    #[test]
    fn beyond_the_bound_a_function_has_none_until_one_is_free() {
        let mut numbers = Numbers::default();
        let start = Instant::now();
        for index in 1..=MAX_NUMBER {
            assert_eq!(change(&mut numbers, &index.to_string(), 0, start), index);
        }
        assert_eq!(change(&mut numbers, "one more", 0, start), 0);
        assert_eq!(numbers.take_freed(start + RETENTION).len(), MAX_NUMBER as usize);
        assert_ne!(change(&mut numbers, "one more", 0, start + RETENTION), 0);
    }

    #[test]
    fn a_stream_names_a_number_once() {
        let mut named = Named::new(true);
        assert_eq!(named.name(130), (130, true));
        assert_eq!(named.name(130), (130, false));
        assert_eq!(named.name(129), (129, true));
        assert!(named.forget(130));
        assert!(!named.forget(130));
        assert!(!named.forget(131) && !named.forget(9_999));
        assert_eq!(named.name(130), (130, true));
        assert_eq!(named.name(0), (0, true), "has no number");
        let mut former = Named::new(false);
        assert_eq!(former.name(7), (0, true));
        assert_eq!(former.name(7), (0, true));
        assert!(!former.forget(7));
    }
}

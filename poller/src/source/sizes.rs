//! How many rows to ask for so that their bodies probably fit the bytes that are left.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Event, Wanted};

/// Mean size of a body lately.
pub(super) struct Sizes(AtomicUsize);

impl Default for Sizes {
    fn default() -> Self {
        Self(AtomicUsize::new(1))
    }
}

impl Sizes {
    /// Rows to ask for. What does not fit after all is read in vain, and given back.
    pub(super) fn fitting(&self, wanted: Wanted<'_>) -> usize {
        let mean = self.0.load(Ordering::Relaxed).max(1);
        wanted.events.min(wanted.bytes / mean + 1)
    }

    /// Takes in what a claim brought.
    pub(super) fn learn<C>(&self, events: &[Event<C>]) {
        if events.is_empty() {
            return;
        }
        let bytes: usize = events.iter().map(|event| event.body.len()).sum();
        let mean = bytes / events.len();
        let old = self.0.load(Ordering::Relaxed);
        // Up at once, down slowly: asking for too few costs a round trip, for too many the memory.
        let new = if mean > old { mean } else { old - (old - mean) / 8 };
        self.0.store(new, Ordering::Relaxed);
    }
}

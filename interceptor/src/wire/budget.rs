//! What all exchanges together keep in memory for sides that are slow.
//!
//! An exchange moves at most [`HIGH_WATER`] bytes that one side has sent and the other has not taken.
//! Whoever keeps up has none of them when its task waits, so only slow sides are counted, and a fast
//! exchange costs one load per read. Beyond the bound each exchange gets [`FLOOR`]: it goes on, in
//! smaller pieces, and its sender is slowed down sooner. A head that is still arriving cannot go on in
//! pieces: a request's is refused beyond [`FLOOR`], and a pod's waits there.

use prometheus::IntGauge;

use super::buffer::HIGH_WATER;

/// What an exchange may keep beyond the bound: no less than a trailer section.
pub(crate) const FLOOR: usize = 8 << 10;
/// Smaller changes are not counted.
const STEP: usize = 2 << 10;

/// The bound, and what is used of it.
pub(crate) struct Budget {
    used: IntGauge,
    limit: i64,
}

impl Budget {
    /// `used` shows how much is kept, in bytes.
    pub(crate) fn new(used: IntGauge, limit: usize) -> Self {
        Self { used, limit: signed(limit) }
    }

    /// Nothing is kept yet for whom this is.
    pub(crate) fn charge(&self) -> Charge<'_> {
        Charge { budget: self, bytes: 0 }
    }

    /// Is all of it used?
    pub(crate) fn is_short(&self) -> bool {
        self.used.get() >= self.limit
    }

    /// Sets `bytes` aside, as long as half of the bound is left to others.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<Charge<'_>> {
        let room = self.used.get() + signed(bytes) <= self.limit / 2;
        room.then(|| {
            let mut charge = self.charge();
            charge.set(bytes);
            charge
        })
    }
}

/// A part of what is used, given back when it is dropped.
pub(crate) struct Charge<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Charge<'_> {
    /// This many bytes are kept now.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes.abs_diff(self.bytes) < STEP {
            return;
        }
        self.budget.used.add(signed(bytes) - signed(self.bytes));
        self.bytes = bytes;
    }

    /// Is there no more than [`FLOOR`] for it?
    pub(crate) fn is_short(&self) -> bool {
        self.budget.is_short()
    }

    /// How many bytes may be kept.
    pub(crate) fn most(&self) -> usize {
        if self.is_short() { FLOOR } else { HIGH_WATER }
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.used.sub(signed(self.bytes));
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_there_is_a_floor() {
        let used = IntGauge::new("used", "used").unwrap();
        let budget = Budget::new(used.clone(), 100_000);
        let (mut a, mut b) = (budget.charge(), budget.charge());
        a.set(60_000);
        assert_eq!((used.get(), b.most()), (60_000, HIGH_WATER));
        b.set(STEP - 1);
        assert_eq!(used.get(), 60_000, "not worth counting");
        b.set(60_000);
        assert_eq!((used.get(), a.most(), b.most()), (120_000, FLOOR, FLOOR));
        b.set(100);
        assert_eq!((used.get(), b.most()), (60_100, HIGH_WATER));
        drop((a, b));
        assert_eq!(used.get(), 0);
    }

    #[test]
    fn half_may_be_set_aside() {
        let used = IntGauge::new("used", "used").unwrap();
        let budget = Budget::new(used.clone(), 100_000);
        let reserved = budget.reserve(30_000).unwrap();
        assert!(budget.reserve(30_000).is_none());
        assert_eq!((used.get(), reserved.most()), (30_000, HIGH_WATER));
        drop(reserved);
        assert!(budget.reserve(50_000).is_some());
        assert_eq!(used.get(), 0);
    }
}

//! Which of several scaler-adapters a function belongs to, where one is not enough for all.
//!
//! The controller names that adapter in the function's ScaledObject, interceptors tell an adapter of its
//! own functions alone, and an adapter refuses what KEDA asks about others. Functions are spread by jump
//! consistent hash (Lamping and Veach, 2014) over FNV-1a: one shard more takes its share from all others,
//! and none moves between those. Triggers on buckets are answered by the first shard, which watches buckets.

use std::{fmt, hash::Hasher as _, str::FromStr};

use fnv::FnvHasher;

use crate::scaler::Target;

/// No more shards than this.
pub const MAX_SHARDS: u32 = 32;
/// Adapters that interceptors and pollers report to, of all shards together; the chart allows no more.
pub const MAX_ADAPTERS: usize = 128;

/// One shard of a known number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    of: u32,
}

impl Shard {
    /// The only one, which every function belongs to.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Number `index` of `of`; `None` where there is no such shard.
    pub fn new(index: u32, of: u32) -> Option<Self> {
        (index < of && of <= MAX_SHARDS).then_some(Self { index, of })
    }

    /// From 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// How many there are.
    pub fn of(self) -> u32 {
        self.of
    }

    /// Whether a function belongs to it.
    pub fn has(self, namespace: &str, name: &str) -> bool {
        self.of == 1 || index(namespace, name, self.of) == self.index
    }
}

/// The shard, of so many, that KEDA asks about a trigger of a function.
pub fn answering(namespace: &str, name: &str, target: Target, of: u32) -> u32 {
    match target {
        Target::Bucket(_) => 0,
        Target::Requests { .. } | Target::Backlog(_) => index(namespace, name, of),
    }
}

/// The shard, of so many, that a function belongs to.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
pub fn index(namespace: &str, name: &str, of: u32) -> u32 {
    let mut hasher = FnvHasher::default();
    hasher.write(namespace.as_bytes());
    hasher.write_u8(b'/');
    hasher.write(name.as_bytes());
    let mut key = hasher.finish();
    let (mut bucket, mut next) = (0, 0);
    while next < u64::from(of) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        // Both below 2^53; the quotient is at least `bucket + 1`.
        next = ((bucket + 1) as f64 * ((1_u64 << 31) as f64 / ((key >> 33) + 1) as f64)) as u64;
    }
    bucket as u32
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('/').and_then(|(index, of)| {
            let (index, of) = (index.parse().ok()?, of.parse().ok()?);
            Self::new(index, of)
        });
        parts.ok_or("expected <index>/<count>, with an index from 0 and a count up to 32")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names() -> impl Iterator<Item = String> {
        (0..10_000).map(|number| format!("orders-{number}"))
    }

    /// Controllers, interceptors and adapters of different releases must agree.
    #[test]
    fn a_function_stays_where_it_is() {
        let found = ["hello", "orders", "resize", "f7"].map(|name| index("shop-prod", name, 8));
        assert_eq!(found, [3, 2, 4, 3]);
        assert!(names().all(|name| Shard::WHOLE.has("shop-prod", &name)));
    }

    #[test]
    fn every_function_has_one_shard_and_every_shard_its_share() {
        let shards: Vec<_> = (0..5).map(|index| Shard::new(index, 5).unwrap()).collect();
        let mut shares = [0; 5];
        for name in names() {
            let having = shards.iter().filter(|shard| shard.has("shop", &name));
            let [one] = having.collect::<Vec<_>>()[..] else { unreachable!("{name}") };
            shares[one.index() as usize] += 1;
        }
        assert!(shares.iter().all(|share| (1_800..2_200).contains(share)), "{shares:?}");
    }

    #[test]
    fn one_shard_more_takes_its_share_and_moves_nothing_else() {
        let before_and_after =
            names().map(|name| (index("shop", &name, 4), index("shop", &name, 5)));
        let moved: Vec<_> = before_and_after.filter(|(before, after)| before != after).collect();
        assert!(moved.iter().all(|(_, after)| *after == 4));
        assert!((1_800..2_200).contains(&moved.len()), "{}", moved.len());
    }

    #[test]
    fn a_shard_is_written_as_it_is_read() {
        for text in ["0/1", "2/3", "31/32"] {
            assert_eq!(text.parse::<Shard>().unwrap().to_string(), text);
        }
        for bad in ["", "1", "1/1", "0/0", "3/3", "0/33", "-1/3", "a/b"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}

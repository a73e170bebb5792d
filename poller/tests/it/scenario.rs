//! Tests that are the same for every database: each takes an empty one.

pub(crate) mod delivery;
pub(crate) mod exclusive;
pub(crate) mod faults;
pub(crate) mod marks;
pub(crate) mod reports;
pub(crate) mod retries;

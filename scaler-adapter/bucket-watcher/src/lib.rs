//! Turns changes of buckets into event objects, and counts what waits.

//! Events of a real MinIO's state bucket.

mod bucket;

mod delivery;
mod exclusive;
mod faults;
mod leases;
mod refused;
mod stall;

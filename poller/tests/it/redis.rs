//! Items of a real Redis.

mod list;

mod delivery;
mod exclusive;
mod failover;
mod faults;
mod items;
mod leases;
mod refused;
mod retries;
mod rights;
mod unknown;

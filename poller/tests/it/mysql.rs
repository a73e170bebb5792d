//! Rows of a real MariaDB.

mod database;

mod delivery;
mod exclusive;
mod faults;
mod marks;
mod refused;
mod retries;
mod types;

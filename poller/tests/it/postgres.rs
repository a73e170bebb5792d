//! Rows of a real PostgreSQL.

mod database;

mod backlog;
mod delivery;
mod drain;
mod exclusive;
mod faults;
mod marks;
mod refused;
mod retries;
mod settings;

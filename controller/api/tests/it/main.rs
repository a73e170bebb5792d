//! Tables and properties of the rules that every part shares.
#![allow(clippy::unwrap_used)]

mod cron;
mod function;
mod host;
mod manifest;
mod names;
mod schema;

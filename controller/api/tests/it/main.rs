//! Tables and properties of the rules that every part shares.
#![allow(clippy::unwrap_used)]

mod cron;
mod cron_differential;
mod crd_check;
mod function;
mod host;
mod manifest;
mod names;
mod go;
mod schema;
mod test_run;

//! Tables and properties of the rules that every part shares.
#![allow(clippy::unwrap_used)]

mod code;
mod crd_check;
mod cron;
mod cron_differential;
mod event;
mod function;
mod go;
mod host;
mod manifest;
mod names;
mod reference;
mod revision;
mod schema;
mod test_run;

//! `kip` as its users run it: the built binary, real runtimes, real sockets.
#![allow(clippy::unwrap_used)]

mod assistant;
mod buckets;
mod completion;
mod console;
mod cron;
mod database;
mod events;
mod folders;
mod function;
mod interrupt;
mod lifecycle;
mod manifest;
mod paths;
mod registry;
mod reload;
mod serve;
mod support;
mod usage;

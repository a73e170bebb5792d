//! The bucket watcher on a real MinIO, and on an S3 without notifications.
#![allow(clippy::unwrap_used)]

mod other_s3;
mod world;

mod counts;
mod diff;
mod faults;
mod refused;
mod region;
mod rogue;
mod rules;
mod webhook;

//! The bucket watcher on a real MinIO, and on an S3 that tells nobody anything.

mod other_s3;
mod world;

mod diff;
mod faults;
mod keda;
mod refused;
mod rules;
mod webhook;

//! The stream on which interceptors report to scaler-adapters, generated from `proto/counts.proto`.
//!
//! This is a leaf crate: it never depends on a process.
#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]

tonic::include_proto!("kipper.counts.v1");

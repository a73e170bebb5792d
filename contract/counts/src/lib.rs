//! The stream on which interceptors report to scaler-adapters, generated from `proto/counts.proto`.
//!
//! The generated code is checked in, so that builds need no protobuf compiler; a test compares it.
//!
//! This is a leaf crate: it never depends on a process.
#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]

#[rustfmt::skip]
mod generated;

pub use generated::*;

/// The highest number of a function, and so how many functions an interceptor can report by number.
pub const MAX_NUMBER: u32 = 200_000;

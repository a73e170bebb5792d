//! KEDA's external scaler service (`external` and `external-push` triggers), generated from
//! `proto/externalscaler.proto`. Its names and field numbers are KEDA's and cannot change here.
//!
//! The generated code is checked in, so that builds need no protobuf compiler; a test compares it.
//!
//! This is a leaf crate: it never depends on a process.
#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]

mod codec;
#[rustfmt::skip]
mod generated;

pub use generated::*;

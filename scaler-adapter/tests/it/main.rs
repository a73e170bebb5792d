//! The adapter on real sockets, with tonic clients in the parts of KEDA and the interceptors.
#![allow(clippy::unwrap_used)]

mod backlog;
#[cfg(feature = "bucket-watcher")]
mod buckets;
mod collector;
mod deployments;
mod external_scaler;
mod pollers;
mod process;
mod support;
mod tls;
#[cfg(feature = "bucket-watcher")]
mod watches;

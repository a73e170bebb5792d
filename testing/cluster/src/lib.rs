//! A sandbox on the local cluster for tests and load tests.
//!
//! Tests work in a [`sandbox`], whose waits and requests fail the test; load scenarios work in a
//! [`Namespace`] of a [`Cluster`], whose parts they stop and start ([`components`]) and whose audit
//! log they read ([`audit`]), and get errors back. Both are made of the same: how to [`connect`],
//! what things are called ([`names`]), objects as JSON ([`objects`]), waiting by looking again
//! ([`wait`]) or by watch ([`watch`]). Whoever disturbs others waits for a [`turn`] alone.
//!
//! The cluster is the one that KUBECONFIG names, on this machine (`deploy/local-cluster`), with the
//! chart installed. This is a leaf crate: it depends on no process.

pub mod connect;
pub mod names;
pub mod objects;

pub mod wait;
pub mod watch;

pub mod bridge;
pub mod http;

pub mod audit;
pub mod components;
pub mod functions;

mod cluster;
mod namespace;
pub mod sandbox;
pub mod turn;

pub use cluster::Cluster;
pub use namespace::Namespace;

//! A Kubernetes API server for tests: each request waits until the test takes it and answers it, so
//! there is nothing to wait for by the clock. What the test did not answer has not happened.
//!
//! [`ApiServer::start`] serves on a real socket. [`ApiServer::in_memory`] serves over in-memory
//! streams, for tests on tokio's paused time: a socket's data is on its way while time jumps on, a
//! stream in memory is not. [`watches`] is the scenario that every long-lived watch must survive.
#![allow(clippy::unwrap_used)] // for tests

mod server;
pub mod watches;

pub use server::{ApiServer, Asked, DEADLINE, Watch};

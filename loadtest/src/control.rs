//! What a scenario and the interceptor it started say to each other: one JSON object per line,
//! each answered by one.
//!
//! It stands for the cluster (endpoints come and go) and for an observer (what is counted now).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Namespace of every function of a scenario.
pub(crate) const NAMESPACE: &str = "loadtest";

/// Name of function number `index`.
pub(crate) fn function(index: usize) -> String {
    format!("fn-{index}")
}

/// Host of function number `index`.
pub(crate) fn host(index: usize) -> String {
    format!("fn-{index}.loadtest.test")
}

/// Where an interceptor listens; the one line it prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Listening {
    pub(crate) proxy: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) control: SocketAddr,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The whole endpoint set of a function.
    Endpoints { function: String, endpoints: Vec<Endpoint> },
    /// What is counted for a function.
    Counts { function: String },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) ready: bool,
}

/// Answer to both requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) total: u64,
    pub(crate) in_flight: u32,
    pub(crate) held: usize,
}

impl Counts {
    /// Held and in flight.
    pub(crate) fn open(self) -> usize {
        self.held + self.in_flight as usize
    }
}

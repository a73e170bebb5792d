//! Why a watcher cannot start or had to end.

use std::{io, net::SocketAddr};

/// Why a watcher cannot start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The webhook port could not be bound.
    #[error("bind webhook port {addr}")]
    Bind {
        /// The configured address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Kubernetes, which knows the triggers, cannot be reached as configured.
    #[error("connect to Kubernetes")]
    Kubernetes(#[source] Box<kube::Error>),
    /// A task ended by itself.
    #[error("bucket watcher ended")]
    Ended,
    /// A metric could not be registered.
    #[error("register metrics")]
    Metrics(#[from] prometheus::Error),
}

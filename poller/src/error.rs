//! Why the process could not start or had to end.

use std::{io, path::PathBuf};

use crate::source::SourceError;

/// An error of the process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration makes no sense as a whole.
    #[error("{0}")]
    Config(String),
    /// A file could not be read.
    #[error("read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The source refuses the trigger, or cannot be reached.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The port for drains could not be bound.
    #[error(transparent)]
    Drain(#[from] crate::drain::DrainError),
    /// The admin port failed.
    #[error(transparent)]
    Admin(#[from] kipper_process::admin::AdminError),
    /// A metric could not be registered.
    #[error("register metrics")]
    Metrics(#[from] prometheus::Error),
}

impl Error {
    /// True when the configuration is at fault: starting again would change nothing.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Config(_) | Self::File { .. } | Self::Source(SourceError::Invalid(_)))
    }
}

//! Errors: of the process, and the one place where a stage's error becomes a gRPC status.

use std::{io, net::SocketAddr, path::PathBuf};

use tonic::Status;

use crate::{collector::ReportError, functions::TooManyFunctions, metadata::MetadataError};

/// Why an adapter could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener could not be bound.
    #[error("bind {what} port {addr}")]
    Bind {
        /// Which one.
        what: &'static str,
        /// The address asked for.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A file of a key or certificate could not be read.
    #[error("read {path}")]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Keys and certificates do not make a server.
    #[error("invalid key or certificate for the {what} port")]
    Tls {
        /// Which port.
        what: &'static str,
        /// Why.
        source: tonic::transport::Error,
    },
    /// A server ended by itself.
    #[error("{what} server failed")]
    Serve {
        /// Which one.
        what: &'static str,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The bucket watcher could not start or ended by itself.
    #[cfg(feature = "bucket-watcher")]
    #[error(transparent)]
    BucketWatcher(#[from] kipper_bucket_watcher::Error),
    /// The admin port failed.
    #[error(transparent)]
    Admin(#[from] kipper_process::admin::AdminError),
    /// There is no Kubernetes to scale functions in.
    #[error("no client for Kubernetes")]
    Kubernetes(#[source] kube::Error),
    /// A metric could not be registered.
    #[error("register metrics")]
    Metrics(#[from] prometheus::Error),
}

impl Error {
    /// True when the configuration is at fault: starting again would change nothing.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::TlsFile { .. } | Self::Tls { .. })
    }
}

impl From<MetadataError> for Status {
    fn from(error: MetadataError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

impl From<TooManyFunctions> for Status {
    fn from(error: TooManyFunctions) -> Self {
        Self::resource_exhausted(error.to_string())
    }
}

impl From<ReportError> for Status {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::TooManyStreams | ReportError::TooManyInterceptors => {
                Self::resource_exhausted(error.to_string())
            }
            ReportError::Silent => Self::deadline_exceeded(error.to_string()),
            ReportError::Superseded => Self::aborted(error.to_string()),
            ReportError::BadName
            | ReportError::NoSnapshot
            | ReportError::IdentityChanged
            | ReportError::BadNumber
            | ReportError::UnknownNumber
            | ReportError::NumberTaken => Self::invalid_argument(error.to_string()),
        }
    }
}

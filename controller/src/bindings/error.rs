//! What can go wrong with a binding, in words that may be shown: they name the server, the
//! database and the user, never a password and never a statement.

use kipper_function::service::{MissingKeys, ServiceKind};

/// Why a database could not be given or taken away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// The server does not answer, or not now.
    #[error("the server is unreachable: {0}")]
    Unreachable(String),
    /// It refuses the user or password of the Service's Secret.
    #[error("the server refuses the service's credentials for user {0:?}")]
    Refused(String),
    /// The Service's user may not do what is needed.
    #[error("the service's user may not do this on the server: {0}")]
    Forbidden(String),
    /// Keys of the Service's Secret have no value.
    #[error(transparent)]
    Incomplete(#[from] MissingKeys),
    /// A key of the Service's Secret makes no sense.
    #[error("key {key} of the service's credentials {problem}")]
    Credentials {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The server cannot hold this name.
    #[error("the name of the {what} {problem}")]
    Name {
        /// Database, user or owner.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Somebody else has what this function would create.
    #[error("{what} {name:?} already exists and was not created for this function")]
    Taken {
        /// Database or user.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Functions get no database on this kind of server.
    #[error("{0} provides no database per function")]
    Unsupported(ServiceKind),
    /// Anything else that the server answered.
    #[error("the server reports {0}")]
    Failed(String),
}

impl BindingError {
    /// True where trying again may help although nobody changed anything.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Failed(_))
    }

    /// One word for conditions and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "ServerUnreachable",
            Self::Refused(_) => "CredentialsRefused",
            Self::Forbidden(_) => "NotPermitted",
            Self::Incomplete(_) | Self::Credentials { .. } => "InvalidCredentials",
            Self::Name { .. } => "InvalidName",
            Self::Taken { .. } => "DatabaseTaken",
            Self::Unsupported(_) => "Unsupported",
            Self::Failed(_) => "ServerError",
        }
    }
}

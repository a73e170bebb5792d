//! Why waiting ended without what was waited for.

use super::stage::Stage;
use crate::ApiError;

/// Why a Function did not become what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The cluster said no.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// It cannot become ready.
    #[error("function {name} is not ready: {stage}")]
    Broken {
        /// The function.
        name: String,
        /// Where it stands.
        stage: Stage,
    },
    /// The pods that were started for it fail.
    #[error("function {name} cannot start: {stage}")]
    CannotStart {
        /// The function.
        name: String,
        /// Where it stands.
        stage: Stage,
    },
    /// Time is up.
    #[error("function {name} was not ready in time: {last}")]
    TooLate {
        /// The function.
        name: String,
        /// What was seen last.
        last: String,
    },
    /// It is being deleted, or gone.
    #[error("function {0} was deleted")]
    Deleted(String),
}

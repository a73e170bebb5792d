//! Why there are no objects.

use super::env::Clash;
use crate::plan::Kind;

/// Why a Function cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// It does not come from the API server.
    #[error("the function has no {0}")]
    Incomplete(&'static str),
    /// Neither an image nor code of a runtime that this version knows.
    #[error("the function has neither an image nor code for a known runtime")]
    NoWorkload,
    /// A cron trigger without a schedule, stored by an older CRD.
    #[error("the cron trigger has no schedule")]
    NoSchedule,
    /// Two bindings inject one name.
    #[error("{0}")]
    Ambiguous(Clash),
    /// An object has no JSON form.
    #[error("cannot serialise the {kind:?}")]
    Serialize {
        /// Its kind.
        kind: Kind,
        /// What serde says.
        source: serde_json::Error,
    },
}

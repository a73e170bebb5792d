//! What an error of S3 means for the trigger.

use kipper_bucket::S3Error;

use crate::source::SourceError;

pub(super) fn failed(error: S3Error) -> SourceError {
    SourceError::Failed(error.to_string())
}

/// At start, what the server refuses it will refuse again.
pub(super) fn refused(error: S3Error) -> SourceError {
    match error {
        S3Error::NoBucket { .. } => {
            SourceError::Failed(format!("{error}: the bucket watcher has not made it yet"))
        }
        error if error.is_permanent() => SourceError::Invalid(error.to_string()),
        error => failed(error),
    }
}

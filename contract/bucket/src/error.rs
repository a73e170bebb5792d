//! What a request to S3 came to, told apart as far as anybody acts differently upon it.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
};

use kipper_trigger::one_line;

use crate::{budget::OverBudget, transport::Refusal};

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum S3Error {
    /// The object is not as the request's condition asked; nothing was changed.
    #[error("{0}: the object has changed")]
    Changed(&'static str),
    /// There is no such object.
    #[error("{0}: no such object")]
    NoObject(&'static str),
    /// There is no such bucket.
    #[error("{action}: bucket {bucket:?} does not exist")]
    NoBucket {
        /// What was asked.
        action: &'static str,
        /// Of which bucket.
        bucket: String,
    },
    /// The credentials are wrong, or do not allow this.
    #[error("{action} in bucket {bucket:?}: refused ({detail})")]
    Denied {
        /// What was asked.
        action: &'static str,
        /// Of which bucket.
        bucket: String,
        /// The server's code and words.
        detail: String,
    },
    /// The request makes no sense to this server.
    #[error("{action} in bucket {bucket:?}: {detail}")]
    Rejected {
        /// What was asked.
        action: &'static str,
        /// Of which bucket.
        bucket: String,
        /// The server's code and words.
        detail: String,
    },
    /// No answer, or one that asks to come again. Whether anything changed is not known.
    #[error("{action} in bucket {bucket:?}: {detail}")]
    Unavailable {
        /// What was asked.
        action: &'static str,
        /// Of which bucket.
        bucket: String,
        /// What happened.
        detail: String,
    },
    /// The service finds no end.
    #[error("{action} in bucket {bucket:?}: {detail}")]
    Endless {
        /// What was asked.
        action: &'static str,
        /// Of which bucket.
        bucket: String,
        /// How it was noticed.
        detail: String,
    },
    /// More than may be held in memory.
    #[error("{action} in bucket {bucket:?}: {detail}")]
    TooMuch {
        /// What was asked.
        action: &'static str,
        /// Of which bucket.
        bucket: String,
        /// Of what there is too much.
        detail: String,
    },
    /// The endpoint or its certificate authority cannot be used.
    #[error("{0}")]
    Endpoint(String),
}

impl S3Error {
    /// True when only somebody who changes the configuration or the server's can mend it.
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. }
                | Self::Rejected { .. }
                | Self::Endless { .. }
                | Self::TooMuch { .. }
                | Self::Endpoint(_)
        )
    }

    /// More would be held than there is room for.
    pub fn over_budget(action: &'static str, bucket: &str, over: &OverBudget) -> Self {
        Self::TooMuch { action, bucket: bucket.to_owned(), detail: over.to_string() }
    }

    pub(crate) fn new<E>(
        action: &'static str,
        bucket: &str,
        error: &SdkError<E, HttpResponse>,
    ) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let bucket = bucket.to_owned();
        if let Some(refusal) = Refusal::of(error) {
            let detail = refusal.to_string();
            return match refusal {
                // Once its clock is right again there is nothing to change here.
                Refusal::Date(_) => Self::Unavailable { action, bucket, detail },
                Refusal::TooLong(_) | Refusal::Budget(_) => {
                    Self::TooMuch { action, bucket, detail }
                }
            };
        }
        let Some(status) = error.raw_response().map(|response| response.status().as_u16()) else {
            let detail = DisplayErrorContext(error).to_string();
            let detail = one_line(&first_words(&detail));
            return Self::Unavailable { action, bucket, detail };
        };
        let code = error.code().unwrap_or_default();
        let detail = match error.message() {
            Some(message) => format!("{status} {code}: {message}"),
            None => format!("{status} {code}").trim_end().to_owned(),
        };
        let detail = one_line(&detail);
        match (status, code) {
            (412, _) | (409, "ConditionalRequestConflict") => Self::Changed(action),
            (404, "NoSuchBucket") => Self::NoBucket { action, bucket },
            (404, _) => Self::NoObject(action),
            (401 | 403, _) => Self::Denied { action, bucket, detail },
            (408 | 409 | 429 | 500.., _) => Self::Unavailable { action, bucket, detail },
            _ => Self::Rejected { action, bucket, detail },
        }
    }
}

/// The chain of causes ends in the whole error once more, as Rust prints it for debugging.
fn first_words(detail: &str) -> String {
    let end = detail.find(" (").unwrap_or(detail.len());
    detail[..end].to_owned()
}

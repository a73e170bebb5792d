//! Why counts streams end with an error, and the limits of which these errors speak.

use std::time::Duration;

use kipper_counts::MAX_NUMBER;

use crate::metadata::MAX_NAME_BYTES;

/// Interceptors known at once; more are refused.
pub(super) const MAX_INTERCEPTORS: usize = 1024;
/// Open counts streams; more are refused. Twice the interceptors, so that all may reconnect while
/// their old streams are still noticed.
pub(super) const MAX_STREAMS: usize = 2 * MAX_INTERCEPTORS;
/// A stream that has not sent its snapshot by then is ended.
pub(super) const FIRST_REPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a counts stream was ended with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("more than {MAX_STREAMS} counts streams")]
    TooManyStreams,
    #[error("more than {MAX_INTERCEPTORS} interceptors")]
    TooManyInterceptors,
    #[error("no snapshot within {}s", FIRST_REPORT_TIMEOUT.as_secs())]
    Silent,
    #[error("the interceptor opened a newer stream")]
    Superseded,
    #[error("the interceptor's name is empty or longer than {MAX_NAME_BYTES} bytes")]
    BadName,
    #[error("the first report of a stream must be a snapshot")]
    NoSnapshot,
    #[error("interceptor or epoch changed within a stream")]
    IdentityChanged,
    #[error("the number of a function is not between 1 and {MAX_NUMBER}")]
    BadNumber,
    #[error("this stream has not named the function of a number")]
    UnknownNumber,
    #[error("a number was given to a second function before it was freed")]
    NumberTaken,
}

//! Values the API server fills in, so that `kubectl get -o yaml` shows what is in force. They are
//! the same constants the accessors use for objects that never saw the API server.

use super::defaults;
use crate::kinds::Protocol;

pub(super) fn port() -> Option<i32> {
    Some(defaults::DEFAULT_PORT.into())
}

pub(super) fn idle_timeout() -> Option<i64> {
    i64::try_from(defaults::DEFAULT_IDLE_TIMEOUT.as_secs()).ok()
}

pub(super) fn protocol() -> Option<String> {
    Some(Protocol::Auto.as_str().into())
}

pub(super) fn min_replicas() -> Option<i32> {
    i32::try_from(defaults::DEFAULT_MIN_REPLICAS).ok()
}

pub(super) fn max_replicas() -> Option<i32> {
    i32::try_from(defaults::DEFAULT_MAX_REPLICAS).ok()
}

pub(super) fn target_request_rate() -> Option<f64> {
    Some(defaults::DEFAULT_TARGET_REQUEST_RATE)
}

pub(super) fn concurrency() -> Option<i32> {
    Some(0)
}

pub(super) fn burst() -> Option<bool> {
    Some(true)
}

pub(super) fn cold_start() -> Option<i64> {
    i64::try_from(defaults::DEFAULT_COLD_START_TIMEOUT.as_secs()).ok()
}

pub(super) fn response_header() -> Option<i64> {
    i64::try_from(defaults::DEFAULT_RESPONSE_HEADER_TIMEOUT.as_secs()).ok()
}

pub(super) fn request() -> Option<i64> {
    Some(0)
}

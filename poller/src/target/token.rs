//! The secret by which the function's runtime knows its own poller.

use std::{fmt, str::FromStr};

use http::HeaderValue;

/// Goes with every event, in the header [`kipper_trigger::token::EVENT_HEADER`]. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct EventToken(HeaderValue);

impl EventToken {
    /// As it is sent.
    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl FromStr for EventToken {
    type Err = EventTokenError;

    fn from_str(text: &str) -> Result<Self, EventTokenError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(EventTokenError);
        }
        let mut value = HeaderValue::from_str(text).map_err(|_| EventTokenError)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for EventToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The text is no token. It is not part of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token has printable ASCII characters and no spaces")]
pub struct EventTokenError;

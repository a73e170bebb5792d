//! What comes back while a reply arrives, and the words for what can go wrong.

use serde::Serialize;

/// One step of a reply. `Done` and `Error` are the last one; a stream that ends otherwise does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// More of the text.
    Delta {
        /// Never empty.
        text: String,
    },
    /// The model ended its reply.
    Done {
        /// Why.
        stop: Stop,
        /// What it took, as far as the provider says.
        usage: Usage,
    },
    /// The reply is incomplete, or there is none.
    Error(Failure),
}

/// Why a model ended its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It said what it had to say.
    End,
    /// A limit of tokens was reached: the text is cut.
    Length,
    /// It, or a filter of the provider, refused.
    Refused,
}

/// Tokens, as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Of what was sent.
    pub input: Option<u64>,
    /// Of the reply.
    pub output: Option<u64>,
}

/// Why there is no reply, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// In one word.
    pub code: Code,
    /// In words, with what to do about it. Has neither the key nor control characters in it.
    pub message: String,
    /// May the same request succeed a little later?
    pub retryable: bool,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: code.is_retryable() }
    }

    /// The reply is not whole.
    pub(crate) fn cut_off() -> Self {
        Self::new(Code::CutOff, "the reply ended before it was complete: try again")
    }
}

/// The kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The name of the endpoint does not resolve.
    Dns,
    /// An address that is not called.
    AddressRefused,
    /// Nobody accepts the connection.
    Unreachable,
    /// The certificate, or what stands in its place.
    Tls,
    /// The endpoint sends requests elsewhere.
    Redirect,
    /// Key missing, wrong or expired.
    Unauthorized,
    /// The key is not allowed to do this.
    Forbidden,
    /// No such model or path.
    NotFound,
    /// Too many requests.
    RateLimited,
    /// No credit.
    Quota,
    /// More than the model can read.
    ContextTooLong,
    /// Any other refusal.
    Refused,
    /// The provider failed, or is overloaded.
    ProviderFailed,
    /// What came is not what this protocol says.
    WrongProtocol,
    /// Nothing came for too long.
    Silent,
    /// The whole took too long.
    TookTooLong,
    /// More came than is read.
    TooLarge,
    /// It ended before it was complete.
    CutOff,
}

impl Code {
    const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Dns
                | Self::Unreachable
                | Self::RateLimited
                | Self::ProviderFailed
                | Self::Silent
                | Self::TookTooLong
                | Self::CutOff
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_json_with_their_type() {
        let usage = Usage { input: Some(12), output: None };
        for (event, expected) in [
            (Event::Delta { text: "a".to_owned() }, json!({"type": "delta", "text": "a"})),
            (
                Event::Done { stop: Stop::End, usage },
                json!({"type": "done", "stop": "end", "usage": {"input": 12, "output": null}}),
            ),
            (
                Event::Error(Failure::new(Code::CutOff, "it ended")),
                json!({"type": "error", "code": "cut_off", "message": "it ended", "retryable": true}),
            ),
        ] {
            assert_eq!(serde_json::to_value(event).unwrap(), expected);
        }
    }
}

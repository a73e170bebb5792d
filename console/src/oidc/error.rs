//! Why a login by the identity provider, or a renewal, came to nothing: sentences for the user.

use super::{attempt::ATTEMPT_LASTS, claims::ClaimsError, http::HttpError};

/// Characters of the provider's own words that are shown.
const MAX_WORDS: usize = 200;

/// Why there are no tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OidcError {
    /// It does not answer, or only says that it is away.
    #[error("the identity provider cannot be reached: {0}")]
    Unreachable(String),
    /// It answers, but not as the specification says.
    #[error("the identity provider's answer cannot be used: {0}")]
    Answer(String),
    /// It said no, and why.
    #[error("the identity provider refused: {0}")]
    Refused(String),
    /// The answer is to a login that this browser does not know (any more).
    #[error(
        "the login took longer than {} minutes, or was started again in another tab; log in again",
        ATTEMPT_LASTS.as_secs() / 60
    )]
    Stale,
    /// The token is not for this console or this login.
    #[error("the identity provider's ID token cannot be used: {0}")]
    Claims(#[from] ClaimsError),
}

impl From<HttpError> for OidcError {
    fn from(error: HttpError) -> Self {
        let why = error.to_string();
        match error {
            HttpError::Long | HttpError::Url(_) => Self::Answer(why),
            _ => Self::Unreachable(why),
        }
    }
}

impl OidcError {
    /// By an error code of the specification, and a description that may be anything.
    pub(super) fn refused(code: &str, description: Option<&str>) -> Self {
        let cut = |text: &str| -> String {
            text.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
        };
        Self::Refused(match description {
            Some(description) => format!("{} ({})", cut(code), cut(description)),
            None => cut(code),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_provider_are_cut() {
        let error = OidcError::refused("access_denied", Some("a\u{1b}[1m\nb"));
        let expected = "the identity provider refused: access_denied (a[1mb)";
        assert_eq!(error.to_string(), expected);
        let long = OidcError::refused(&"a".repeat(1000), None).to_string();
        assert_eq!(long.len(), "the identity provider refused: ".len() + MAX_WORDS);
    }
}

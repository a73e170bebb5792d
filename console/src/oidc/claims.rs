//! What an ID token says, and whether it is for this console and this login (OpenID Connect Core,
//! 3.1.3.7). Pure.
//!
//! The token comes from the provider itself over TLS, so that its signature need not be checked (item
//! 6); the API server, which the token is for, checks it with every call.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimsError {
    /// There is none in the answer.
    #[error("the provider sent none")]
    Missing,
    /// Not a JSON Web Token.
    #[error("it cannot be read")]
    Unreadable,
    /// Of somebody else.
    #[error("its issuer is {0:?}")]
    Issuer(String),
    /// For somebody else.
    #[error("it is not meant for the client ID of this console")]
    Audience,
    /// Of another login.
    #[error("it belongs to another login")]
    Nonce,
    /// Of another user than before.
    #[error("it belongs to another user")]
    Subject,
    /// Over.
    #[error("it has expired")]
    Expired,
}

/// The claims that count here.
#[derive(Deserialize)]
pub(crate) struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    /// A `NumericDate` may have a fraction.
    exp: f64,
    azp: Option<String>,
    nonce: Option<String>,
    email: Option<String>,
    email_verified: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Who must have issued a token, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
}

impl Claims {
    /// Reads them.
    pub(crate) fn of(token: &str) -> Result<Self, ClaimsError> {
        let payload = token.split('.').nth(1).ok_or(ClaimsError::Unreadable)?;
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload);
        let payload = payload.map_err(|_| ClaimsError::Unreadable)?;
        serde_json::from_slice(&payload).map_err(|_| ClaimsError::Unreadable)
    }

    /// When the token ends, as a Unix time.
    pub(crate) fn end(&self) -> Duration {
        Duration::try_from_secs_f64(self.exp).unwrap_or_default()
    }

    /// Whom the token is about, by what clusters make user names of.
    pub(crate) fn user(&self) -> String {
        match (&self.email, &self.email_verified) {
            (None, _) => format!("sub {:?}", self.sub),
            (Some(email), Some(Value::Bool(false))) => {
                format!("sub {:?}, email {email:?} (which the provider has not verified)", self.sub)
            }
            (Some(email), _) => format!("sub {:?}, email {email:?}", self.sub),
        }
    }

    /// Is this the token of a login with this nonce?
    pub(super) fn check_first(
        &self,
        expected: Expected<'_>,
        nonce: &str,
        now: Duration,
    ) -> Result<(), ClaimsError> {
        self.check(expected, now)?;
        if self.nonce.as_deref() == Some(nonce) { Ok(()) } else { Err(ClaimsError::Nonce) }
    }

    /// May this token follow that one (OpenID Connect Core, 12.2)?
    pub(super) fn check_next(
        &self,
        expected: Expected<'_>,
        before: &Self,
        now: Duration,
    ) -> Result<(), ClaimsError> {
        self.check(expected, now)?;
        if self.sub != before.sub {
            return Err(ClaimsError::Subject);
        }
        if self.nonce.is_some() && self.nonce != before.nonce {
            return Err(ClaimsError::Nonce);
        }
        Ok(())
    }

    fn check(&self, expected: Expected<'_>, now: Duration) -> Result<(), ClaimsError> {
        if self.iss != expected.issuer {
            return Err(ClaimsError::Issuer(self.iss.clone()));
        }
        let client = expected.client_id;
        let (is_meant, is_only) = match &self.aud {
            Audience::One(one) => (one == client, true),
            Audience::Several(all) => (all.iter().any(|one| one == client), all.len() == 1),
        };
        let is_authorized = self.azp.as_ref().map_or(is_only, |azp| azp == client);
        if !is_meant || !is_authorized {
            return Err(ClaimsError::Audience);
        }
        if self.end() <= now { Err(ClaimsError::Expired) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const EXPECTED: Expected<'_> = Expected { issuer: "https://i.example", client_id: "kipper" };

    fn token(claims: &Value) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn good() -> Value {
        let end = NOW.as_secs() + 300;
        json!({ "iss": "https://i.example", "sub": "1", "aud": "kipper", "exp": end, "nonce": "n" })
    }

    /// The claims of a good token, but for these.
    fn with(changes: &Value) -> Claims {
        let mut claims = good();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        Claims::of(&token(&claims)).unwrap()
    }

    #[test]
    fn a_token_is_for_this_console_and_this_login() {
        for (changes, expected) in [
            (json!({}), Ok(())),
            (json!({ "aud": ["kipper"] }), Ok(())),
            (json!({ "aud": ["kipper", "other"], "azp": "kipper" }), Ok(())),
            (json!({ "exp": 1_800_000_000.5 }), Ok(())),
            (
                json!({ "iss": "https://i.example/" }),
                Err(ClaimsError::Issuer("https://i.example/".into())),
            ),
            (json!({ "aud": "other" }), Err(ClaimsError::Audience)),
            (json!({ "aud": [] }), Err(ClaimsError::Audience)),
            (json!({ "aud": ["kipper", "other"] }), Err(ClaimsError::Audience)),
            (json!({ "azp": "other" }), Err(ClaimsError::Audience)),
            (json!({ "nonce": "m" }), Err(ClaimsError::Nonce)),
            (json!({ "nonce": null }), Err(ClaimsError::Nonce)),
            (json!({ "exp": NOW.as_secs() }), Err(ClaimsError::Expired)),
            (json!({ "exp": -1 }), Err(ClaimsError::Expired)),
        ] {
            assert_eq!(with(&changes).check_first(EXPECTED, "n", NOW), expected, "{changes}");
        }
    }

    #[test]
    fn the_next_token_is_of_the_same_user() {
        let before = with(&json!({}));
        for (changes, expected) in [
            (json!({}), Ok(())),
            (json!({ "nonce": null }), Ok(())),
            (json!({ "nonce": "m" }), Err(ClaimsError::Nonce)),
            (json!({ "sub": "2" }), Err(ClaimsError::Subject)),
            (json!({ "aud": "other" }), Err(ClaimsError::Audience)),
        ] {
            assert_eq!(with(&changes).check_next(EXPECTED, &before, NOW), expected, "{changes}");
        }
    }

    #[test]
    fn what_is_no_token_is_not_read() {
        let payload = BASE64_URL_SAFE_NO_PAD.encode("{}");
        for text in ["", "a", "a.b.c", "a.%.c", &format!("a.{payload}.c")] {
            assert_eq!(Claims::of(text).err(), Some(ClaimsError::Unreadable), "{text}");
        }
    }

    #[test]
    fn a_user_is_shown_by_what_clusters_go_by() {
        let email = json!({ "email": "ada@example.com" });
        assert_eq!(with(&json!({})).user(), r#"sub "1""#);
        assert_eq!(with(&email).user(), r#"sub "1", email "ada@example.com""#);
        let unverified = json!({ "email": "ada@example.com", "email_verified": false });
        assert!(with(&unverified).user().ends_with("(which the provider has not verified)"));
    }
}

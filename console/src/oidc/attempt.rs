//! A login that is on its way to the identity provider and back, kept by the browser: a sealed cookie.
//! Where it failed, the same cookie says why, until the page has shown it. Pure.
//!
//! The cookie is what ties the answer to this browser (RFC 6749, 10.12). It is sent when the provider
//! leads the browser back, which is another site; the session's is not.

use std::time::Duration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::{
    cookie::{self, SameSite},
    seal::{KeyError, Purpose, SessionKey},
};

const NAME: &str = "__Host-kipper-login";
const PURPOSE: Purpose = Purpose("kipper-console login 1");
/// How long users may take at the provider.
pub(super) const ATTEMPT_LASTS: Duration = Duration::from_mins(10);
/// How long the page has to show why a login failed.
const FAILURE_LASTS: Duration = Duration::from_mins(1);
/// Characters of a reason: with the sealing around them, a cookie holds them.
const MAX_WHY: usize = 600;
/// Longest path to come back to.
const MAX_PATH: usize = 1 << 10;

/// A login on its way.
#[derive(Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// Comes back with the answer.
    pub(super) state: String,
    /// Comes back in the token.
    pub(super) nonce: String,
    /// What the challenge was made of (RFC 7636).
    pub(super) verifier: String,
    /// Where the user was.
    pub(crate) to: String,
}

#[derive(Serialize, Deserialize)]
enum Kept {
    Attempt(Attempt),
    Failure(String),
}

impl Attempt {
    /// That of a request.
    pub(crate) fn of(headers: &HeaderMap, key: &SessionKey, now: Duration) -> Option<Self> {
        match kept(headers, key, now)? {
            Kept::Attempt(attempt) => Some(attempt),
            Kept::Failure(_) => None,
        }
    }

    /// What makes a browser keep it.
    ///
    /// # Errors
    /// Without random numbers.
    pub(crate) fn cookie(self, key: &SessionKey, now: Duration) -> Result<HeaderMap, KeyError> {
        seal(&Kept::Attempt(self), key, now + ATTEMPT_LASTS)
    }
}

/// What makes a browser keep why its login failed.
///
/// # Errors
/// Without random numbers.
pub(crate) fn failed(why: &str, key: &SessionKey, now: Duration) -> Result<HeaderMap, KeyError> {
    let why = why.chars().filter(|c| !c.is_control()).take(MAX_WHY).collect();
    seal(&Kept::Failure(why), key, now + FAILURE_LASTS)
}

/// Why the last login of this browser failed.
pub(crate) fn failure(headers: &HeaderMap, key: &SessionKey, now: Duration) -> Option<String> {
    match kept(headers, key, now)? {
        Kept::Failure(why) => Some(why),
        Kept::Attempt(_) => None,
    }
}

/// Takes the cookie away.
pub(crate) fn end(cookies: &mut HeaderMap) {
    cookie::set(cookies, NAME, None, SameSite::Lax);
}

/// `to` if it is a path of the page, else the page's first one.
pub(crate) fn path_of_page(to: &str) -> &str {
    let is_path = to.len() <= MAX_PATH
        && to.starts_with('/')
        && !to.starts_with("//")
        && to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_page = !to.starts_with("/api/") && !to.starts_with("/login/");
    if is_path && is_page { to } else { "/" }
}

fn kept(headers: &HeaderMap, key: &SessionKey, now: Duration) -> Option<Kept> {
    let [sealed] = cookie::values(headers, &[NAME.to_owned()])?;
    let (text, _) = key.open(PURPOSE, sealed?, now)?;
    serde_json::from_str(&text).ok()
}

fn seal(kept: &Kept, key: &SessionKey, end: Duration) -> Result<HeaderMap, KeyError> {
    // A struct of strings is always JSON.
    let text = serde_json::to_string(kept).unwrap_or_default();
    let mut cookies = HeaderMap::new();
    cookie::set(&mut cookies, NAME, Some(&key.seal(PURPOSE, &text, end)?), SameSite::Lax);
    Ok(cookies)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::header::{COOKIE, SET_COOKIE};

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn attempt() -> Attempt {
        let [state, nonce, verifier, to] = ["s", "n", "v", "/x"].map(str::to_owned);
        Attempt { state, nonce, verifier, to }
    }

    fn request(cookies: &HeaderMap) -> HeaderMap {
        let set = cookies[SET_COOKIE].to_str().unwrap();
        HeaderMap::from_iter([(COOKIE, set.split(';').next().unwrap().parse().unwrap())])
    }

    #[test]
    fn an_attempt_comes_back_when_the_provider_sends_the_browser_and_ends() {
        let key = SessionKey::new(&[1; 32]).unwrap();
        let cookies = attempt().cookie(&key, NOW).unwrap();
        let text = cookies[SET_COOKIE].to_str().unwrap();
        assert!(text.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{text}");
        let headers = request(&cookies);
        let last = NOW + ATTEMPT_LASTS - Duration::from_secs(1);
        assert_eq!(Attempt::of(&headers, &key, last).unwrap().to, "/x");
        assert!(Attempt::of(&headers, &key, NOW + ATTEMPT_LASTS).is_none());
        assert!(failure(&headers, &key, NOW).is_none());
    }

    #[test]
    fn a_failure_is_no_attempt() {
        let key = SessionKey::new(&[1; 32]).unwrap();
        let headers = request(&failed("why", &key, NOW).unwrap());
        assert_eq!(failure(&headers, &key, NOW).as_deref(), Some("why"));
        assert!(failure(&headers, &key, NOW + FAILURE_LASTS).is_none());
        assert!(Attempt::of(&headers, &key, NOW).is_none());
        let long = failed(&"\u{10ffff}".repeat(5000), &key, NOW).unwrap();
        assert!(long[SET_COOKIE].len() < 4096);
    }

    #[test]
    fn only_a_path_of_the_page_is_come_back_to() {
        for to in ["/", "/ns/shop/functions/a?x=1#trigger", "/a//b", "/@evil.example"] {
            assert_eq!(path_of_page(to), to);
        }
        let long = format!("/{}", "a".repeat(MAX_PATH));
        for to in [
            "",
            "evil.example",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/a b",
            "/é",
            "javascript:alert(1)",
            "/api/v1/me",
            "/login/oidc",
            &long,
        ] {
            assert_eq!(path_of_page(to), "/", "{to}");
        }
    }
}

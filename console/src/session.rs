//! A session is a cookie: the user's token, the one to renew it with where there is one, and the time at
//! which the session ends, sealed. Pure.
//!
//! What is longer than browsers take (4 KB for a name with its value) goes into up to four cookies.

use std::{array, fmt, time::Duration};

use http::HeaderMap;

use crate::{
    cookie::{self, SameSite},
    seal::{KeyError, Purpose, SessionKey},
};

const NAME: &str = "__Host-kipper-session";
/// Characters in one cookie: with name and attributes below 4,096.
const CHUNK: usize = 3800;
/// Cookies of one session.
const MAX_CHUNKS: usize = 4;
/// How long a session lasts, however often its token is renewed.
const LIFETIME: Duration = Duration::from_hours(12);
const PURPOSE: Purpose = Purpose("kipper-console session 1");
/// Between the two tokens: no token has it in it.
const SEPARATOR: char = '\n';

/// Most characters of a session's tokens: four cookies hold them, and ports take them in a head.
pub(crate) const MAX_TOKEN: usize = 8 << 10;

/// A user who is logged in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// What the API server judges.
    pub(crate) token: String,
    /// What the identity provider gives the next token for.
    pub(crate) refresh: Option<String>,
    end: Duration,
}

/// Tokens are nothing to print.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Session {
    /// One that begins now (a Unix time).
    pub(crate) fn new(token: String, refresh: Option<String>, now: Duration) -> Self {
        Self { token, refresh, end: now + LIFETIME }
    }

    /// The same session with other tokens.
    pub(crate) fn renewed(&self, token: String, refresh: Option<String>) -> Self {
        Self { token, refresh, end: self.end }
    }

    /// The session of a request, unless it has ended or is none of this key's.
    pub(crate) fn of(headers: &HeaderMap, key: &SessionKey, now: Duration) -> Option<Self> {
        let (text, end) = key.open(PURPOSE, &sealed(headers)?, now)?;
        let (token, refresh) = match text.split_once(SEPARATOR) {
            Some((token, refresh)) => (token.to_owned(), Some(refresh.to_owned())),
            None => (text, None),
        };
        Some(Self { token, refresh, end })
    }

    /// What makes a browser keep it.
    ///
    /// # Errors
    /// Without random numbers.
    pub(crate) fn cookies(&self, key: &SessionKey) -> Result<HeaderMap, KeyError> {
        let text = match &self.refresh {
            Some(refresh) => format!("{}{SEPARATOR}{refresh}", self.token),
            None => self.token.clone(),
        };
        let sealed = key.seal(PURPOSE, &text, self.end)?;
        let chunks: Vec<&str> = chunks(&sealed);
        let mut cookies = HeaderMap::new();
        for (at, name) in names().iter().enumerate() {
            // The first name is that of a session in one cookie.
            let value = match chunks.as_slice() {
                [only] if at == 0 => Some(*only),
                [_] => None,
                several => at.checked_sub(1).and_then(|at| several.get(at).copied()),
            };
            cookie::set(&mut cookies, name, value, SameSite::Strict);
        }
        Ok(cookies)
    }
}

/// What ends a session in the browser.
pub(crate) fn no_cookies() -> HeaderMap {
    let mut cookies = HeaderMap::new();
    names().iter().for_each(|name| cookie::set(&mut cookies, name, None, SameSite::Strict));
    cookies
}

/// Every name a cookie of a session can have.
fn names() -> [String; MAX_CHUNKS + 1] {
    array::from_fn(|at| match at.checked_sub(1) {
        None => NAME.to_owned(),
        Some(chunk) => format!("{NAME}-{chunk}"),
    })
}

fn chunks(sealed: &str) -> Vec<&str> {
    // The text is base64, so that every place in it is between two characters.
    (0..sealed.len()).step_by(CHUNK).map(|at| &sealed[at..sealed.len().min(at + CHUNK)]).collect()
}

/// The session's text, from one cookie or several.
fn sealed(headers: &HeaderMap) -> Option<String> {
    let [one, several @ ..] = cookie::values(headers, &names())?;
    let text =
        one.map_or_else(|| several.into_iter().map_while(|chunk| chunk).collect(), str::to_owned);
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::header::{COOKIE, SET_COOKIE};

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn key(byte: u8) -> SessionKey {
        SessionKey::new(&[byte; 32]).unwrap()
    }

    fn cookies(key: &SessionKey, token: &str) -> Vec<String> {
        sent(&Session::new(token.to_owned(), None, NOW).cookies(key).unwrap())
    }

    fn token(key: &SessionKey, headers: &HeaderMap, now: Duration) -> Option<String> {
        Session::of(headers, key, now).map(|session| session.token)
    }

    /// What a browser sends after it was given these cookies.
    fn sent(cookies: &HeaderMap) -> Vec<String> {
        let set = cookies.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap());
        let kept = set.filter(|text| !text.contains("Max-Age=0"));
        kept.map(|text| text.split(';').next().unwrap().to_owned()).collect()
    }

    fn request(cookies: &[String]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookies.join("; ").parse().unwrap());
        headers
    }

    #[test]
    fn a_token_comes_back_whatever_its_length_and_is_never_in_clear() {
        let key = key(1);
        for length in [1, 900, 2800, 2900, MAX_TOKEN] {
            let token = "t".repeat(length);
            let cookies = Session::new(token.clone(), None, NOW).cookies(&key).unwrap();
            for text in cookies.values().map(|value| value.to_str().unwrap()) {
                assert!(text.starts_with("__Host-kipper-session") && text.len() < 4096, "{text}");
                assert!(text.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"), "{text}");
                assert!(!text.contains("tttttttt"), "{text}");
            }
            let mut sent = sent(&cookies);
            sent.reverse();
            assert_eq!(sent.len() > 1, length > 2800, "{length}");
            let found = Session::of(&request(&sent), &key, NOW).unwrap();
            assert_eq!((found.token, found.refresh), (token, None));
        }
    }

    #[test]
    fn a_session_ends() {
        let key = key(1);
        let headers = request(&cookies(&key, "token"));
        let last = NOW + LIFETIME - Duration::from_secs(1);
        assert_eq!(token(&key, &headers, last).as_deref(), Some("token"));
        assert_eq!(token(&key, &headers, NOW + LIFETIME), None);
    }

    #[test]
    fn a_session_that_is_renewed_ends_when_it_would_have_ended() {
        let key = key(1);
        let first = Session::new("first".to_owned(), Some("refresh".to_owned()), NOW);
        let second = first.renewed("second".to_owned(), Some("again".to_owned()));
        let headers = request(&sent(&second.cookies(&key).unwrap()));
        let last = NOW + LIFETIME - Duration::from_secs(1);
        assert_eq!(Session::of(&headers, &key, last), Some(second));
        assert_eq!(Session::of(&headers, &key, NOW + LIFETIME), None);
    }

    #[test]
    fn chunks_that_are_missing_or_swapped_are_no_session() {
        let key = key(1);
        let cookies = cookies(&key, &"t".repeat(MAX_TOKEN));
        assert_eq!(cookies.len(), 3);
        for at in 0..cookies.len() {
            let mut some = cookies.clone();
            some.remove(at);
            assert_eq!(token(&key, &request(&some), NOW), None);
        }
        let swapped = [
            cookies[0].replacen("-0=", "-1=", 1),
            cookies[1].replacen("-1=", "-0=", 1),
            cookies[2].clone(),
        ];
        assert_eq!(token(&key, &request(&swapped), NOW), None);
    }

    #[test]
    fn cookies_of_siblings_do_not_count() {
        let key = key(1);
        let mut cookies = cookies(&key, "token");
        let sibling = "kipper-session=x".to_owned();
        cookies.insert(0, sibling.clone());
        cookies.push("__Host-kipper-session-other=y".to_owned());
        assert_eq!(token(&key, &request(&cookies), NOW).as_deref(), Some("token"));
        assert_eq!(token(&key, &request(&[sibling]), NOW), None);
        // The same name twice: one of them is not ours.
        cookies.push("__Host-kipper-session=z".to_owned());
        assert_eq!(token(&key, &request(&cookies), NOW), None);
        assert_eq!(token(&key, &HeaderMap::new(), NOW), None);
    }

    #[test]
    fn logging_out_removes_every_cookie() {
        let cookies = no_cookies();
        assert_eq!(cookies.len(), MAX_CHUNKS + 1);
        assert!(sent(&cookies).is_empty());
    }
}

//! A session is a cookie: the user's token, sealed with AES-256-GCM, and the time at which it ends. Pure.
//!
//! Nothing is kept here, so that any replica with the same key knows every session. A name that begins
//! with `__Host-` cannot be set by a sibling host, and scripts cannot read it. What is longer than
//! browsers take (4 KB for a name with its value) goes into up to four cookies.

use std::{fs, io, path::Path, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest,
    error::Unspecified,
    rand::{SecureRandom as _, SystemRandom},
};

const NAME: &str = "__Host-kipper-session";
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";
/// Characters in one cookie: with name and attributes below 4,096.
const CHUNK: usize = 3800;
/// Cookies of one session.
const MAX_CHUNKS: usize = 4;
/// How long a session lasts.
const LIFETIME: Duration = Duration::from_hours(12);
/// What is sealed: a sealed text of anything else is none of ours.
const PURPOSE: &[u8] = b"kipper-console session 1";
/// Bytes of the time at which a session ends.
const TIME_LEN: usize = 8;
/// Fewest bytes of a key's file.
const MIN_KEY: usize = 32;

/// Longest token: what four cookies hold.
pub(crate) const MAX_TOKEN: usize = 8 << 10;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file cannot be read.
    #[error("cannot read the session key {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is too short to be one.
    #[error("the session key has {0} bytes, and must have {MIN_KEY} or more")]
    Short(usize),
    /// The machine has no random numbers.
    #[error("the machine has no random numbers")]
    NoRandom,
}

impl From<Unspecified> for KeyError {
    fn from(_: Unspecified) -> Self {
        Self::NoRandom
    }
}

/// What sessions are sealed with.
pub struct SessionKey {
    key: LessSafeKey,
    random: SystemRandom,
}

impl SessionKey {
    /// From 32 bytes or more that nobody can guess.
    ///
    /// # Errors
    /// With fewer.
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < MIN_KEY {
            return Err(KeyError::Short(secret.len()));
        }
        let digest = digest::digest(&digest::SHA256, secret);
        let key = UnboundKey::new(&AES_256_GCM, digest.as_ref())?;
        Ok(Self { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    /// From a file; white space around its content does not count.
    ///
    /// # Errors
    /// When it cannot be read, or is too short.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |source| KeyError::Unreadable { path: path.display().to_string(), source };
        Self::new(fs::read(path).map_err(unreadable)?.trim_ascii())
    }

    /// One that no other process has.
    ///
    /// # Errors
    /// Without random numbers.
    pub fn random() -> Result<Self, KeyError> {
        let mut secret = [0; MIN_KEY];
        SystemRandom::new().fill(&mut secret)?;
        Self::new(&secret)
    }

    /// The cookies of a session that begins now (a Unix time).
    ///
    /// # Errors
    /// Without random numbers.
    pub(crate) fn cookies(&self, token: &str, now: Duration) -> Result<HeaderMap, KeyError> {
        let sealed = self.seal(token, now + LIFETIME)?;
        let chunks: Vec<&str> = chunks(&sealed);
        let mut cookies = HeaderMap::new();
        for (at, name) in names().enumerate() {
            // The first name is that of a session in one cookie.
            let value = match chunks.as_slice() {
                [only] if at == 0 => Some(*only),
                [_] => None,
                several => at.checked_sub(1).and_then(|at| several.get(at).copied()),
            };
            set(&mut cookies, &name, value);
        }
        Ok(cookies)
    }

    /// The token of a request's session, unless it has ended or is none of this key's.
    pub(crate) fn token(&self, headers: &HeaderMap, now: Duration) -> Option<String> {
        self.open(&sealed(headers)?, now)
    }

    fn seal(&self, token: &str, end: Duration) -> Result<String, Unspecified> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce)?;
        let mut text = [&end.as_secs().to_be_bytes()[..], token.as_bytes()].concat();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(unique, Aad::from(PURPOSE), &mut text)?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat()))
    }

    fn open(&self, sealed: &str, now: Duration) -> Option<String> {
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.key.open_in_place(nonce, Aad::from(PURPOSE), text).ok()?;
        let (end, token) = text.split_first_chunk::<TIME_LEN>()?;
        let is_over = u64::from_be_bytes(*end) <= now.as_secs();
        (!is_over).then(|| String::from_utf8(token.to_vec()).ok())?
    }
}

/// What ends a session in the browser.
pub(crate) fn no_cookies() -> HeaderMap {
    let mut cookies = HeaderMap::new();
    names().for_each(|name| set(&mut cookies, &name, None));
    cookies
}

/// Every name a cookie of a session can have.
fn names() -> impl Iterator<Item = String> {
    [NAME.to_owned()].into_iter().chain((0..MAX_CHUNKS).map(|at| format!("{NAME}-{at}")))
}

fn chunks(sealed: &str) -> Vec<&str> {
    // The text is base64, so that every place in it is between two characters.
    (0..sealed.len()).step_by(CHUNK).map(|at| &sealed[at..sealed.len().min(at + CHUNK)]).collect()
}

fn set(cookies: &mut HeaderMap, name: &str, value: Option<&str>) {
    let text = match value {
        Some(value) => format!("{name}={value}; {ATTRIBUTES}"),
        None => format!("{name}=; Max-Age=0; {ATTRIBUTES}"),
    };
    // Base64 and our own names are always a value.
    if let Ok(mut value) = HeaderValue::from_str(&text) {
        value.set_sensitive(true);
        cookies.append(SET_COOKIE, value);
    }
}

/// The session's text, from one cookie or several; `None` also where a name stands twice.
fn sealed(headers: &HeaderMap) -> Option<String> {
    let mut found: [Option<&str>; MAX_CHUNKS + 1] = [None; MAX_CHUNKS + 1];
    let names: Vec<String> = names().collect();
    let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
    for (name, value) in fields.flat_map(|field| field.split(';')).filter_map(|p| p.split_once('='))
    {
        let Some(at) = names.iter().position(|known| known == name.trim()) else { continue };
        if found[at].replace(value.trim()).is_some() {
            return None;
        }
    }
    let [one, several @ ..] = found;
    let text =
        one.map_or_else(|| several.into_iter().map_while(|chunk| chunk).collect(), str::to_owned);
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn key(byte: u8) -> SessionKey {
        SessionKey::new(&[byte; 32]).unwrap()
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
            let cookies = key.cookies(&token, NOW).unwrap();
            for text in cookies.values().map(|value| value.to_str().unwrap()) {
                assert!(text.starts_with("__Host-kipper-session") && text.len() < 4096, "{text}");
                assert!(text.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"), "{text}");
                assert!(!text.contains("tttttttt"), "{text}");
            }
            let mut sent = sent(&cookies);
            sent.reverse();
            assert_eq!(sent.len() > 1, length > 2800, "{length}");
            assert_eq!(key.token(&request(&sent), NOW), Some(token));
        }
    }

    #[test]
    fn a_session_ends() {
        let key = key(1);
        let headers = request(&sent(&key.cookies("token", NOW).unwrap()));
        let last = NOW + LIFETIME - Duration::from_secs(1);
        assert_eq!(key.token(&headers, last).as_deref(), Some("token"));
        assert_eq!(key.token(&headers, NOW + LIFETIME), None);
    }

    #[test]
    fn what_another_key_sealed_or_somebody_changed_is_no_session() {
        let cookies = sent(&key(1).cookies("token", NOW).unwrap());
        assert_eq!(key(2).token(&request(&cookies), NOW), None);
        let (name, value) = cookies[0].split_once('=').unwrap();
        for at in 0..value.len() {
            let other = if value.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = format!("{name}={}{other}{}", &value[..at], &value[at + 1..]);
            // The last character's low bits mean nothing, and are then refused as such.
            assert_eq!(key(1).token(&request(&[changed]), NOW), None, "{at}");
        }
        for cut in [0, 1, 10, value.len() - 1] {
            let cut = format!("{name}={}", &value[..cut]);
            assert_eq!(key(1).token(&request(&[cut]), NOW), None);
        }
    }

    #[test]
    fn chunks_that_are_missing_or_swapped_are_no_session() {
        let key = key(1);
        let cookies = sent(&key.cookies(&"t".repeat(MAX_TOKEN), NOW).unwrap());
        assert_eq!(cookies.len(), 3);
        for at in 0..cookies.len() {
            let mut some = cookies.clone();
            some.remove(at);
            assert_eq!(key.token(&request(&some), NOW), None);
        }
        let swapped = [
            cookies[0].replacen("-0=", "-1=", 1),
            cookies[1].replacen("-1=", "-0=", 1),
            cookies[2].clone(),
        ];
        assert_eq!(key.token(&request(&swapped), NOW), None);
    }

    #[test]
    fn cookies_of_siblings_do_not_count() {
        let key = key(1);
        let mut cookies = sent(&key.cookies("token", NOW).unwrap());
        let sibling = "kipper-session=x".to_owned();
        cookies.insert(0, sibling.clone());
        cookies.push("__Host-kipper-session-other=y".to_owned());
        assert_eq!(key.token(&request(&cookies), NOW).as_deref(), Some("token"));
        assert_eq!(key.token(&request(&[sibling]), NOW), None);
        // The same name twice: one of them is not ours.
        cookies.push("__Host-kipper-session=z".to_owned());
        assert_eq!(key.token(&request(&cookies), NOW), None);
        assert_eq!(key.token(&HeaderMap::new(), NOW), None);
    }

    #[test]
    fn logging_out_removes_every_cookie() {
        let cookies = no_cookies();
        assert_eq!(cookies.len(), MAX_CHUNKS + 1);
        assert!(sent(&cookies).is_empty());
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(matches!(SessionKey::new(b"short"), Err(KeyError::Short(5))));
        assert!(SessionKey::random().is_ok());
    }
}

//! What browsers keep for the console without being able to read or change it: sealed with AES-256-GCM,
//! with its purpose and the time at which it ends. Pure.
//!
//! Nothing is kept here, so that any replica with the same key knows what it is given back.

use std::{fs, io, path::Path, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{self, SHA256, SHA256_OUTPUT_LEN},
    error::Unspecified,
    rand::{SecureRandom as _, SystemRandom},
};

/// Bytes of the time at which something sealed ends.
const TIME_LEN: usize = 8;
/// Fewest bytes of a key's file.
const MIN_KEY: usize = 32;

/// Stands for a token where tokens are looked up.
pub(crate) type Digest = [u8; SHA256_OUTPUT_LEN];

/// What is sealed: a sealed text of one purpose is none of another.
#[derive(Clone, Copy)]
pub(crate) struct Purpose(pub(crate) &'static str);

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
        let digest = digest::digest(&SHA256, secret);
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

    /// A text that ends at this Unix time.
    ///
    /// # Errors
    /// Without random numbers.
    pub(crate) fn seal(
        &self,
        purpose: Purpose,
        text: &str,
        end: Duration,
    ) -> Result<String, KeyError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce)?;
        let mut text = [&end.as_secs().to_be_bytes()[..], text.as_bytes()].concat();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(unique, Aad::from(purpose.0), &mut text)?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat()))
    }

    /// The text and its end, unless that has come or this key did not seal it.
    pub(crate) fn open(
        &self,
        purpose: Purpose,
        sealed: &str,
        now: Duration,
    ) -> Option<(String, Duration)> {
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.key.open_in_place(nonce, Aad::from(purpose.0), text).ok()?;
        let (end, text) = text.split_first_chunk::<TIME_LEN>()?;
        let end = Duration::from_secs(u64::from_be_bytes(*end));
        let text = String::from_utf8(text.to_vec()).ok()?;
        (now < end).then_some((text, end))
    }
}

/// Of a token.
pub(crate) fn digest_of(token: impl AsRef<[u8]>) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest::digest(&SHA256, token.as_ref()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const END: Duration = Duration::from_secs(1_800_000_060);
    const ONE: Purpose = Purpose("one");

    fn key(byte: u8) -> SessionKey {
        SessionKey::new(&[byte; 32]).unwrap()
    }

    #[test]
    fn what_was_sealed_counts_for_its_purpose_and_until_its_end() {
        let sealed = key(1).seal(ONE, "text", END).unwrap();
        let open = |purpose, now| key(1).open(purpose, &sealed, now);
        assert_eq!(open(ONE, NOW), Some(("text".to_owned(), END)));
        assert_eq!(open(ONE, END), None);
        assert_eq!(open(Purpose("other"), NOW), None);
    }

    #[test]
    fn what_another_key_sealed_or_somebody_changed_does_not_count() {
        let sealed = key(1).seal(ONE, "text", END).unwrap();
        assert_eq!(key(2).open(ONE, &sealed, NOW), None);
        for at in 0..sealed.len() {
            let other = if sealed.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = format!("{}{other}{}", &sealed[..at], &sealed[at + 1..]);
            // The last character's low bits mean nothing, and are then refused as such.
            assert_eq!(key(1).open(ONE, &changed, NOW), None, "{at}");
        }
        for cut in [0, 1, 10, sealed.len() - 1] {
            assert_eq!(key(1).open(ONE, &sealed[..cut], NOW), None);
        }
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(matches!(SessionKey::new(b"short"), Err(KeyError::Short(5))));
        assert!(SessionKey::random().is_ok());
    }
}

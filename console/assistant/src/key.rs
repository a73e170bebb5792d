//! The key of a provider: it goes into one header, and nowhere else.
//!
//! There is no `Debug`, no `Display`, no `Serialize`, and no way to get its text.

use http::HeaderValue;

/// Longest key.
const MAX_KEY_BYTES: usize = 8 << 10;
/// How much of a key makes a word of a text suspicious: providers repeat keys with their middle masked.
const PREFIX: usize = 8;
/// What stands in its place.
const REDACTED: &str = "[key]";

/// An API key.
#[derive(Clone)]
pub struct Key(String);

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is nothing in it.
    #[error("the API key is empty")]
    Empty,
    /// It has a character that no header can carry.
    #[error("the API key must consist of printable ASCII characters without spaces")]
    Malformed,
    /// It is too long.
    #[error("the API key must have at most {MAX_KEY_BYTES} characters")]
    TooLong,
}

impl Key {
    /// Takes a key; the white space around it, which is pasted along, does not belong to it.
    ///
    /// # Errors
    /// When it cannot be a key.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::Malformed);
        }
        Ok(Self(text.to_owned()))
    }

    /// The value of a header: the key behind `scheme`.
    pub(crate) fn header(&self, scheme: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{scheme}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The text without the key, whole or masked: every word that goes on as the key begins is taken out.
    pub(crate) fn redact(&self, text: &str) -> String {
        let start = &self.0[..self.0.len().min(PREFIX)];
        let mut parts = text.split(start);
        let mut clean = parts.next().unwrap_or_default().to_owned();
        for rest in parts {
            let end = rest.find(|c: char| c.is_whitespace() || "\"'`<>()[]{},;".contains(c));
            clean.push_str(REDACTED);
            clean.push_str(end.map_or("", |end| &rest[end..]));
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_one_printable_word() {
        let problem = |text: &str| Key::new(text).err();
        assert_eq!(problem(" sk-canary\n"), None);
        assert_eq!(problem(" \n"), Some(KeyError::Empty));
        assert_eq!(problem("sk canary"), Some(KeyError::Malformed));
        assert_eq!(problem("sk-\u{e9}"), Some(KeyError::Malformed));
        assert_eq!(problem("sk\r\nx-evil: 1"), Some(KeyError::Malformed));
        assert_eq!(problem(&"k".repeat(MAX_KEY_BYTES)), None);
        assert_eq!(problem(&"k".repeat(MAX_KEY_BYTES + 1)), Some(KeyError::TooLong));
    }

    #[test]
    fn its_header_shows_nothing() {
        let header = Key::new("sk-canary").unwrap().header("Bearer ").unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer sk-canary");
        assert_eq!(format!("{header:?}"), "Sensitive");
    }

    #[test]
    fn no_text_keeps_it() {
        let key = Key::new("sk-canary-0123456789").unwrap();
        for (text, expected) in [
            ("nothing", "nothing"),
            ("key sk-canary-0123456789, sk-canary-0123456789.", "key [key], [key]"),
            ("Incorrect API key: \"sk-canary****6789\"", "Incorrect API key: \"[key]\""),
            ("sk-canar\u{2026} is wrong", "[key] is wrong"),
            ("sk-other", "sk-other"),
        ] {
            assert_eq!(key.redact(text), expected);
        }
        assert_eq!(Key::new("abc").unwrap().redact("xabcx abc"), "x[key] [key]");
    }
}

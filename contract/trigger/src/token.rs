//! Secrets by which parts of the system know each other: poller and runtime in a pod, a bucket's
//! service and the scaler-adapter, and a poller and the scaler-adapter.

use std::fmt::Write as _;

use ring::hmac;

/// The header of `POST /event` by which a runtime knows its own poller. Where
/// [`crate::Variable::EventToken`] is set, for both of them, a request without it is not the poller's.
pub const EVENT_HEADER: &str = "kipper-event-token";

/// Each keeps one use of a key apart from every other.
const WEBHOOK: &[u8] = b"kipper bucket webhook\0";
const BACKLOG_KEY: &[u8] = b"kipper backlog key\0";
const BACKLOG: &[u8] = b"kipper backlog\0";

/// The bearer token of the notifications that services send for functions of `namespace`, in
/// hexadecimal: HMAC-SHA256 (RFC 2104) under the adapter's `key`. A service has one token for all its
/// buckets, so this is as fine as it gets: whoever has it can say something about the buckets of this
/// namespace's functions, and about no others.
pub fn webhook(key: &[u8], namespace: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hexadecimal(&hmac::sign(&key, &[WEBHOOK, namespace.as_bytes()].concat()))
}

/// What signs and proves the tokens by which pollers report backlogs.
#[derive(Clone)]
pub struct BacklogKey(hmac::Key);

impl BacklogKey {
    /// The key that follows from a secret of which controller and adapters alone know: the private key of
    /// the counts port's certificate. HMAC-SHA256 again, as in the first step of HKDF (RFC 5869).
    pub fn derive(secret: &[u8]) -> Self {
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, BACKLOG_KEY), secret);
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    /// The bearer token of one function's pollers, in hexadecimal. Whoever has it can have this function
    /// scaled up to its own limit, and no other.
    pub fn token(&self, namespace: &str, function: &str) -> String {
        hexadecimal(&hmac::sign(&self.0, &message(namespace, function)))
    }

    /// Whether this is the function's token; takes as long for every wrong one.
    pub fn is_token(&self, namespace: &str, function: &str, token: &[u8]) -> bool {
        let expected = self.token(namespace, function);
        // The tags of two texts under one key are equal where the texts are, and say nothing of them.
        let tag = hmac::sign(&self.0, token);
        hmac::verify(&self.0, expected.as_bytes(), tag.as_ref()).is_ok()
    }
}

/// No name has a slash.
fn message(namespace: &str, function: &str) -> Vec<u8> {
    [BACKLOG, namespace.as_bytes(), b"/", function.as_bytes()].concat()
}

fn hexadecimal(tag: &hmac::Tag) -> String {
    let mut text = String::with_capacity(64);
    for byte in tag.as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{BacklogKey, webhook};

    /// As `printf 'kipper bucket webhook\0shop' | openssl dgst -sha256 -hmac sesame` makes it.
    #[test]
    fn a_token_is_of_one_namespace() {
        let token = webhook(b"sesame", "shop");
        assert_eq!(token, "2bb5f7b1a489a9520975c0623d421105615f860e4c891fb3dd49163726f506ea");
        for other in [webhook(b"sesame", "sho"), webhook(b"open", "shop"), webhook(b"sesame", "")] {
            assert!(other.len() == 64 && other != token);
        }
    }

    #[test]
    fn a_backlog_s_token_is_of_one_function() {
        let key = BacklogKey::derive(b"sesame");
        let token = key.token("shop", "orders");
        assert!(token.len() == 64 && key.is_token("shop", "orders", token.as_bytes()));
        for (namespace, function) in [("shop", "order"), ("sho", "porders"), ("", "shop/orders")] {
            assert!(!key.is_token(namespace, function, token.as_bytes()), "{namespace} {function}");
        }
        for other in ["", &token[1..], &format!("{token}0"), &token.to_uppercase()] {
            assert!(!key.is_token("shop", "orders", other.as_bytes()), "{other}");
        }
        assert!(!BacklogKey::derive(b"open").is_token("shop", "orders", token.as_bytes()));
    }
}

//! Secrets by which parts of the system know each other: poller and runtime in a pod, and a bucket's
//! service and the scaler-adapter.

use std::fmt::Write as _;

/// The header of `POST /event` by which a runtime knows its own poller. Where
/// [`crate::Variable::EventToken`] is set, for both of them, a request without it is not the poller's.
pub const EVENT_HEADER: &str = "kipper-event-token";

/// Keeps this use of the key apart from every other.
const WEBHOOK: &[u8] = b"kipper bucket webhook\0";

/// The bearer token of the notifications that services send for functions of `namespace`, in
/// hexadecimal: HMAC-SHA256 (RFC 2104) under the adapter's `key`. A service has one token for all its
/// buckets, so this is as fine as it gets: whoever has it can say something about the buckets of this
/// namespace's functions, and about no others.
pub fn webhook(key: &[u8], namespace: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    let mut context = ring::hmac::Context::with_key(&key);
    context.update(WEBHOOK);
    context.update(namespace.as_bytes());
    let mut token = String::with_capacity(64);
    for byte in context.sign().as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    token
}

#[cfg(test)]
mod tests {
    use super::webhook;

    /// As `printf 'kipper bucket webhook\0shop' | openssl dgst -sha256 -hmac sesame` makes it.
    #[test]
    fn a_token_is_of_one_namespace() {
        let token = webhook(b"sesame", "shop");
        assert_eq!(token, "2bb5f7b1a489a9520975c0623d421105615f860e4c891fb3dd49163726f506ea");
        for other in [webhook(b"sesame", "sho"), webhook(b"open", "shop"), webhook(b"sesame", "")] {
            assert!(other.len() == 64 && other != token);
        }
    }
}

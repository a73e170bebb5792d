//! What the function is sent for an item: the item itself if it is JSON, else an object around it.
//!
//! Pure. An item is any bytes, the body is always JSON, and nothing of the item is ever lost.

use bytes::Bytes;
use serde::de::IgnoredAny;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The body for an item.
pub(super) fn body(item: &[u8]) -> Bytes {
    let Ok(text) = std::str::from_utf8(item) else {
        let data = base64(item);
        return Bytes::from(format!(r#"{{"data":"{data}","encoding":"base64"}}"#));
    };
    if serde_json::from_str::<IgnoredAny>(text).is_ok() {
        // A copy: the item is a part of a whole answer, which it would keep in memory.
        return Bytes::copy_from_slice(item);
    }
    Bytes::from(format!(r#"{{"data":{}}}"#, serde_json::Value::from(text)))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut bits = 0;
        for n in 0..3 {
            bits = bits << 8 | usize::from(group.get(n).copied().unwrap_or(0));
        }
        for n in 0..4 {
            let digit = ALPHABET[bits >> (18 - 6 * n) & 63];
            text.push(if n <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_sent_as_it_is_and_all_else_in_an_object() {
        let check = |item: &[u8], expected: &str| assert_eq!(body(item), expected, "{item:?}");
        check(br#"{"id": 1,  "a": 2.50}"#, r#"{"id": 1,  "a": 2.50}"#);
        check(b" [1,\n2] ", " [1,\n2] ");
        check(b"12345678901234567890.10", "12345678901234567890.10");
        check(br#""quoted""#, r#""quoted""#);
        check(b"null", "null");
        check(b"hello", r#"{"data":"hello"}"#);
        check(b"", r#"{"data":""}"#);
        check(b"{\"a\":1} x", r#"{"data":"{\"a\":1} x"}"#);
        check("ä\"\\\n\0".as_bytes(), "{\"data\":\"ä\\\"\\\\\\n\\u0000\"}");
        check(b"NaN", r#"{"data":"NaN"}"#);
        check("\u{feff}1".as_bytes(), "{\"data\":\"\u{feff}1\"}");
        check(b"\xff\xfe", r#"{"data":"//4=","encoding":"base64"}"#);
        check(b"\"\xff\"", r#"{"data":"Iv8i","encoding":"base64"}"#);
        check(&[0xff; 4], r#"{"data":"/////w==","encoding":"base64"}"#);
    }

    #[test]
    fn deep_nesting_is_no_reason_to_fail() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(body(deep.as_bytes()), deep);
    }
}

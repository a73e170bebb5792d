//! Keys as they are written into URLs and notifications.

/// As in a query string: what is not unreserved (RFC 3986, section 2.3) or a slash becomes `%XX`.
pub fn escape(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Takes `%XX` back, and `+` as the space it is in a query string: so S3 and MinIO write keys. `None`
/// for what is no escaped UTF-8.
pub fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_comes_back() {
        for key in ["a/b.txt", "a b+c%2Fd", "ä/日本", "\"<&>'", "\u{1}\n", "%", "+"] {
            assert_eq!(unescape(&escape(key)).as_deref(), Some(key));
        }
    }

    #[test]
    fn what_is_not_escaped_text_is_refused() {
        assert_eq!(unescape("a+b").as_deref(), Some("a b"));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}

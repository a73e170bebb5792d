//! Parts of a source's URL, percent-encoded as RFC 3986 says.

use std::fmt::Write as _;

/// Percent-encodes everything but what RFC 3986 never reserves.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// What [`encoded`] encoded; `None` where it is not valid, or not UTF-8.
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
        bytes.push(digit(high)? << 4 | digit(low)?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

/// The URL of a SQL source with another database.
pub fn with_database(url: &str, database: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + "://".len());
    let (before, parameters) = match url.find('?') {
        Some(at) if at >= start => url.split_at(at),
        _ => (url, ""),
    };
    let end = before[start..].find('/').map_or(before.len(), |at| start + at);
    format!("{}/{}{parameters}", &before[..end], encoded(database))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_encoded_and_decoded() {
        for (text, expected) in [
            ("shop-1._~", "shop-1._~"),
            ("p@s:w/o?r#d %20", "p%40s%3Aw%2Fo%3Fr%23d%20%2520"),
            ("é\\", "%C3%A9%5C"),
        ] {
            assert_eq!(encoded(text), expected);
            assert_eq!(decoded(expected).as_deref(), Some(text));
        }
        for text in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decoded(text), None, "{text}");
        }
        assert_eq!(decoded("%c3%a9").as_deref(), Some("é"));
    }

    #[test]
    fn only_the_database_is_another_one() {
        for (url, expected) in [
            ("postgres://u:p@h:5432/shop", "postgres://u:p@h:5432/a%20b"),
            ("postgres://h", "postgres://h/a%20b"),
            ("postgres://h/", "postgres://h/a%20b"),
            (
                "mysql://u:p@[fd00::7]:1/x?ssl-mode=required",
                "mysql://u:p@[fd00::7]:1/a%20b?ssl-mode=required",
            ),
            ("postgres://h?sslmode=require", "postgres://h/a%20b?sslmode=require"),
        ] {
            assert_eq!(with_database(url, "a b"), expected);
        }
    }
}

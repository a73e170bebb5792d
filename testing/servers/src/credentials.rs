//! Who administers the servers, and how that is written into URLs and configuration files.

/// The administrator of every server that has users.
pub const ADMIN: &str = "admin";
/// Their password: nothing in a Secret is nice by promise.
pub const ADMIN_PASSWORD: &str = "it's \"quoted\" \\ pä$$ %s";

/// A part of a URL, with everything escaped that is not unreserved (RFC 3986, section 2.3).
pub(crate) fn url_part(text: &str) -> String {
    let mut part = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                part.push(char::from(byte));
            }
            _ => part.push_str(&format!("%{byte:02X}")),
        }
    }
    part
}

/// A string of an SQL statement, as MariaDB reads it.
pub(crate) fn sql_string(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// An argument in a Redis configuration file.
pub(crate) fn redis_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_escaped_for_each_reader() {
        let escaped = "it%27s%20%22quoted%22%20%5C%20p%C3%A4%24%24%20%25s";
        assert_eq!(url_part(ADMIN_PASSWORD), escaped);
        assert_eq!(sql_string(ADMIN_PASSWORD), r#"'it''s "quoted" \\ pä$$ %s'"#);
        assert_eq!(redis_string(ADMIN_PASSWORD), r#""it's \"quoted\" \\ pä$$ %s""#);
    }
}

//! The CloudEvents attributes of a delivery (CloudEvents 1.0, HTTP binding, binary mode).
//!
//! `ce-id` is the same for every delivery of one event, in this process and any other, so that
//! handlers can tell a second delivery. It must never depend on the query's text or on time.

use std::{fmt::Write as _, time::SystemTime};

use http::HeaderValue;
use ring::digest;

/// Longest id that is sent as it is.
const MAX_ID: usize = 200;

/// Who delivers, to be told in every delivery.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `<namespace>/<function>/`.
    prefix: String,
    /// `ce-source`.
    pub source: HeaderValue,
    /// `ce-type`.
    pub kind: HeaderValue,
}

impl Identity {
    /// The identity of a trigger of this kind: postgres, mysql, redis or minio. Names are DNS labels.
    pub fn new(namespace: &str, function: &str, kind: &'static str) -> Self {
        let source = format!("/kipper/{namespace}/{function}/{kind}");
        Self {
            prefix: format!("{namespace}/{function}/"),
            source: header(&source).unwrap_or_else(|| hashed("", &source)),
            kind: header(&format!("run.kipper.{kind}"))
                .unwrap_or_else(|| HeaderValue::from_static("run.kipper.event")),
        }
    }

    /// `ce-id` of the event with this key: prefix and key, or prefix and the key's SHA-256 where the
    /// key is long or holds what a header cannot.
    pub fn id(&self, key: &str) -> HeaderValue {
        let whole = format!("{}{key}", self.prefix);
        let plain = whole.len() <= MAX_ID && whole.bytes().all(|byte| byte.is_ascii_graphic());
        let id = if plain { header(&whole) } else { None };
        id.unwrap_or_else(|| hashed(&self.prefix, key))
    }

    /// `ce-time` (RFC 3339) of a delivery at this moment.
    pub fn time(&self, now: SystemTime) -> HeaderValue {
        header(&humantime::format_rfc3339_millis(now).to_string())
            .unwrap_or_else(|| HeaderValue::from_static("1970-01-01T00:00:00Z"))
    }
}

fn header(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

fn hashed(prefix: &str, text: &str) -> HeaderValue {
    let mut id = format!("{prefix}sha256:");
    for byte in digest::digest(&digest::SHA256, text.as_bytes()).as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    header(&id).unwrap_or_else(|| HeaderValue::from_static("sha256:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_readable_where_a_header_can_hold_them() {
        let identity = Identity::new("shop-prod", "orders", "postgres");
        assert_eq!(identity.id("42"), "shop-prod/orders/42");
        assert_eq!(identity.id(r#"["a","b"]"#), r#"shop-prod/orders/["a","b"]"#);
        for odd in ["a b", "a\nb", "ä", &"x".repeat(300)] {
            let id = identity.id(odd);
            let id = id.to_str().unwrap_or_default();
            assert!(id.starts_with("shop-prod/orders/sha256:") && id.len() == 88, "{id}");
        }
        assert_eq!(identity.source, "/kipper/shop-prod/orders/postgres");
        assert_eq!(identity.kind, "run.kipper.postgres");
    }
}

//! Where a Loki is. Pure.

use std::str::FromStr;

use http::{HeaderName, HeaderValue, Uri};

/// Port of Loki, unless it is set otherwise.
const PORT: u16 = 3100;

/// Where a Loki is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// At a URL.
    Url {
        /// Scheme, host and port.
        url: String,
        /// What comes before its API's paths; empty, or begins with a slash and does not end with one.
        prefix: String,
    },
    /// At a Service of the cluster, which the API server leads to.
    Service {
        /// The Service's namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// A port of it.
        port: u16,
    },
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither the URL of a Loki nor a Service: write http://host:3100, or \
     namespace/service:3100"
)]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let address = if text.contains("://") { url(text) } else { service(text) };
        address.ok_or_else(|| AddressError(text.to_owned()))
    }
}

fn url(text: &str) -> Option<Address> {
    let uri: Uri = text.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    if authority.host().is_empty() || uri.query().is_some() {
        return None;
    }
    let prefix = uri.path().trim_end_matches('/').to_owned();
    Some(Address::Url { url: format!("{scheme}://{authority}"), prefix })
}

fn service(text: &str) -> Option<Address> {
    let (namespace, rest) = text.split_once('/')?;
    let (name, port) = match rest.split_once(':') {
        Some((name, port)) => (name, port.parse().ok().filter(|port| *port != 0)?),
        None => (rest, PORT),
    };
    let is_label = |text: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !text.is_empty() && text.bytes().all(allowed)
    };
    (is_label(namespace) && is_label(name)).then(|| Address::Service {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        port,
    })
}

/// Whose lines are meant, where a Loki keeps those of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant(HeaderValue);

impl Tenant {
    pub(super) const HEADER: HeaderName = HeaderName::from_static("x-scope-orgid");

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Why a text names no tenant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid tenant name {0:?}")]
pub struct TenantError(String);

impl FromStr for Tenant {
    type Err = TenantError;

    fn from_str(text: &str) -> Result<Self, TenantError> {
        let header = HeaderValue::from_str(text).ok().filter(|_| !text.is_empty());
        header.map(Self).ok_or_else(|| TenantError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(text: &str, url: &str, prefix: &str) {
        let expected = Address::Url { url: url.to_owned(), prefix: prefix.to_owned() };
        assert_eq!(text.parse(), Ok(expected));
    }

    #[test]
    fn a_loki_is_at_a_url_or_a_service() {
        check("http://loki:3100", "http://loki:3100", "");
        check("https://logs.example.com/", "https://logs.example.com", "");
        check("https://example.com/logs/", "https://example.com", "/logs");
        let service = |name: &str, port| Address::Service {
            namespace: "monitoring".to_owned(),
            name: name.to_owned(),
            port,
        };
        assert_eq!("monitoring/loki".parse(), Ok(service("loki", 3100)));
        assert_eq!("monitoring/gateway:80".parse(), Ok(service("gateway", 80)));
    }

    #[test]
    fn anything_else_is_told() {
        for bad in
            ["", "loki", "loki:3100", "a/b/c", "a/b:0", "a/b:x", "A/b", "ftp://x", "http://", "/a"]
        {
            let error = bad.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains("neither the URL of a Loki nor a Service"));
        }
        "http://me:secret@loki".parse::<Address>().unwrap_err();
        "http://loki/?x".parse::<Address>().unwrap_err();
        "".parse::<Tenant>().unwrap_err();
        "a\nb".parse::<Tenant>().unwrap_err();
    }
}

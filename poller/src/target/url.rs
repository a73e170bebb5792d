//! The address events are posted to, checked once when the configuration is read.

use std::{fmt, str::FromStr};

use http::{HeaderValue, Uri, uri::PathAndQuery};

/// A `http://host:port/path` that nothing has to be worked out for at a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl {
    /// A name or an address, an IPv6 one without its brackets.
    host: Box<str>,
    port: u16,
    host_header: HeaderValue,
    /// The path and query alone, as a request line has them.
    path: Uri,
}

/// Why an address cannot be one of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetUrlError {
    /// Not an absolute URL at all.
    #[error("not a URL; expected http://host:port/path")]
    Invalid,
    /// TLS, or something that is not HTTP.
    #[error("only http:// is supported, because the function is in the same pod")]
    Scheme,
    /// No host, or port 0.
    #[error("the URL needs a host, and a port other than 0")]
    Authority,
    /// `user:password@`.
    #[error("the URL must not contain a user or password")]
    UserInfo,
    /// `#…` is never sent.
    #[error("the URL must not contain a fragment (#)")]
    Fragment,
}

impl TargetUrl {
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    pub(super) fn path(&self) -> &Uri {
        &self.path
    }
}

impl Default for TargetUrl {
    /// `http://127.0.0.1:8080/event`
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8080,
            host_header: HeaderValue::from_static("127.0.0.1:8080"),
            path: Uri::from_static("/event"),
        }
    }
}

impl FromStr for TargetUrl {
    type Err = TargetUrlError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let uri = Uri::from_str(url).map_err(|_| TargetUrlError::Invalid)?;
        if url.contains('#') {
            return Err(TargetUrlError::Fragment);
        }
        match uri.scheme_str() {
            Some("http") => {}
            Some(_) => return Err(TargetUrlError::Scheme),
            None => return Err(TargetUrlError::Invalid),
        }
        let authority = uri.authority().ok_or(TargetUrlError::Authority)?;
        if authority.as_str().contains('@') {
            return Err(TargetUrlError::UserInfo);
        }
        // A port that is none (`:`, `:99999`) reads as no port.
        let port_text = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let port = match port_text.strip_prefix(':') {
            None => 80,
            Some(port) => port.parse().map_err(|_| TargetUrlError::Authority)?,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || port == 0 {
            return Err(TargetUrlError::Authority);
        }
        let path = uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self {
            host: host.into(),
            port,
            host_header: HeaderValue::from_str(authority.as_str())
                .map_err(|_| TargetUrlError::Invalid)?,
            path: Uri::from(path),
        })
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The header was made from text.
        let authority = self.host_header.to_str().unwrap_or_default();
        write!(f, "http://{authority}{}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_are_one() {
        let check = |url: &str, host: &str, port: u16, header: &str, path: &str| {
            let target: TargetUrl = url.parse().unwrap();
            let found = (target.host(), target.port(), target.host_header().as_bytes());
            assert_eq!(found, (host, port, header.as_bytes()), "{url}");
            assert_eq!(target.path(), path, "{url}");
        };
        check("http://127.0.0.1:8080/event", "127.0.0.1", 8080, "127.0.0.1:8080", "/event");
        check("http://localhost/event", "localhost", 80, "localhost", "/event");
        check("HTTP://[::1]:9/a/b?c=d%20e", "::1", 9, "[::1]:9", "/a/b?c=d%20e");
        check("http://app:8080", "app", 8080, "app:8080", "/");
        check("http://app:8080?x=1", "app", 8080, "app:8080", "/?x=1");
    }

    #[test]
    fn urls_that_are_none() {
        let check = |url: &str, expected: TargetUrlError| {
            assert_eq!(url.parse::<TargetUrl>(), Err(expected), "{url}");
        };
        check("", TargetUrlError::Invalid);
        check("/event", TargetUrlError::Invalid);
        check("127.0.0.1:8080", TargetUrlError::Invalid);
        check("127.0.0.1:8080/event", TargetUrlError::Invalid);
        check("http://a b/event", TargetUrlError::Invalid);
        check("https://127.0.0.1:8080/event", TargetUrlError::Scheme);
        check("unix:///run/app.sock", TargetUrlError::Invalid);
        check("http://:8080/event", TargetUrlError::Authority);
        check("http://app:0/event", TargetUrlError::Authority);
        check("http://app:99999/event", TargetUrlError::Authority);
        check("http://app:/event", TargetUrlError::Authority);
        check("http://user:secret@app/event", TargetUrlError::UserInfo);
        check("http://app/event#here", TargetUrlError::Fragment);
    }

    #[test]
    fn the_default_is_what_its_text_says() {
        let text = "http://127.0.0.1:8080/event";
        assert_eq!(TargetUrl::default(), text.parse().unwrap());
        assert_eq!(TargetUrl::default().to_string(), text);
    }
}

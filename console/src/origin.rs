//! Whether a request comes from the console's own page. Pure.
//!
//! Functions are siblings of the console, on this machine as on a cluster: a page of theirs may send
//! requests here and a name of theirs may resolve to this machine (DNS rebinding). So the `Host` must be
//! one of the console's own, and a write must say that the page made it: a header that no form and no
//! simple request can carry, from the same origin as far as the browser tells (Fetch Metadata, RFC 6454).

use std::{collections::BTreeSet, net::SocketAddr};

use http::{
    HeaderMap, HeaderName, Method,
    header::{HOST, ORIGIN},
};

use crate::{Problem, Reason, backend::Result};

/// What every write carries.
const WRITE: HeaderName = HeaderName::from_static("kipper-console");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names under which the console is reached.
#[derive(Clone, Debug)]
pub(crate) struct Hosts(BTreeSet<String>);

impl Hosts {
    /// Those of a server on this machine.
    pub(crate) fn local(address: SocketAddr) -> Self {
        let port = address.port();
        let names = ["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}"));
        Self(names.into_iter().chain([address.to_string()]).collect())
    }

    /// Refuses what does not come from the page.
    pub(crate) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<()> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(&HOST).unwrap_or_default();
        if headers.get_all(HOST).iter().count() != 1 || !self.0.contains(host) {
            return Err(refused("the console is not served under this host"));
        }
        if matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        let is_own = |origin: &str| {
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            host.is_some_and(|host| self.0.contains(host))
        };
        let has_header = text(&WRITE) == Some("1");
        let is_same_site = text(&FETCH_SITE).is_none_or(|site| site == "same-origin");
        if has_header && is_same_site && text(&ORIGIN).is_none_or(is_own) {
            return Ok(());
        }
        Err(refused("only the console's own page may change anything"))
    }
}

fn refused(error: &str) -> Problem {
    Problem::new(Reason::Origin, error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(method: Method, fields: &[(&'static str, &str)], expected: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let hosts = Hosts::local("127.0.0.1:8090".parse().unwrap());
        assert_eq!(hosts.check(&method, &headers).is_ok(), expected, "{method} {fields:?}");
    }

    #[test]
    fn only_the_page_may_write() {
        let host = ("host", "localhost:8090");
        let ours = ("origin", "http://localhost:8090");
        let header = ("kipper-console", "1");
        let same = ("sec-fetch-site", "same-origin");
        check(Method::GET, &[host], true);
        check(Method::GET, &[("host", "127.0.0.1:8090")], true);
        check(Method::GET, &[("host", "rebound.example:8090")], false);
        check(Method::GET, &[("host", "localhost:8080")], false);
        check(Method::GET, &[], false);
        check(Method::GET, &[host, host], false);
        check(Method::PUT, &[host, header, ours, same], true);
        check(Method::PUT, &[host, header], true);
        check(Method::PUT, &[host, ours, same], false);
        check(Method::PUT, &[host, header, ("origin", "http://localhost:8080"), same], false);
        check(Method::PUT, &[host, header, ("origin", "null"), same], false);
        check(Method::DELETE, &[host, header, ours, ("sec-fetch-site", "same-site")], false);
        check(Method::POST, &[host, header, ours, ("sec-fetch-site", "cross-site")], false);
    }
}

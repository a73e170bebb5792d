//! Whether a request comes from the console's own page. Pure.
//!
//! Functions are siblings of the console, on this machine as on a cluster: a page of theirs may send
//! requests here and a name of theirs may resolve to this machine (DNS rebinding). So the `Host` must be
//! one of the console's own, and a write must say that the page made it: a header that no form and no
//! simple request can carry, from the same origin as far as the browser tells (Fetch Metadata, RFC 6454).
//! What another site's page would read of the API its browser keeps from it, and the work and the
//! connections that it takes are refused here.

use std::{collections::BTreeSet, fmt, net::SocketAddr, str::FromStr};

use http::{
    HeaderMap, HeaderName, Method, Uri,
    header::{HOST, ORIGIN},
};

use crate::{Problem, Reason, backend::Result};

/// What every write carries.
const WRITE: HeaderName = HeaderName::from_static("kipper-console");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// What pages of other sites do not read either; to all other paths they may lead a browser.
const API: &str = "/api/";
/// Where a login at the identity provider begins.
pub(crate) const LOGIN: &str = "/login/oidc";

/// A scheme and a host under which browsers reach the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

/// Why a URL is none.
#[derive(Debug, thiserror::Error)]
#[error("must be https:// and a host, without a path; http:// is possible for localhost only")]
pub struct PublicUrlError;

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let uri: Uri = text.parse().map_err(|_| PublicUrlError)?;
        let host = uri.authority().ok_or(PublicUrlError)?.as_str().to_ascii_lowercase();
        let is_bare = uri.path() == "/" && uri.query().is_none() && !host.contains('@');
        // Browsers take the session's cookie from these only.
        let (default_port, is_safe) = match uri.scheme_str() {
            Some("https") => (":443", true),
            Some("http") => (":80", matches!(uri.host(), Some("localhost" | "127.0.0.1"))),
            _ => return Err(PublicUrlError),
        };
        if !is_bare || !is_safe {
            return Err(PublicUrlError);
        }
        let host = host.strip_suffix(default_port).unwrap_or(&host);
        Ok(Self(format!("{}://{host}", uri.scheme_str().unwrap_or_default())))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names under which the console is reached.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    names: BTreeSet<String>,
    origins: BTreeSet<String>,
    /// Must a write say where it is from? Programs on this machine need not.
    is_strict: bool,
}

impl Hosts {
    /// Those of a server on this machine.
    pub(crate) fn local(address: SocketAddr) -> Self {
        let port = address.port();
        let names = ["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}"));
        let names: BTreeSet<_> = names.into_iter().chain([address.to_string()]).collect();
        let origins = names.iter().map(|name| format!("http://{name}")).collect();
        Self { names, origins, is_strict: false }
    }

    /// That of a server behind an ingress.
    pub(crate) fn public(url: &PublicUrl) -> Self {
        let host = url.0.split_once("://").map_or("", |(_, host)| host);
        let origins = BTreeSet::from([url.0.clone()]);
        Self { names: BTreeSet::from([host.to_owned()]), origins, is_strict: true }
    }

    /// Refuses what does not come from the page.
    pub(crate) fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<()> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(&HOST).unwrap_or_default();
        if headers.get_all(HOST).iter().count() != 1 || !self.names.contains(host) {
            return Err(refused("the console is not served under this host"));
        }
        if matches!(*method, Method::GET | Method::HEAD) {
            // "none" is the user, by the address bar; programs and old browsers do not say.
            let mut sites = headers.get_all(&FETCH_SITE).iter();
            if path.starts_with(API) && !sites.all(|site| site == "same-origin" || site == "none") {
                return Err(refused("only the console's own page may read the API"));
            }
            // It sets a cookie, which an image of another site would set as well.
            let mut kinds = headers.get_all(&FETCH_DEST).iter();
            if path == LOGIN && !kinds.all(|kind| kind == "document") {
                return Err(refused("a login begins with a page"));
            }
            return Ok(());
        }
        let is_or_absent = |name: &HeaderName, is: &dyn Fn(&str) -> bool| match text(name) {
            Some(found) => is(found),
            None => !self.is_strict && !headers.contains_key(name),
        };
        let has_header = text(&WRITE) == Some("1");
        let is_same_site = is_or_absent(&FETCH_SITE, &|site| site == "same-origin");
        if has_header && is_same_site && is_or_absent(&ORIGIN, &|from| self.origins.contains(from))
        {
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
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(method: Method, fields: &[(&'static str, &str)], expected: bool) {
        let hosts = Hosts::local("127.0.0.1:8090".parse().unwrap());
        check_at(&hosts, method, fields, expected);
    }

    #[track_caller]
    fn check_public(method: Method, fields: &[(&'static str, &str)], expected: bool) {
        check_at(&Hosts::public(&"https://c.example".parse().unwrap()), method, fields, expected);
    }

    #[track_caller]
    fn check_at(hosts: &Hosts, method: Method, fields: &[(&'static str, &str)], expected: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let found = hosts.check(&method, "/api/v1/me", &headers);
        assert_eq!(found.is_ok(), expected, "{method} {fields:?}");
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

    #[test]
    fn behind_an_ingress_a_write_must_say_where_it_is_from() {
        let host = ("host", "c.example");
        let ours = ("origin", "https://c.example");
        let header = ("kipper-console", "1");
        let same = ("sec-fetch-site", "same-origin");
        check_public(Method::GET, &[host], true);
        check_public(Method::GET, &[("host", "fn-a.example")], false);
        check_public(Method::POST, &[host, header, ours, same], true);
        check_public(Method::POST, &[host, header, same], false);
        check_public(Method::POST, &[host, header, ours], false);
        check_public(Method::POST, &[host, ours, same], false);
        check_public(Method::POST, &[host, header, ("origin", "http://c.example"), same], false);
        check_public(Method::POST, &[host, header, ("origin", "https://a.example"), same], false);
        check_public(Method::POST, &[host, header, ours, ("sec-fetch-site", "same-site")], false);
    }

    #[test]
    fn pages_of_other_sites_read_nothing_of_the_api_and_may_lead_to_the_page() {
        let hosts = Hosts::public(&"https://c.example".parse().unwrap());
        let check = |path: &str, sites: &[&'static str], expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert("host", "c.example".parse().unwrap());
            for &site in sites {
                headers.append("sec-fetch-site", HeaderValue::from_static(site));
            }
            for method in [Method::GET, Method::HEAD] {
                let found = hosts.check(&method, path, &headers).is_ok();
                assert_eq!(found, expected, "{method} {path} {sites:?}");
            }
        };
        for path in ["/api/v1/me", "/api/v1/stream"] {
            check(path, &[], true);
            check(path, &["same-origin"], true);
            check(path, &["none"], true);
            check(path, &["same-site"], false);
            check(path, &["cross-site"], false);
            check(path, &["same-origin", "same-site"], false);
            check(path, &[""], false);
        }
        for path in ["/", "/ns/shop/functions", LOGIN, "/login/callback"] {
            check(path, &["same-site"], true);
            check(path, &["cross-site"], true);
        }
    }

    #[test]
    fn a_login_begins_with_a_page_and_not_with_an_image() {
        let hosts = Hosts::public(&"https://c.example".parse().unwrap());
        for (kind, expected) in [
            (None, true),
            (Some("document"), true),
            (Some("image"), false),
            (Some("iframe"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("host", "c.example".parse().unwrap());
            if let Some(kind) = kind {
                headers.insert("sec-fetch-dest", HeaderValue::from_static(kind));
            }
            assert_eq!(hosts.check(&Method::GET, LOGIN, &headers).is_ok(), expected, "{kind:?}");
            assert!(hosts.check(&Method::GET, "/", &headers).is_ok());
        }
    }

    #[test]
    fn a_public_url_is_a_scheme_and_a_host() {
        for (given, expected) in [
            ("https://C.example", Some("https://c.example")),
            ("https://c.example:443/", Some("https://c.example")),
            ("https://c.example:8443", Some("https://c.example:8443")),
            ("http://localhost:8090", Some("http://localhost:8090")),
            ("http://c.example", None),
            ("https://c.example/console", None),
            ("https://c.example?a", None),
            ("https://a@c.example", None),
            ("c.example", None),
            ("ftp://c.example", None),
            ("", None),
        ] {
            let parsed = given.parse::<PublicUrl>().ok().map(|url| url.0);
            assert_eq!(parsed.as_deref(), expected, "{given}");
        }
    }
}

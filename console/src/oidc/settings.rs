//! What an identity provider is configured with, read once. Pure.

use std::{fmt, str::FromStr};

use http::Uri;

/// Who issues ID tokens, by its URL; the API server has to have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer(String);

/// Why a URL is none.
#[derive(Debug, thiserror::Error)]
#[error("must be an https:// URL without user, query and fragment, as the provider writes it")]
pub struct IssuerError;

impl FromStr for Issuer {
    type Err = IssuerError;

    fn from_str(text: &str) -> Result<Self, IssuerError> {
        let uri: Uri = text.parse().map_err(|_| IssuerError)?;
        let is_bare = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.query().is_none()
            && !text.contains('#');
        let is_https = uri.scheme_str() == Some("https");
        // Compared with claims to the letter, so that nothing of it is changed.
        if is_bare && is_https { Ok(Self(text.to_owned())) } else { Err(IssuerError) }
    }
}

impl Issuer {
    /// As it was given.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What users know it by.
    pub(super) fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }

    /// Where it says what it can do (OpenID Connect Discovery, 4.1).
    pub(super) fn discovery(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.0.trim_end_matches('/'))
    }
}

/// What is asked of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Vec<String>);

/// Why a list is none.
#[derive(Debug, thiserror::Error)]
#[error("must be scopes with spaces between them, and openid one of them")]
pub struct ScopesError;

impl FromStr for Scopes {
    type Err = ScopesError;

    fn from_str(text: &str) -> Result<Self, ScopesError> {
        let scopes: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        // RFC 6749, 3.3.
        let is_scope = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        let are_scopes = scopes.iter().all(|scope| scope.bytes().all(is_scope));
        let has_openid = scopes.iter().any(|scope| scope == "openid");
        if are_scopes && has_openid { Ok(Self(scopes)) } else { Err(ScopesError) }
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl Scopes {
    /// One by one.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_issuer_is_an_https_url_and_stays_as_it_is() {
        for (given, host) in [
            ("https://login.example.com", "login.example.com"),
            ("https://Login.example.com:8443/realms/a/", "Login.example.com:8443"),
            ("https://[::1]:8443", "[::1]:8443"),
        ] {
            let issuer: Issuer = given.parse().unwrap();
            assert_eq!((issuer.as_str(), issuer.host()), (given, host));
        }
        for given in [
            "",
            "login.example.com",
            "http://login.example.com",
            "https://",
            "https://ada@login.example.com",
            "https://login.example.com?a",
            "https://login.example.com#a",
        ] {
            assert!(given.parse::<Issuer>().is_err(), "{given}");
        }
    }

    #[test]
    fn discovery_is_below_the_issuers_path() {
        let end = "/.well-known/openid-configuration";
        for issuer in ["https://a.example/realms/b", "https://a.example/realms/b/"] {
            let issuer: Issuer = issuer.parse().unwrap();
            assert_eq!(issuer.discovery(), format!("https://a.example/realms/b{end}"));
        }
    }

    #[test]
    fn scopes_have_openid_among_them() {
        let scopes: Scopes = " openid  email".parse().unwrap();
        assert_eq!(scopes.to_string(), "openid email");
        for given in ["", "email", "openid \"", "openid é", "openid,email"] {
            assert!(given.parse::<Scopes>().is_err(), "{given}");
        }
    }
}

//! What the URLs of SQL sources have in common: parameters, what they say of TLS, and what is answered
//! to those of other clients. Pure.

use super::SourceError;

/// What a URL says of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// Required, and always verified in full.
    Verified,
    /// Not wanted.
    No,
    /// Nothing.
    Unsaid,
}

/// Each parameter as it stands, its name and its value.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    query.split('&').filter(|parameter| !parameter.is_empty()).map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (parameter, name, value)
    })
}

/// What to write in the place of a file with authorities.
pub(super) fn authority_file(name: &str) -> String {
    format!(
        "{name} is a file of this process: give the authority with --source-ca \
         (KIPPER_SOURCE_CA), or as ca.crt in the Secret of the Service"
    )
}

/// What to write in the place of a client certificate.
pub(super) fn client_certificate(name: &str) -> String {
    format!("{name}: client certificates are not supported; use a password")
}

/// What to write in the place of a parameter that nobody knows.
pub(super) fn unknown(name: &str) -> String {
    format!("unknown parameter {name:?}: leave it out")
}

/// The URL cannot be used.
pub(super) fn refused(words: &str) -> SourceError {
    SourceError::Invalid(format!("source URL: {words}"))
}

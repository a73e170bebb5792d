//! The host a function answers on, and the form in which hosts are compared.
//!
//! One rule for the controller that reserves a host, the interceptor that routes it and the CLI
//! that prints it. Hosts are compared lower-case, without port and without a trailing dot.

use std::borrow::Cow;

/// Longest host name, in bytes (RFC 1035, without the trailing dot).
pub const MAX_HOST_LEN: usize = 253;
/// Longest label of a host name, in bytes.
pub const MAX_LABEL_LEN: usize = 63;
/// Parents below which every cluster has one label of its own.
pub const DEFAULT_SHARED_PARENTS: &[&str] = &["kipper.run"];

/// Why there is no usable host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The host is empty.
    #[error("host is empty")]
    Empty,
    /// The host is longer than [`MAX_HOST_LEN`].
    #[error("host is longer than 253 characters")]
    TooLong,
    /// One label is longer than [`MAX_LABEL_LEN`].
    #[error("host label {0:?} is longer than 63 characters")]
    LabelTooLong(String),
    /// The cluster domain is no domain name.
    #[error("cluster domain {0:?} is not a domain name")]
    BadDomain(String),
    /// The function's name cannot be part of a host.
    #[error("function name {0:?} cannot be part of a host")]
    BadName(String),
    /// A character no host may have, or a port that is no number.
    #[error("host is malformed")]
    Malformed,
}

/// Host of the function `name` in a cluster whose domain is `cluster_domain`.
///
/// `fn-<name>-<cluster-domain>` where the cluster domain is exactly one label below one of
/// `shared_parents`: the wildcard certificate and DNS record of such a parent cover one label, and
/// nobody else can own it. `fn-<name>.<domain>` for a domain of one's own, where the joined form
/// would be a neighbour's domain. An empty parent stands for the root, so a domain of one label
/// (`localhost`) is joined under it.
pub fn host(
    name: &str,
    cluster_domain: &str,
    shared_parents: &[impl AsRef<str>],
) -> Result<String, HostError> {
    let domain = normalize_domain(cluster_domain)?;
    if name.is_empty() || name.len() > MAX_LABEL_LEN || !is_label(name) {
        return Err(HostError::BadName(name.to_owned()));
    }
    let shared = shared_parents.iter().any(|parent| is_one_label_below(&domain, parent.as_ref()));
    let separator = if shared { '-' } else { '.' };
    let host = format!("fn-{name}{separator}{domain}");
    if let Some(label) = host.split('.').find(|label| label.len() > MAX_LABEL_LEN) {
        return Err(HostError::LabelTooLong(label.to_owned()));
    }
    if host.len() > MAX_HOST_LEN {
        return Err(HostError::TooLong);
    }
    Ok(host)
}

fn is_one_label_below(domain: &str, parent: &str) -> bool {
    let parent = parent.trim_start_matches('.').trim_end_matches('.');
    let (label, rest) = domain.split_once('.').unwrap_or((domain, ""));
    !label.is_empty() && rest.eq_ignore_ascii_case(parent)
}

fn normalize_domain(domain: &str) -> Result<String, HostError> {
    let bad = || HostError::BadDomain(domain.to_owned());
    let normal = domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase();
    if normal.len() > MAX_HOST_LEN || !normal.split('.').all(is_label) {
        return Err(bad());
    }
    Ok(normal)
}

/// A host label of lower-case letters, digits and inner hyphens. Its length is not checked.
fn is_label(label: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(allowed)
}

/// The form of a request's host (`Host`, `:authority` or SNI) in which it is looked up:
/// lower-case, without port and without one trailing dot. Borrows when nothing has to change
/// case. An IPv6 literal keeps its brackets.
///
/// What no host may contain is refused rather than cleaned, so that two parsers can never read
/// two different hosts from one request.
pub fn normalize(raw: &str) -> Result<Cow<'_, str>, HostError> {
    let host = if raw.starts_with('[') { ip_literal(raw)? } else { reg_name(raw)? };
    if host.len() > MAX_HOST_LEN {
        return Err(HostError::TooLong);
    }
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(Cow::Owned(host.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(host))
}

fn ip_literal(raw: &str) -> Result<&str, HostError> {
    let end = raw.find(']').ok_or(HostError::Malformed)?;
    let (literal, rest) = raw.split_at(end + 1);
    let inner = &literal[1..end];
    if inner.parse::<std::net::Ipv6Addr>().is_err() || !is_port_suffix(rest) {
        return Err(HostError::Malformed);
    }
    Ok(literal)
}

fn reg_name(raw: &str) -> Result<&str, HostError> {
    let end = raw.find(':').unwrap_or(raw.len());
    let (name, port) = raw.split_at(end);
    if !is_port_suffix(port) {
        return Err(HostError::Malformed);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    // An empty label (`a..b`, `.a`) is in no certificate and no route.
    if !name.bytes().all(allowed)
        || name.starts_with('.')
        || name.contains("..")
        || name.ends_with('.')
    {
        return Err(HostError::Malformed);
    }
    Ok(name)
}

/// Nothing, or `:` and a port number; the empty port of RFC 3986 included.
fn is_port_suffix(text: &str) -> bool {
    match text.strip_prefix(':') {
        None => text.is_empty(),
        Some("") => true,
        Some(port) => port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    }
}

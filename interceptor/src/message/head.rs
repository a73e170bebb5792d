//! Request and response heads, parsed strictly. Pure.
//!
//! The grammar is httparse's; on top of it stands a guard for everything two parsers could read
//! differently (RFC 9112 sections 2.2, 3.2, 5, 6 and 11): bare LF, obsolete folding, more than one
//! length, a length beside a transfer coding, a transfer coding from HTTP/1.0, names that become
//! framing names when `_` and `-` are not told apart, and targets that contradict `Host`.

use std::borrow::Cow;

use super::{
    body::{Decoder, Framing},
    field::{Class, Field, Fields},
    section::{HeadError, MAX_FIELDS, collect, complete, refuse},
};
use HeadError::Malformed;

/// HTTP version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

/// A request head, borrowed.
#[derive(Debug)]
pub struct RequestHead<'a> {
    pub method: &'a str,
    /// Path and query, or `*`.
    pub target: Cow<'a, str>,
    /// Authority, as sent; empty where HTTP/1.0 sent none.
    pub host: &'a str,
    pub version: Version,
    pub fields: Fields<'a>,
    pub body: Decoder,
    /// The client allows another request after this one.
    pub keep_alive: bool,
    pub expect_continue: bool,
    /// `Connection: upgrade` with an `Upgrade` field: its value.
    pub upgrade: Option<&'a [u8]>,
}

/// A response head, borrowed.
#[derive(Debug)]
pub struct ResponseHead<'a> {
    pub status: u16,
    pub reason: &'a str,
    pub version: Version,
    pub fields: Fields<'a>,
    pub body: Decoder,
    /// The pod allows another request after this one.
    pub keep_alive: bool,
    /// `timeout` parameter of the pod's `Keep-Alive` field, in seconds.
    pub keep_alive_timeout: Option<u64>,
}

impl RequestHead<'_> {
    /// How the body is sent on: as it came.
    pub fn framing(&self) -> Framing {
        match &self.body {
            Decoder::Length(n) => Framing::Length(*n),
            Decoder::Chunked(_) => Framing::Chunked,
            Decoder::Done | Decoder::Close => Framing::None,
        }
    }
}

impl ResponseHead<'_> {
    /// What is still needed once the fields are not: body, reuse, keep-alive timeout.
    pub fn into_framing(self) -> (Decoder, bool, Option<u64>) {
        (self.body, self.keep_alive, self.keep_alive_timeout)
    }
}

/// Parses the request head at the start of `bytes`. `None` = more bytes are needed; the number is
/// the head's length. A head longer than `limit` is refused as soon as that is known.
pub fn parse_request(
    bytes: &[u8],
    limit: usize,
) -> Result<Option<(RequestHead<'_>, usize)>, HeadError> {
    // RFC 9112 section 2.2: an empty line before the request line is ignored; one, not many.
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let bytes = &bytes[skipped..];
    let Some(length) = complete(bytes, limit)? else { return Ok(None) };
    if length == 2 {
        return Err(Malformed("empty lines before the request line"));
    }
    let mut raw = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut raw);
    match parsed.parse(&bytes[..length]).map_err(refuse)? {
        httparse::Status::Complete(n) if n == length => {}
        _ => return Err(Malformed("invalid request head")),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Malformed("invalid request line"));
    };
    let mut fields = Fields::new();
    collect(parsed.headers, &mut fields)?;
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let body = request_framing(&fields, version)?;
    let host = single_host(&fields)?;
    if host.is_none() && version == Version::Http11 {
        return Err(Malformed("no Host field"));
    }
    let (target, host) = request_target(method, target, host)?;
    let (close, keep, upgrade_option) = connection_options(&fields);
    let upgrade = fields.iter().find(|f| f.class == Class::Upgrade).map(|f| f.value);
    let head = RequestHead {
        method,
        target: target.into(),
        host,
        version,
        body,
        keep_alive: !close && (version == Version::Http11 || keep),
        expect_continue: version == Version::Http11
            && fields
                .iter()
                .any(|f| f.class == Class::Expect && f.value.eq_ignore_ascii_case(b"100-continue")),
        upgrade: upgrade.filter(|_| upgrade_option && version == Version::Http11),
        fields,
    };
    Ok(Some((head, length + skipped)))
}

/// RFC 9112 section 6.3 for requests, refusing what it lets a server repair.
fn request_framing(fields: &Fields<'_>, version: Version) -> Result<Decoder, HeadError> {
    match (transfer_encoding(fields)?, content_length(fields)?) {
        (Some(()), _) if version == Version::Http10 => {
            Err(Malformed("HTTP/1.0 with Transfer-Encoding"))
        }
        (Some(()), Some(_)) => Err(Malformed("both Content-Length and Transfer-Encoding")),
        (Some(()), None) => Ok(Decoder::chunked()),
        (None, Some(n)) => Ok(Decoder::length(n)),
        (None, None) => Ok(Decoder::Done),
    }
}

fn transfer_encoding(fields: &Fields<'_>) -> Result<Option<()>, HeadError> {
    let mut codings = fields.iter().filter(|f| f.class == Class::TransferEncoding);
    match (codings.next(), codings.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Malformed("more than one Transfer-Encoding")),
        (Some(f), None) if f.value.eq_ignore_ascii_case(b"chunked") => Ok(Some(())),
        (Some(f), None) if f.value.is_ascii() && f.elements().count() > 0 && plain_codings(f) => {
            Err(HeadError::TransferCoding)
        }
        _ => Err(Malformed("invalid Transfer-Encoding")),
    }
}

/// A well-formed list of codings without `chunked` in an odd place is unknown, not malformed.
fn plain_codings(field: &Field<'_>) -> bool {
    field.elements().all(|e| {
        e.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && (!e.eq_ignore_ascii_case(b"chunked") || field.value.ends_with(e))
    }) && field.elements().filter(|e| e.eq_ignore_ascii_case(b"chunked")).count() <= 1
}

fn content_length(fields: &Fields<'_>) -> Result<Option<u64>, HeadError> {
    let mut lengths = fields.iter().filter(|f| f.class == Class::ContentLength);
    let Some(first) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() {
        return Err(Malformed("more than one Content-Length"));
    }
    let digits = first.value;
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed("invalid Content-Length"));
    }
    Ok(Some(digits.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0'))))
}

fn single_host<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, HeadError> {
    let mut hosts = fields.iter().filter(|f| f.class == Class::Host);
    let Some(host) = hosts.next() else { return Ok(None) };
    if hosts.next().is_some() {
        return Err(Malformed("more than one Host"));
    }
    let host = std::str::from_utf8(host.value).ok().filter(|h| valid_authority(h));
    host.map(Some).ok_or(Malformed("invalid Host"))
}

/// Host, optional port; user information and anything a URL would need escaped is refused.
fn valid_authority(authority: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:[]%".contains(&b);
    authority.bytes().all(allowed)
}

/// RFC 9112 section 3.2: the target in origin form and the authority it is for.
fn request_target<'a>(
    method: &str,
    target: &'a str,
    host: Option<&'a str>,
) -> Result<(&'a str, &'a str), HeadError> {
    if method == "CONNECT" {
        return Err(HeadError::Method);
    }
    if !target.bytes().all(|b| (0x21..0x7f).contains(&b)) || target.contains('#') {
        return Err(Malformed("invalid request target"));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((target, host.unwrap_or_default()));
    }
    let scheme = |s: &str| target.get(..s.len()).is_some_and(|t| t.eq_ignore_ascii_case(s));
    let rest = match () {
        () if scheme("http://") => &target[7..],
        () if scheme("https://") => &target[8..],
        () => return Err(Malformed("invalid request target")),
    };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) if rest.as_bytes()[at] == b'/' => rest.split_at(at),
        Some(_) => return Err(Malformed("invalid request target")),
        None => (rest, "/"),
    };
    let agrees = host.is_none_or(|h| h.eq_ignore_ascii_case(authority));
    if authority.is_empty() || !valid_authority(authority) || !agrees {
        return Err(Malformed("the request target contradicts Host"));
    }
    Ok((path, authority))
}

/// `close`, `keep-alive`, `upgrade` among the connection options.
fn connection_options(fields: &Fields<'_>) -> (bool, bool, bool) {
    let mut options = (false, false, false);
    for f in fields.iter().filter(|f| f.class == Class::Connection) {
        for option in f.elements() {
            options.0 |= option.eq_ignore_ascii_case(b"close");
            options.1 |= option.eq_ignore_ascii_case(b"keep-alive");
            options.2 |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }
    options
}

/// Parses the response head at the start of `bytes`; `to_head` = it answers a HEAD request.
pub fn parse_response(
    bytes: &[u8],
    limit: usize,
    to_head: bool,
) -> Result<Option<(ResponseHead<'_>, usize)>, HeadError> {
    let Some(length) = complete(bytes, limit)? else { return early_garbage(bytes) };
    let mut raw = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut raw);
    match parsed.parse(&bytes[..length]).map_err(refuse)? {
        httparse::Status::Complete(n) if n == length => {}
        _ => return Err(Malformed("invalid response head")),
    }
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(Malformed("invalid status line"));
    };
    if !(100..=599).contains(&status) {
        return Err(Malformed("status code out of range"));
    }
    let mut fields = Fields::new();
    collect(parsed.headers, &mut fields)?;
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let body = response_framing(&fields, version, status, to_head)?;
    let (close, keep, _) = connection_options(&fields);
    let head = ResponseHead {
        status,
        reason: parsed.reason.unwrap_or_default(),
        version,
        keep_alive: body != Decoder::Close && !close && (version == Version::Http11 || keep),
        keep_alive_timeout: keep_alive_timeout(&fields),
        body,
        fields,
    };
    Ok(Some((head, length)))
}

/// Bytes that can never become a status line are refused before their first line ends.
fn early_garbage<T>(bytes: &[u8]) -> Result<Option<T>, HeadError> {
    let n = bytes.len().min(7);
    if bytes[..n] == b"HTTP/1."[..n] { Ok(None) } else { Err(Malformed("not HTTP/1")) }
}

/// RFC 9112 section 6.3 for responses.
fn response_framing(
    fields: &Fields<'_>,
    version: Version,
    status: u16,
    to_head: bool,
) -> Result<Decoder, HeadError> {
    let (coding, length) = (transfer_encoding(fields)?, content_length(fields)?);
    if coding.is_some() && length.is_some() {
        return Err(Malformed("both Content-Length and Transfer-Encoding"));
    }
    if to_head || status < 200 || status == 204 || status == 304 {
        return Ok(Decoder::Done);
    }
    match (coding, length) {
        (Some(()), _) if version == Version::Http10 => {
            Err(Malformed("HTTP/1.0 with Transfer-Encoding"))
        }
        (Some(()), _) => Ok(Decoder::chunked()),
        (None, Some(n)) => Ok(Decoder::length(n)),
        (None, None) => Ok(Decoder::Close),
    }
}

/// `Keep-Alive: timeout=5` (RFC 2068 section 19.7.1.1, which servers still send).
fn keep_alive_timeout(fields: &Fields<'_>) -> Option<u64> {
    let field = fields
        .iter()
        .find(|f| f.class == Class::HopByHop && f.name.eq_ignore_ascii_case("keep-alive"))?;
    field.elements().find_map(|e| {
        let value = std::str::from_utf8(e).ok()?.strip_prefix("timeout=")?;
        value.trim().parse().ok()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "head_tests.rs"]
mod tests;

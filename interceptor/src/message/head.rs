//! Request and response heads, parsed strictly. Pure.
//!
//! The grammar of fields is httparse's; on top of it stands a guard for everything two parsers could
//! read differently (RFC 9112 sections 2.2, 3.2, 5, 6 and 11): bare LF, obsolete folding, more than
//! one length, a length beside a transfer coding, a transfer coding from HTTP/1.0, and names that
//! become framing names when `_` and `-` are not told apart. Bytes above ASCII in a target are passed
//! on as they came: clients that send them mean what their server's own parser makes of them.

use std::borrow::Cow;

use super::{
    body::{Decoder, Framing},
    field::{Class, Field, Fields},
    section::{HeadError, HeadLimits, complete, fields as parse_lines, first_line},
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
    /// Path and query, or `*`: no spaces, controls or fragment, and not always UTF-8.
    pub target: Cow<'a, [u8]>,
    /// Authority: of the target, where it has one (RFC 9112 section 3.2.2), else of `Host`. Empty
    /// where HTTP/1.0 sent none.
    pub host: &'a str,
    pub version: Version,
    pub fields: Fields<'a>,
    pub body: Decoder,
    /// The client allows another request after this one.
    pub keep_alive: bool,
    pub expect_continue: bool,
    /// `Connection: upgrade` with an `Upgrade` field: its value, unless it is another HTTP.
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
    /// Its answer has no body (RFC 9110 section 9.3.2).
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

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

/// A target as text: bytes that are no UTF-8 as RFC 3986 writes them.
pub fn escaped(target: &[u8]) -> Cow<'_, str> {
    if let Ok(target) = std::str::from_utf8(target) {
        return target.into();
    }
    let mut escaped = String::with_capacity(target.len() * 2);
    for byte in target {
        match byte {
            0x80.. => escaped.push_str(&format!("%{byte:02X}")),
            _ => escaped.push(char::from(*byte)),
        }
    }
    escaped.into()
}

/// Parses the request head at the start of `bytes`. `None` = more bytes are needed; the number is
/// the head's length. A head beyond the limits is refused as soon as that is known.
pub fn parse_request(
    bytes: &[u8],
    limits: HeadLimits,
) -> Result<Option<(RequestHead<'_>, usize)>, HeadError> {
    // RFC 9112 section 2.2: an empty line before the request line is ignored; one, not many.
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let bytes = &bytes[skipped..];
    // The empty line counts, so that a head never needs more room than its limit.
    let Some(length) = complete(bytes, limits.bytes.saturating_sub(skipped))? else {
        return Ok(None);
    };
    let (line, lines) = first_line(&bytes[..length]);
    if line.is_empty() {
        return Err(Malformed("empty lines before the request line"));
    }
    let (method, target, version) = request_line(line)?;
    let mut fields = Fields::new();
    parse_lines(lines, limits.fields, &mut fields)?;
    let body = request_framing(&fields, version)?;
    let host = single_host(&fields)?;
    if host.is_none() && version == Version::Http11 {
        return Err(Malformed("no Host field"));
    }
    let (target, host) = request_target(method, target, host)?;
    let (close, keep, upgrade_option) = connection_options(&fields);
    let upgrade = fields.iter().find(|f| f.class == Class::Upgrade).filter(|f| !offers_http(f));
    let upgrade = upgrade.map(|f| f.value);
    let head = RequestHead {
        method,
        target,
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

/// RFC 9112 section 3: three words, one space between them.
fn request_line(line: &[u8]) -> Result<(&str, &[u8], Version), HeadError> {
    let bad = Malformed("invalid request line");
    let (Some(first), Some(last)) = (memchr::memchr(b' ', line), memchr::memrchr(b' ', line))
    else {
        return Err(bad);
    };
    let (method, version) = (&line[..first], &line[last + 1..]);
    let Some(target) = line.get(first + 1..last).filter(|t| !t.is_empty()) else {
        return Err(bad);
    };
    let version = version_of(version).ok_or(bad)??;
    let method = std::str::from_utf8(method).ok().filter(|m| is_token(m));
    Ok((method.ok_or(Malformed("invalid method"))?, target, version))
}

/// RFC 9110 section 2.5: a higher minor version is read as the highest that is known. `None` = this
/// is no version.
fn version_of(word: &[u8]) -> Option<Result<Version, HeadError>> {
    match word.strip_prefix(b"HTTP/")? {
        b"1.0" => Some(Ok(Version::Http10)),
        [b'1', b'.', minor] if minor.is_ascii_digit() => Some(Ok(Version::Http11)),
        [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Some(Err(HeadError::Version))
        }
        _ => None,
    }
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(word: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !word.is_empty() && word.bytes().all(allowed)
}

/// An offer of another HTTP may be ignored (RFC 9110 section 7.8). A pod that took it would speak with
/// the client past everything that is checked here.
fn offers_http(upgrade: &Field<'_>) -> bool {
    let name =
        |protocol: &[u8]| protocol.split(|b| *b == b'/').next().map(<[u8]>::to_ascii_lowercase);
    upgrade
        .elements()
        .any(|protocol| matches!(name(protocol).as_deref(), Some(b"h2c" | b"h2" | b"http")))
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

/// The length of the body (RFC 9110 section 8.6), where the head says one.
pub(crate) fn content_length(fields: &Fields<'_>) -> Result<Option<u64>, HeadError> {
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

/// The one `Host` (RFC 9112 section 3.2), where there is one.
pub(crate) fn single_host<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, HeadError> {
    let mut hosts = fields.iter().filter(|f| f.class == Class::Host);
    let Some(host) = hosts.next() else { return Ok(None) };
    if hosts.next().is_some() {
        return Err(Malformed("more than one Host"));
    }
    let host = std::str::from_utf8(host.value).ok().filter(|h| valid_authority(h));
    host.map(Some).ok_or(Malformed("invalid Host"))
}

/// Host, optional port; user information and anything a URL would need escaped is refused.
pub(crate) fn valid_authority(authority: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:[]%".contains(&b);
    authority.bytes().all(allowed)
}

/// Host and port of an authority; the colons of an IPv6 literal stand in its brackets.
pub(crate) fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// A path with an optional query, or the asterisk of OPTIONS: what a pod gets, and what `:path` has to
/// be (RFC 9113 section 8.3.1).
pub(crate) fn is_origin_form(method: &str, target: &[u8]) -> bool {
    let is_path = target.starts_with(b"/") || (target == b"*" && method == "OPTIONS");
    is_path && is_visible(target)
}

/// Bytes above ASCII are passed on; a fragment is never sent (RFC 9110 section 7.1).
fn is_visible(target: &[u8]) -> bool {
    target.iter().all(|b| *b > b' ' && *b != 0x7f && *b != b'#')
}

/// RFC 9112 section 3.2: the target in origin form and the authority it is for. A target that names
/// an authority is for that one, whatever `Host` says (section 3.2.2).
fn request_target<'a>(
    method: &str,
    target: &'a [u8],
    host: Option<&'a str>,
) -> Result<(Cow<'a, [u8]>, &'a str), HeadError> {
    if method == "CONNECT" {
        return Err(HeadError::Method);
    }
    if is_origin_form(method, target) {
        return Ok((target.into(), host.unwrap_or_default()));
    }
    let bad = Malformed("invalid request target");
    if !is_visible(target) {
        return Err(bad);
    }
    let after = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after(b"http://").or_else(|| after(b"https://")).ok_or(bad)?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = std::str::from_utf8(authority).ok().filter(|a| valid_authority(a));
    let authority = authority.filter(|a| !a.is_empty()).ok_or(bad)?;
    // An empty path is that of the root (section 3.2.1).
    let path = if path.starts_with(b"/") { path.into() } else { [&b"/"[..], path].concat().into() };
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
    limits: HeadLimits,
    to_head: bool,
) -> Result<Option<(ResponseHead<'_>, usize)>, HeadError> {
    let Some(length) = complete(bytes, limits.bytes)? else { return early_garbage(bytes) };
    let (line, lines) = first_line(&bytes[..length]);
    let (version, status, reason) = status_line(line)?;
    if !(100..=599).contains(&status) {
        return Err(Malformed("status code out of range"));
    }
    let mut fields = Fields::new();
    parse_lines(lines, limits.fields, &mut fields)?;
    let body = response_framing(&fields, version, status, to_head)?;
    let (close, keep, _) = connection_options(&fields);
    let head = ResponseHead {
        status,
        reason,
        version,
        keep_alive: body != Decoder::Close && !close && (version == Version::Http11 || keep),
        keep_alive_timeout: keep_alive_timeout(&fields),
        body,
        fields,
    };
    Ok(Some((head, length)))
}

/// RFC 9112 section 4. A reason that is not ASCII is left out.
fn status_line(line: &[u8]) -> Result<(Version, u16, &str), HeadError> {
    let bad = Malformed("invalid status line");
    let (version, rest) = line.split_at_checked(8).ok_or(bad)?;
    let version = match version_of(version) {
        Some(Ok(version)) => version,
        _ => return Err(bad),
    };
    let (code, reason) = match rest {
        [b' ', a, b, c] => ([*a, *b, *c], &[][..]),
        [b' ', a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
        _ => return Err(bad),
    };
    let control = |b: &u8| b.is_ascii_control() && *b != b'\t';
    if !code.iter().all(u8::is_ascii_digit) || reason.iter().any(control) {
        return Err(bad);
    }
    let status = code.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
    let reason = std::str::from_utf8(reason).ok().filter(|r| r.is_ascii()).unwrap_or_default();
    Ok((version, status, reason))
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

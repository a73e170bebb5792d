//! Field sections of HTTP/1: where they end, and their lines. Pure.

use super::field::{Field, Fields, identify};
use HeadError::Malformed;

/// Fields that are parsed on the stack; a head may have more where its limits allow it.
const USUAL_FIELDS: usize = 100;
/// Most fields of a trailer section.
const MAX_TRAILER_FIELDS: usize = 100;

/// Bounds of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Its length in bytes.
    pub bytes: usize,
    /// The number of its fields.
    pub fields: usize,
}

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.rule())]
pub enum HeadError {
    /// Not HTTP, or ambiguous; says what.
    Malformed(&'static str),
    /// More bytes than allowed.
    TooLong,
    /// More fields than allowed.
    TooManyFields,
    /// A version of HTTP that is not spoken here (RFC 9110 section 15.6.6).
    Version,
    /// A transfer coding that is not exactly `chunked`.
    TransferCoding,
    /// CONNECT.
    Method,
}

impl HeadError {
    /// The rule that was broken: one of a fixed set.
    pub fn rule(self) -> &'static str {
        match self {
            Malformed(what) => what,
            Self::TooLong => "the head is too long",
            Self::TooManyFields => "too many header fields",
            Self::Version => "unsupported HTTP version",
            Self::TransferCoding => "unknown transfer coding",
            Self::Method => "method not allowed",
        }
    }
}

/// Length of the head at the start of `bytes`, once it is complete. `limit` bounds it.
pub(super) fn complete(bytes: &[u8], limit: usize) -> Result<Option<usize>, HeadError> {
    let window = &bytes[..bytes.len().min(limit)];
    // A single pass finds the end and refuses bare LF on the way.
    for lf in memchr::memchr_iter(b'\n', window) {
        match window[..lf] {
            [.., b'\r', b'\n', b'\r'] | [b'\r'] => return Ok(Some(lf + 1)),
            [.., b'\r'] => {}
            _ => return Err(Malformed("a line does not end with CRLF")),
        }
    }
    if bytes.len() >= limit { Err(HeadError::TooLong) } else { Ok(None) }
}

/// The first line of a whole head, without its end, and what follows it.
pub(super) fn first_line(head: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = head.split_at(memchr::memchr(b'\n', head).map_or(head.len(), |lf| lf + 1));
    (line.strip_suffix(b"\r\n").unwrap_or(line), rest)
}

fn refuse(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::HeaderValue => Malformed("invalid field value"),
        _ => Malformed("invalid field name"),
    }
}

/// Parses the lines of a section, which end with an empty one; at most `most` of them.
pub(super) fn fields<'a>(
    lines: &'a [u8],
    most: usize,
    fields: &mut Fields<'a>,
) -> Result<(), HeadError> {
    let mut usual = [httparse::EMPTY_HEADER; USUAL_FIELDS];
    match httparse::parse_headers(lines, &mut usual[..most.min(USUAL_FIELDS)]) {
        Err(httparse::Error::TooManyHeaders) if most > USUAL_FIELDS => {
            let mut many = vec![httparse::EMPTY_HEADER; most];
            take(lines, httparse::parse_headers(lines, &mut many), fields)
        }
        parsed => take(lines, parsed, fields),
    }
}

fn take<'a>(
    lines: &[u8],
    parsed: httparse::Result<(usize, &[httparse::Header<'a>])>,
    fields: &mut Fields<'a>,
) -> Result<(), HeadError> {
    match parsed.map_err(refuse)? {
        httparse::Status::Complete((n, raw)) if n == lines.len() => collect(raw, fields),
        _ => Err(Malformed("incomplete field section")),
    }
}

fn collect<'a>(raw: &[httparse::Header<'a>], fields: &mut Fields<'a>) -> Result<(), HeadError> {
    for h in raw {
        let class = identify(h.name).map_err(|imitation| Malformed(imitation.rule()))?;
        fields.push(Field { name: h.name, value: h.value, class });
    }
    Ok(())
}

/// Parses a field section that ends with an empty line (trailers).
pub fn parse_fields<'a>(bytes: &'a [u8], fields: &mut Fields<'a>) -> Result<(), HeadError> {
    if complete(bytes, bytes.len() + 1)? != Some(bytes.len()) {
        return Err(Malformed("incomplete field section"));
    }
    self::fields(bytes, MAX_TRAILER_FIELDS, fields)
}

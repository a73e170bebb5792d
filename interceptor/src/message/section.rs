//! Field sections of HTTP/1: where they end, and their lines. Pure.

use super::field::{Field, Fields, identify};
use HeadError::Malformed;

/// Most header fields in one head.
pub const MAX_FIELDS: usize = 100;

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP, or ambiguous; says what.
    #[error("{0}")]
    Malformed(&'static str),
    /// Too many fields or too many bytes.
    #[error("too large")]
    TooLarge,
    /// A transfer coding that is not exactly `chunked`.
    #[error("unknown transfer coding")]
    TransferCoding,
    /// CONNECT.
    #[error("method not allowed")]
    Method,
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
    if bytes.len() >= limit { Err(HeadError::TooLarge) } else { Ok(None) }
}

pub(super) fn refuse(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        httparse::Error::HeaderName => Malformed("invalid field name"),
        httparse::Error::HeaderValue => Malformed("invalid field value"),
        httparse::Error::NewLine => Malformed("invalid line end"),
        httparse::Error::Status => Malformed("invalid status line"),
        httparse::Error::Token => Malformed("invalid token"),
        httparse::Error::Version => Malformed("unsupported HTTP version"),
    }
}

pub(super) fn collect<'a>(
    raw: &[httparse::Header<'a>],
    fields: &mut Fields<'a>,
) -> Result<(), HeadError> {
    for h in raw {
        let class = identify(h.name)
            .map_err(|_| Malformed("a field name imitates one that frames the message"))?;
        fields.push(Field { name: h.name, value: h.value, class });
    }
    Ok(())
}

/// Parses a field section that ends with an empty line (trailers).
pub fn parse_fields<'a>(bytes: &'a [u8], fields: &mut Fields<'a>) -> Result<(), HeadError> {
    if complete(bytes, bytes.len() + 1)? != Some(bytes.len()) {
        return Err(Malformed("incomplete field section"));
    }
    let mut raw = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(bytes, &mut raw).map_err(refuse)? {
        httparse::Status::Complete((_, raw)) => collect(raw, fields),
        httparse::Status::Partial => Err(Malformed("incomplete field section")),
    }
}

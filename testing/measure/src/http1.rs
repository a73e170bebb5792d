//! Just enough HTTP/1.1 for both ends of a measurement: where a message ends.
//!
//! Only `Content-Length` framing is understood, because nothing in a run has a reason to use
//! another; whatever else arrives is an error that the run reports, never a guess. This is the one
//! parser of the load generator, the backend and the client of single requests.

use httparse::{EMPTY_HEADER, Header, Request, Response, Status};

/// More headers than any peer adds.
const MAX_HEADERS: usize = 48;

/// Why the bytes are not a message this harness understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Not the head of an HTTP/1.1 message.
    #[error("malformed head")]
    Malformed,
    /// The end of the body is not stated in advance.
    #[error("neither content-length nor an empty body")]
    UnknownLength,
}

/// The end of a message head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the head, with its empty line.
    pub head_bytes: usize,
    /// Bytes of the body after it.
    pub body_bytes: usize,
    /// The sender closes after this message.
    pub close: bool,
    /// Status of a response; 0 for a request.
    pub status: u16,
}

/// The head of a request; `None` when it is not complete yet.
///
/// # Errors
/// When it is malformed, or its body has no stated length.
pub fn request_head(bytes: &[u8]) -> Result<Option<Head>, FramingError> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    let Status::Complete(head_bytes) = request.parse(bytes).map_err(|_| FramingError::Malformed)?
    else {
        return Ok(None);
    };
    let framing = Framing::of(request.headers)?;
    let body_bytes = framing.length.unwrap_or(0);
    Ok(Some(Head { head_bytes, body_bytes, close: framing.close, status: 0 }))
}

/// The head of a response to a `GET` or `POST`; `None` when it is not complete yet.
///
/// # Errors
/// When it is malformed, or its body has no stated length.
pub fn response_head(bytes: &[u8]) -> Result<Option<Head>, FramingError> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    let Status::Complete(head_bytes) =
        response.parse(bytes).map_err(|_| FramingError::Malformed)?
    else {
        return Ok(None);
    };
    let status = response.code.ok_or(FramingError::Malformed)?;
    let framing = Framing::of(response.headers)?;
    let body_bytes = match (framing.length, status) {
        (_, 100..=199 | 204 | 304) => 0,
        (Some(length), _) => length,
        (None, _) => return Err(FramingError::UnknownLength),
    };
    Ok(Some(Head { head_bytes, body_bytes, close: framing.close, status }))
}

#[derive(Default)]
struct Framing {
    length: Option<usize>,
    close: bool,
}

impl Framing {
    fn of(headers: &[Header<'_>]) -> Result<Self, FramingError> {
        let mut framing = Self::default();
        for header in headers {
            if header.name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(header.value).ok();
                let length = text.and_then(|text| text.trim().parse().ok());
                framing.length = Some(length.ok_or(FramingError::Malformed)?);
            } else if header.name.eq_ignore_ascii_case("connection") {
                framing.close = header.value.eq_ignore_ascii_case(b"close");
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(FramingError::UnknownLength);
            }
        }
        Ok(framing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_heads() {
        let get = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET";
        let head = Head { head_bytes: 27, body_bytes: 0, close: false, status: 0 };
        assert_eq!(request_head(get), Ok(Some(head)));
        assert_eq!(request_head(&get[..20]), Ok(None));
        let post = b"POST / HTTP/1.1\r\nContent-Length: 5\r\nconnection: Close\r\n\r\nhello";
        let head = Head { head_bytes: 57, body_bytes: 5, close: true, status: 0 };
        assert_eq!(request_head(post), Ok(Some(head)));
        let chunked = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(request_head(chunked), Err(FramingError::UnknownLength));
        assert_eq!(request_head(b"\0\0\0 nonsense"), Err(FramingError::Malformed));
    }

    #[test]
    fn response_heads() {
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let head = Head { head_bytes: 38, body_bytes: 2, close: false, status: 200 };
        assert_eq!(response_head(ok), Ok(Some(head)));
        let none = b"HTTP/1.1 204 No Content\r\n\r\n";
        let head = Head { head_bytes: 27, body_bytes: 0, close: false, status: 204 };
        assert_eq!(response_head(none), Ok(Some(head)));
        let upgrade = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\r\n";
        let head = Head { head_bytes: 57, body_bytes: 0, close: false, status: 101 };
        assert_eq!(response_head(upgrade), Ok(Some(head)));
        let until_close = b"HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(response_head(until_close), Err(FramingError::UnknownLength));
        let bad = b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n";
        assert_eq!(response_head(bad), Err(FramingError::Malformed));
    }
}

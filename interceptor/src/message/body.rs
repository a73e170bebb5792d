//! Message framing (RFC 9112 sections 6 and 7): decode strictly on one side, encode afresh on the
//! other, so that no byte sequence reaches a pod that another parser could cut differently. Pure.

use std::io::Write as _;

use bytes::Bytes;

use super::{
    field::{Fields, trailer_section},
    section::parse_fields,
};

/// Longest chunk-size line, extensions included. Extensions are read and dropped
/// (RFC 9112 section 7.1.1 lets an intermediary do so).
const MAX_CHUNK_LINE: usize = 256;
/// Longest trailer section.
pub const MAX_TRAILERS: usize = 8 << 10;

/// Why a body could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.rule())]
pub enum BodyError {
    /// A chunk-size line that is not `1*HEXDIG [ext] CRLF`.
    ChunkSize,
    /// Chunk data not followed by CRLF.
    ChunkEnd,
    /// The trailer section is malformed or too long.
    Trailers,
}

impl BodyError {
    /// The rule that was broken: one of a fixed set.
    pub fn rule(self) -> &'static str {
        match self {
            Self::ChunkSize => "invalid chunk size",
            Self::ChunkEnd => "chunk data is not followed by CRLF",
            Self::Trailers => "invalid trailer section",
        }
    }
}

/// Takes body bytes and, at the end, the raw trailer section (may be empty).
pub trait BodySink {
    /// Some bytes of the body; never empty.
    fn data(&mut self, data: &[u8]);
    /// The same for bytes that can be kept without copying them.
    fn bytes(&mut self, data: Bytes) {
        self.data(&data);
    }
    /// The end. `trailers` is the raw field section, without its closing empty line.
    fn end(&mut self, trailers: &[u8]);
}

/// How a received body is delimited, and how far it has been read.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoder {
    /// Nothing more belongs to the message.
    Done,
    /// This many bytes are still to come.
    Length(u64),
    /// Chunked coding.
    Chunked(ChunkState),
    /// Everything until the connection closes (responses only).
    Close,
}

/// Where in the chunked coding the next byte stands.
#[derive(Debug, PartialEq, Eq)]
pub enum ChunkState {
    /// At a chunk-size line.
    Size,
    /// Inside chunk data.
    Data(u64),
    /// At the CRLF after chunk data.
    DataEnd,
    /// In the trailer section.
    Trailers,
    /// Past the last byte.
    End,
}

impl Decoder {
    /// For a `Content-Length`.
    pub fn length(n: u64) -> Self {
        if n == 0 { Self::Done } else { Self::Length(n) }
    }

    /// For `Transfer-Encoding: chunked`.
    pub fn chunked() -> Self {
        Self::Chunked(ChunkState::Size)
    }

    /// Was the last byte of the message read?
    pub fn is_done(&self) -> bool {
        *self == Self::Done
    }

    /// Decodes what it can of `src` into `sink`; returns how many bytes were used. Unused bytes
    /// are to be given again together with later ones (at most a line's worth).
    pub fn decode(&mut self, src: &[u8], sink: &mut impl BodySink) -> Result<usize, BodyError> {
        let mut used = 0;
        loop {
            let rest = &src[used..];
            match self {
                Self::Done => return Ok(used),
                _ if rest.is_empty() => return Ok(used),
                Self::Close => {
                    sink.data(rest);
                    return Ok(src.len());
                }
                Self::Length(left) => {
                    let n = take(rest, left, sink);
                    used += n;
                    if *left == 0 {
                        sink.end(&[]);
                        *self = Self::Done;
                    }
                }
                Self::Chunked(state) => {
                    let Some(n) = state.step(rest, sink)? else { return Ok(used) };
                    used += n;
                    if *state == ChunkState::End {
                        *self = Self::Done;
                    }
                }
            }
        }
    }

    /// The connection closed. True if that is the proper end of the message.
    pub fn close(&mut self, sink: &mut impl BodySink) -> bool {
        match self {
            Self::Done => true,
            Self::Close => {
                sink.end(&[]);
                *self = Self::Done;
                true
            }
            Self::Length(_) | Self::Chunked(_) => false,
        }
    }
}

fn take(rest: &[u8], left: &mut u64, sink: &mut impl BodySink) -> usize {
    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
    sink.data(&rest[..n]);
    *left -= n as u64;
    n
}

impl ChunkState {
    /// One step; `None` = more bytes are needed.
    fn step(&mut self, rest: &[u8], sink: &mut impl BodySink) -> Result<Option<usize>, BodyError> {
        match self {
            Self::Size => {
                let Some((size, n)) = chunk_line(rest)? else { return Ok(None) };
                *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                Ok(Some(n))
            }
            Self::Data(left) => {
                let n = take(rest, left, sink);
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                Ok(Some(n))
            }
            Self::DataEnd => match rest {
                [b'\r', b'\n', ..] => {
                    *self = Self::Size;
                    Ok(Some(2))
                }
                [b'\r'] => Ok(None),
                _ => Err(BodyError::ChunkEnd),
            },
            Self::Trailers => {
                let used = trailers(rest, sink)?;
                if used.is_some() {
                    *self = Self::End;
                }
                Ok(used)
            }
            Self::End => Ok(None),
        }
    }
}

/// Parses `chunk-size [ chunk-ext ] CRLF`.
fn chunk_line(rest: &[u8]) -> Result<Option<(u64, usize)>, BodyError> {
    let window = &rest[..rest.len().min(MAX_CHUNK_LINE)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if rest.len() >= MAX_CHUNK_LINE { Err(BodyError::ChunkSize) } else { Ok(None) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(BodyError::ChunkSize)?;
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    let plain = |b: &u8| *b == b'\t' || (0x20..0x7f).contains(b);
    // RFC 9112 allows "BWS" before an extension; nothing else may follow the size.
    let extension_ok = match extension.trim_ascii_start() {
        [] => extension.is_empty(),
        [b';', rest @ ..] => rest.iter().all(plain),
        _ => false,
    };
    if digits == 0 || digits > 15 || !extension_ok {
        return Err(BodyError::ChunkSize);
    }
    let size = size
        .iter()
        .fold(0_u64, |n, b| n << 4 | u64::from(char::from(*b).to_digit(16).unwrap_or_default()));
    Ok(Some((size, end + 1)))
}

/// Parses the trailer section up to and including its empty line.
fn trailers(rest: &[u8], sink: &mut impl BodySink) -> Result<Option<usize>, BodyError> {
    match rest {
        [b'\r', b'\n', ..] => {
            sink.end(&[]);
            return Ok(Some(2));
        }
        [b'\r'] => return Ok(None),
        _ => {}
    }
    let window = &rest[..rest.len().min(MAX_TRAILERS)];
    let Some(end) = memchr::memmem::find(window, b"\r\n\r\n") else {
        return if rest.len() >= MAX_TRAILERS { Err(BodyError::Trailers) } else { Ok(None) };
    };
    let mut fields = Fields::new();
    parse_fields(&rest[..end + 4], &mut fields).map_err(|_| BodyError::Trailers)?;
    let kept = trailer_section(fields.iter().map(|f| (f.name, f.value)));
    sink.end(&kept.map_err(|_| BodyError::Trailers)?);
    Ok(Some(end + 4))
}

/// How a forwarded body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body follows.
    None,
    /// `Content-Length`.
    Length(u64),
    /// Chunked coding.
    Chunked,
    /// The end of the connection (responses to HTTP/1.0 clients only).
    Close,
}

/// Encodes a body into a byte vector.
pub struct Encoder<'a> {
    /// The framing promised in the head.
    pub framing: Framing,
    /// Where the bytes go.
    pub out: &'a mut Vec<u8>,
}

impl BodySink for Encoder<'_> {
    fn data(&mut self, data: &[u8]) {
        match self.framing {
            Framing::Chunked => {
                // Writing to a vector cannot fail.
                let _ = write!(self.out, "{:x}\r\n", data.len());
                self.out.extend_from_slice(data);
                self.out.extend_from_slice(b"\r\n");
            }
            Framing::Length(_) | Framing::Close => self.out.extend_from_slice(data),
            Framing::None => {}
        }
    }

    fn end(&mut self, trailers: &[u8]) {
        if self.framing == Framing::Chunked {
            self.out.extend_from_slice(b"0\r\n");
            self.out.extend_from_slice(trailers);
            self.out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Seen {
        data: Vec<u8>,
        end: Option<Vec<u8>>,
    }

    impl BodySink for Seen {
        fn data(&mut self, data: &[u8]) {
            assert!(!data.is_empty() && self.end.is_none());
            self.data.extend_from_slice(data);
        }
        fn end(&mut self, trailers: &[u8]) {
            assert!(self.end.replace(trailers.to_vec()).is_none());
        }
    }

    /// Feeds `input` in pieces of `step` bytes; returns what was seen and what is left over.
    fn run(mut d: Decoder, input: &[u8], step: usize) -> Result<(Seen, Vec<u8>), BodyError> {
        let (mut seen, mut held) = (Seen::default(), Vec::new());
        for piece in input.chunks(step) {
            held.extend_from_slice(piece);
            let used = d.decode(&held, &mut seen)?;
            held.drain(..used);
        }
        assert_eq!(d.is_done(), seen.end.is_some());
        Ok((seen, held))
    }

    #[test]
    fn chunked_bodies() {
        let check = |input: &str, data: &str, trailers: &str, left: &str| {
            for step in [1, 2, 3, 7, 1000] {
                let (seen, rest) = run(Decoder::chunked(), input.as_bytes(), step).unwrap();
                assert_eq!(seen.data, data.as_bytes(), "{input:?}");
                assert_eq!(seen.end.as_deref(), Some(trailers.as_bytes()), "{input:?}");
                assert_eq!(rest, left.as_bytes(), "{input:?}");
            }
        };
        check("0\r\n\r\n", "", "", "");
        check("5\r\nhello\r\n0\r\n\r\nGET", "hello", "", "GET");
        check("5;a=b\r\nhello\r\nA ; x\r\n0123456789\r\n000\r\n\r\n", "hello0123456789", "", "");
        check("1\r\nx\r\n0\r\nx-sum: 9\r\n\r\n", "x", "x-sum: 9\r\n", "");
        check("1\r\nx\r\n0\r\ncontent-length: 9\r\nhost: a\r\nb: c\r\n\r\n", "x", "b: c\r\n", "");
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let check = |input: &str, expected: BodyError| {
            for step in [1, 1000] {
                let got = run(Decoder::chunked(), input.as_bytes(), step).err();
                assert_eq!(got, Some(expected), "{input:?}");
            }
        };
        check("\r\n", BodyError::ChunkSize);
        check("5\nhello", BodyError::ChunkSize);
        check("0x5\r\nhello", BodyError::ChunkSize);
        check("+5\r\nhello", BodyError::ChunkSize);
        check(" 5\r\nhello", BodyError::ChunkSize);
        check("5 \r\nhello", BodyError::ChunkSize);
        check("-1\r\n", BodyError::ChunkSize);
        check("5;a\x01\r\nhello", BodyError::ChunkSize);
        check("fffffffffffffffff\r\n", BodyError::ChunkSize);
        check(&format!("5;{}", "a".repeat(300)), BodyError::ChunkSize);
        check("5\r\nhelloX\r\n", BodyError::ChunkEnd);
        check("5\r\nhello\n0\r\n", BodyError::ChunkEnd);
        check("0\r\nbad name: x\r\n\r\n", BodyError::Trailers);
        check(&format!("0\r\n{}", "a".repeat(MAX_TRAILERS)), BodyError::Trailers);
    }

    #[test]
    fn lengths_and_closes() {
        let (seen, rest) = run(Decoder::length(3), b"abcdef", 2).unwrap();
        assert_eq!((seen.data.as_slice(), rest.as_slice()), (&b"abc"[..], &b"def"[..]));
        assert!(Decoder::length(0).is_done());
        let mut seen = Seen::default();
        assert!(!Decoder::Length(1).close(&mut seen));
        assert!(!Decoder::chunked().close(&mut seen));
        assert!(Decoder::Close.close(&mut seen) && seen.end.is_some());
    }

    proptest! {
        /// What is encoded in chunks decodes to itself, however it is cut.
        #[test]
        fn round_trip(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..20), step in 1usize..40) {
            let mut wire = Vec::new();
            let mut encoder = Encoder { framing: Framing::Chunked, out: &mut wire };
            pieces.iter().for_each(|p| encoder.data(p));
            encoder.end(b"t: 1\r\n");
            let (seen, rest) = run(Decoder::chunked(), &wire, step).unwrap();
            prop_assert_eq!(seen.data, pieces.concat());
            prop_assert_eq!(seen.end.unwrap(), b"t: 1\r\n");
            prop_assert!(rest.is_empty());
        }

        /// No input makes it panic or read past the end.
        #[test]
        fn any_input(input in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..20) {
            let mut d = Decoder::chunked();
            let (mut seen, mut held) = (Seen::default(), Vec::new());
            for piece in input.chunks(step) {
                held.extend_from_slice(piece);
                match d.decode(&held, &mut seen) { Ok(n) => { held.drain(..n); }, Err(_) => break }
                prop_assert!(held.len() <= MAX_TRAILERS || d.is_done());
            }
        }
    }
}

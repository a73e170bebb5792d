//! The sending half of an HTTP/2 stream: what its window does not let through yet.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;

use crate::message::{field::Fields, section::parse_fields};

/// Bytes of one stream that the connection takes before they are written: a whole frame, which is as
/// much as one write takes.
pub(crate) const SEND_BUFFER: usize = 16 << 10;

/// Smaller pieces are copied together: each would cost more to keep than it holds, and a frame of its
/// own to send.
const SMALL: usize = 1 << 10;

/// Parts of a body in order, until they are handed to the connection.
#[derive(Default)]
pub(crate) struct Outbox {
    parts: VecDeque<Bytes>,
    /// What comes behind the parts, still growing.
    tail: Vec<u8>,
    bytes: usize,
    end: End,
}

/// How far the end of the body has got.
#[derive(Default)]
enum End {
    /// More may come.
    #[default]
    Open,
    /// It is known, and not sent yet.
    Due(HeaderMap),
    Sent,
}

/// The peer takes nothing more.
pub(crate) struct Closed;

impl Outbox {
    /// Bytes not handed to the connection yet.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// What is in memory at most: where bytes are left, the connection may have all it takes.
    pub(crate) fn kept(&self) -> usize {
        if self.bytes > 0 { self.bytes + SEND_BUFFER } else { 0 }
    }

    pub(crate) fn push(&mut self, data: Bytes) {
        if data.len() < SMALL {
            return self.copy(&data);
        }
        self.close_tail();
        self.bytes += data.len();
        self.parts.push_back(data);
    }

    /// The same for bytes that belong to somebody else.
    pub(crate) fn copy(&mut self, data: &[u8]) {
        self.bytes += data.len();
        self.tail.extend_from_slice(data);
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push_back(std::mem::take(&mut self.tail).into());
        }
    }

    /// The body ends here; `trailers` are lines.
    pub(crate) fn end(&mut self, trailers: &[u8]) {
        self.end = End::Due(trailer_map(trailers));
    }

    /// The head has ended the stream already.
    pub(crate) fn ended(&mut self) {
        self.end = End::Sent;
    }

    /// Hands everything to the connection, at most `piece` bytes at a time; but with `hold_end` not
    /// the last part of a body whose end is known.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut SendStream<Bytes>,
        piece: usize,
        hold_end: bool,
    ) -> Poll<Result<(), Closed>> {
        self.close_tail();
        let hold_end = hold_end && matches!(self.end, End::Due(_));
        loop {
            if hold_end && self.parts.len() <= 1 {
                return Poll::Ready(Ok(()));
            }
            let Some(part) = self.parts.front_mut() else { break };
            stream.reserve_capacity(part.len().min(piece));
            let granted = stream.capacity();
            if granted == 0 {
                match stream.poll_capacity(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(None | Some(Err(_))) => return Poll::Ready(Err(Closed)),
                }
            }
            let data = part.split_to(granted.min(part.len()).min(piece));
            let part_done = part.is_empty();
            if part_done {
                self.parts.pop_front();
            }
            self.bytes -= data.len();
            let last = self.parts.is_empty()
                && matches!(&self.end, End::Due(trailers) if trailers.is_empty());
            if stream.send_data(data, last).is_err() {
                return Poll::Ready(Err(Closed));
            }
            if last {
                self.end = End::Sent;
            }
        }
        let sent = match std::mem::replace(&mut self.end, End::Sent) {
            End::Open => {
                self.end = End::Open;
                Ok(())
            }
            End::Sent => Ok(()),
            End::Due(trailers) if trailers.is_empty() => stream.send_data(Bytes::new(), true),
            End::Due(trailers) => stream.send_trailers(trailers),
        };
        Poll::Ready(sent.map_err(|_| Closed))
    }
}

/// Lines as a map.
fn trailer_map(lines: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    if lines.is_empty() {
        return map;
    }
    let section = [lines, b"\r\n"].concat();
    let mut fields = Fields::new();
    if parse_fields(&section, &mut fields).is_ok() {
        for field in &fields {
            append(&mut map, field.name.as_bytes(), field.value);
        }
    }
    map
}

/// Adds a field to a header map; what the map cannot hold was refused by the head's grammar.
pub(crate) fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    let name = http::HeaderName::from_bytes(name);
    let value = http::HeaderValue::from_bytes(value);
    if let (Ok(name), Ok(value)) = (name, value) {
        map.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_one_part() {
        let mut outbox = Outbox::default();
        for _ in 0..1000 {
            outbox.copy(b"x");
            outbox.push(Bytes::from_static(b"y"));
        }
        let large = Bytes::from(vec![b'z'; SMALL]);
        outbox.push(large.clone());
        outbox.push(Bytes::new());
        outbox.close_tail();
        assert_eq!(outbox.parts, [Bytes::from("xy".repeat(1000)), large]);
        assert_eq!(outbox.len(), 2000 + SMALL);
    }
}

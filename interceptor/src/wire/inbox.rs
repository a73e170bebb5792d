//! The receiving half of an HTTP/2 stream: a body, handed out as its window allows the peer.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};

use crate::message::field::trailer_section;

/// A body that is being received.
pub(crate) struct Inbox {
    stream: RecvStream,
    /// The data is over; trailers may follow.
    at_trailers: bool,
    done: bool,
}

/// What came next.
pub(crate) enum Part {
    /// Some bytes; may be none.
    Data(Bytes),
    /// The end, with the trailers as lines.
    End(Vec<u8>),
}

/// Why a body ended before its end.
pub(crate) enum InboxError {
    /// The peer broke it off.
    Broken,
    /// The peer sent what is no HTTP/2 message, or more or less than it announced.
    Malformed,
    /// A trailer imitates a field that frames the message.
    Trailers,
}

impl Inbox {
    pub(crate) fn new(stream: RecvStream) -> Self {
        let done = stream.is_end_stream();
        Self { stream, at_trailers: false, done }
    }

    /// Was the last part handed out?
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Bytes that came and were not read.
    pub(crate) fn unread(&mut self) -> usize {
        self.stream.flow_control().used_capacity()
    }

    /// The next part; the peer may send as much again.
    pub(crate) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, InboxError>> {
        if !self.at_trailers {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Ok(Part::Data(data)));
                }
                Some(Err(e)) if !ended_well(&e) => return Poll::Ready(Err(broken(&e))),
                Some(Err(_)) | None => self.at_trailers = true,
            }
        }
        let trailers = match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.unwrap_or_default(),
            Err(e) if ended_well(&e) => Default::default(),
            Err(e) => return Poll::Ready(Err(broken(&e))),
        };
        self.done = true;
        let lines = trailer_section(trailers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())));
        Poll::Ready(lines.map(Part::End).map_err(|_| InboxError::Trailers))
    }
}

/// A server that answered completely may end the stream without an error (RFC 9113 section 8.1).
fn ended_well(e: &h2::Error) -> bool {
    e.is_reset() && e.is_remote() && e.reason() == Some(Reason::NO_ERROR)
}

fn broken(e: &h2::Error) -> InboxError {
    if is_malformed(e) { InboxError::Malformed } else { InboxError::Broken }
}

/// Was it this side that found the peer to break the protocol?
pub(crate) fn is_malformed(e: &h2::Error) -> bool {
    use Reason as R;
    let found =
        [R::PROTOCOL_ERROR, R::COMPRESSION_ERROR, R::FRAME_SIZE_ERROR, R::FLOW_CONTROL_ERROR];
    e.is_library() && e.reason().is_some_and(|reason| found.contains(&reason))
}

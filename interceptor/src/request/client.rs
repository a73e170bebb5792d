//! What the life of a request needs of its client, whichever protocol frames it.

use std::{
    io,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    error::ProxyError,
    headers::{Additions, RequestId},
    message::{body::BodySink, head::ResponseHead},
    observe::record::Moved,
    queue::Place,
    upstream::http1::Connection,
    wire::{budget::Budget, timer::Deadline},
    worker::Worker,
};

/// An answer of this proxy's own, whichever protocol frames it.
pub(crate) struct OwnAnswer<'a> {
    pub(crate) error: ProxyError,
    pub(crate) id: &'a RequestId,
    /// Seconds after which trying again makes sense.
    pub(crate) retry_after: Option<u64>,
    /// To a HEAD, whose answer has the head of a GET's and no body (RFC 9110 section 9.3.2).
    pub(crate) to_head: bool,
}

impl OwnAnswer<'_> {
    /// The body that is sent.
    pub(crate) fn body(&self) -> String {
        if self.to_head { String::new() } else { self.text() }
    }

    /// `Content-Length`: what the body of a GET's answer has, also where none is sent.
    pub(crate) fn length(&self) -> usize {
        self.text().len()
    }

    fn text(&self) -> String {
        self.error.body(std::str::from_utf8(self.id).unwrap_or_default())
    }
}

/// The client of one request. As a sink it takes the body of the response.
///
/// Static dispatch only: each protocol gets its own copy of the request's life.
pub(crate) trait Client: BodySink + Send {
    /// Was the last byte of the request's body handed out?
    fn body_done(&self) -> bool;

    /// Hands out what was read of the request's body already, and reads nothing; how many bytes of
    /// it.
    fn take_body(&mut self, sink: &mut impl BodySink) -> Result<usize, ProxyError>;

    /// Hands out what is there of the request's body, and reads at most up to `most` bytes of it;
    /// the number of bytes that came in anew. Pending = the client owes more.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl BodySink,
        most: usize,
    ) -> Poll<Result<usize, ProxyError>>;

    /// Ready once the client has left, or sent what it must not, while its answer is awaited. May
    /// read ahead up to `most` bytes for that.
    fn poll_gone(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<ProxyError>;

    /// Has the client of a stalled upload left? What it sent before may be unread.
    fn has_left(&mut self, cx: &mut Context<'_>) -> bool;

    /// Resolves when the client of a held request has left. Reads ahead as far as `place` allows.
    fn gone(&mut self, place: &mut Place) -> impl Future<Output = ProxyError> + Send;

    /// May the request be sent as it is? A client that wants another protocol must not have sent
    /// any of it yet.
    fn check(&self) -> Result<(), ProxyError>;

    /// Bytes of the request that are in memory already, or may come without being asked for.
    fn buffered(&self) -> usize;

    /// Begins the response, or passes on an interim one.
    fn respond(&mut self, head: &ResponseHead<'_>, add: &Additions<'_>) -> Result<(), ProxyError>;

    /// Bytes of the response that the client has not taken.
    fn unsent(&self) -> usize;

    /// Bytes of both directions that are in memory.
    fn kept(&self) -> usize;

    /// Writes what is to be written, at most `piece` bytes at a time.
    fn poll_flush(&mut self, cx: &mut Context<'_>, piece: usize) -> Poll<io::Result<()>>;

    /// The client is slow to read: what it has taken shall show.
    fn follow_reader(&mut self);

    /// A timer that lasts as long as the client.
    fn deadline(&mut self) -> &mut Deadline;

    /// Gives an answer of our own, as far as the client takes it in time.
    fn answer(
        &mut self,
        worker: &Worker,
        answer: &OwnAnswer<'_>,
    ) -> impl Future<Output = ()> + Send;

    /// Makes sure that the client does not take what it got for the whole answer.
    fn cut(&mut self, error: ProxyError);

    /// Both sides agreed on another protocol: moves bytes until both are done, or nothing has moved
    /// for as long as `idle`. What was moved so far is in `moved` at any time.
    fn tunnel(
        &mut self,
        pod: Connection,
        idle: Duration,
        budget: &Budget,
        moved: &mut Moved,
    ) -> impl Future<Output = io::Result<()>> + Send;
}

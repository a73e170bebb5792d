//! One HTTP/2 stream as the client of a request.
//!
//! Some clients stop reading once they have a whole response, also while they still send (curl
//! 7.88 does, and then waits for a window that it never sees). So the end of an answer that came
//! early stays here while the upload is discarded. gRPC clients act on the end, and get it at once.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{
    HeaderMap, Method, Request, Response, StatusCode, header, request::Parts, uri::PathAndQuery,
};

use crate::{
    error::ProxyError,
    headers::{Additions, Peer, response_fields},
    message::{
        body::{BodySink, Decoder},
        field::{Class, Field, Fields, identify},
        head::{
            RequestHead, ResponseHead, Version, content_length, is_origin_form, is_token,
            single_host, valid_authority,
        },
        section::HeadError,
    },
    observe::record::Moved,
    queue::Place,
    request::{
        client::{Client, OwnAnswer},
        discard::discard,
        life,
        prepared::{Unserved, prepare},
    },
    upstream::http1::Connection as PodConnection,
    wire::{
        budget::{Budget, FLOOR},
        inbox::{Inbox, InboxError, Part},
        outbox::{Outbox, append},
        timer::Deadline,
    },
    worker::Worker,
};

/// One request being served.
struct Stream {
    inbox: Inbox,
    respond: SendResponse<Bytes>,
    /// Once the response has begun.
    send: Option<SendStream<Bytes>>,
    outbox: Outbox,
    deadline: Deadline,
    /// What may come of the body before it is read.
    ahead: usize,
    /// The head of a response without a body, whose end is held back.
    held: Option<Response<()>>,
    /// The client acts on the end of the response, or sends nothing before it is asked to.
    wants_end: bool,
    /// Nothing more can be said to the client.
    gone: bool,
}

/// Serves one stream to its end.
pub(super) async fn serve(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    peer: Peer,
    worker: &Arc<Worker>,
) {
    let (parts, body) = request.into_parts();
    let inbox = Inbox::new(body);
    let most = worker.context.limits.request_head.fields;
    let ahead = if inbox.is_done() { 0 } else { ahead(&parts, worker.context.h2.window) };
    let unread = |error| Unserved::unread(error, parts.method == Method::HEAD);
    let prepared = if ahead > FLOOR && worker.context.buffers.is_short() {
        Err(unread(ProxyError::Overloaded))
    } else {
        view(&parts, inbox.is_done(), most)
            .map_err(unread)
            .and_then(|mut head| prepare(&mut head, peer, worker))
    };
    let deadline = Deadline::new(Instant::now() + worker.context.limits.grace);
    let mut stream = Stream {
        inbox,
        respond,
        send: None,
        outbox: Outbox::default(),
        deadline,
        ahead,
        held: None,
        wants_end: parts.headers.contains_key(header::EXPECT),
        gone: false,
    };
    drop(parts);
    match prepared {
        Ok(mut prepared) => life::serve(&mut stream, worker, &mut prepared).await,
        Err(mut unserved) => {
            let id = life::refused(worker, peer, &mut unserved);
            stream.answer(worker, &unserved.answer(&id)).await;
        }
    }
    if !stream.gone {
        stream.finish(worker).await;
    }
}

/// What of a body a window lets through before any of it is read.
fn ahead(parts: &Parts, window: u32) -> usize {
    let window = usize::try_from(window).unwrap_or(usize::MAX);
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    length.and_then(|v| v.parse().ok()).map_or(window, |length: usize| length.min(window))
}

/// The head as the stages know it; `bare` = the stream has ended with it.
pub fn view(parts: &Parts, bare: bool, most: usize) -> Result<RequestHead<'_>, ProxyError> {
    if parts.method == Method::CONNECT {
        return Err(ProxyError::MethodNotAllowed);
    }
    if parts.headers.len() > most {
        return Err(ProxyError::TooManyFields(most));
    }
    let mut fields = Fields::new();
    for (name, value) in &parts.headers {
        let (name, value) = (name.as_str(), value.as_bytes());
        // The `http` crate takes some that are none.
        if !is_token(name) {
            return Err(ProxyError::BadRequest("invalid field name"));
        }
        // h2 refuses connection-specific fields (RFC 9113 section 8.2.2).
        let class = identify(name).map_err(|imitation| ProxyError::BadRequest(imitation.rule()))?;
        fields.push(Field { name, value, class });
    }
    let malformed = |error: HeadError| ProxyError::BadRequest(error.rule());
    let length = content_length(&fields).map_err(malformed)?;
    if bare && length.is_some_and(|n| n > 0) {
        return Err(ProxyError::BadRequest("a body shorter than its Content-Length"));
    }
    let host = single_host(&fields).map_err(malformed)?;
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let host = match (authority, host) {
        (Some(a), Some(h)) if !a.eq_ignore_ascii_case(h) => {
            return Err(ProxyError::BadRequest(":authority contradicts Host"));
        }
        (Some(a), _) if !valid_authority(a) => {
            return Err(ProxyError::BadRequest("invalid :authority"));
        }
        (Some(a), _) => a,
        (None, Some(h)) => h,
        (None, None) => return Err(ProxyError::BadRequest("no :authority")),
    };
    let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str).as_bytes();
    // The `http` crate takes a query without a path.
    if !is_origin_form(parts.method.as_str(), target) {
        return Err(ProxyError::BadRequest("invalid :path"));
    }
    let body = match length {
        _ if bare => Decoder::Done,
        Some(n) => Decoder::length(n),
        None => Decoder::chunked(),
    };
    Ok(RequestHead {
        method: parts.method.as_str(),
        target: target.into(),
        host,
        version: Version::Http2,
        fields,
        body,
        keep_alive: true,
        expect_continue: false,
        upgrade: None,
    })
}

/// The client's response head.
fn render(head: &ResponseHead<'_>, add: &Additions<'_>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let map = response.headers_mut();
    response_fields(head, add, &mut |field| append(map, field.name.as_bytes(), field.value));
    let length = head.fields.iter().find(|f| f.class == Class::ContentLength);
    if let Some(field) = length.filter(|_| head.status >= 200 && head.status != 204) {
        append(map, b"content-length", field.value);
    }
    response
}

impl Stream {
    /// The client has left, or does not want this stream any more.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Some(send) => send.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }

    /// Begins the response; `bare` = it ends with its head, which stays here while its end does.
    fn begin(&mut self, response: Response<()>, bare: bool) -> Result<(), ProxyError> {
        if bare && self.holds_end() {
            self.held = Some(response);
            return Ok(());
        }
        let begun = self.respond.send_response(response, bare);
        self.send = Some(begun.map_err(|_| ProxyError::ClientGone)?);
        if bare {
            self.outbox.ended();
        }
        Ok(())
    }

    /// Is the end of the response held back?
    fn holds_end(&self) -> bool {
        !self.wants_end && !self.inbox.is_done()
    }

    /// Reads on for a while where the answer came before the request's end, and ends the answer.
    /// Then h2 ends what is left of the request with NO_ERROR (RFC 9113 section 8.1), behind every
    /// frame of the answer.
    async fn finish(mut self, worker: &Worker) {
        if !self.inbox.is_done() {
            let inbox = &mut self.inbox;
            discard(|cx| match ready!(inbox.poll_part(cx)) {
                Ok(Part::Data(data)) => Poll::Ready(data.len().max(1)),
                Ok(Part::End(_)) | Err(_) => Poll::Ready(0),
            })
            .await;
        }
        self.wants_end = true;
        if let Some(head) = self.held.take() {
            let _ = self.begin(head, true);
        }
        self.flush(worker).await;
    }

    /// Writes what is to be written, as far as the client takes it in time.
    async fn flush(&mut self, worker: &Worker) {
        let until = Instant::now() + worker.context.limits.grace;
        let taken = poll_fn(|cx| match self.poll_flush(cx, usize::MAX) {
            Poll::Ready(flushed) => Poll::Ready(flushed.is_ok()),
            Poll::Pending => self.deadline.poll(cx, until).map(|()| false),
        });
        if !taken.await {
            self.cut(ProxyError::SlowReader);
        }
    }
}

impl BodySink for Stream {
    fn data(&mut self, data: &[u8]) {
        self.outbox.copy(data);
    }

    fn bytes(&mut self, data: Bytes) {
        self.outbox.push(data);
    }

    fn end(&mut self, trailers: &[u8]) {
        self.outbox.end(trailers);
    }
}

impl Client for Stream {
    fn body_done(&self) -> bool {
        self.inbox.is_done()
    }

    /// What has arrived is in the connection.
    fn take_body(&mut self, _: &mut impl BodySink) -> Result<usize, ProxyError> {
        Ok(0)
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl BodySink,
        _: usize,
    ) -> Poll<Result<usize, ProxyError>> {
        match ready!(self.inbox.poll_part(cx)) {
            Ok(Part::Data(data)) => {
                let length = data.len();
                if length > 0 {
                    sink.bytes(data);
                }
                Poll::Ready(Ok(length))
            }
            Ok(Part::End(trailers)) => {
                sink.end(&trailers);
                Poll::Ready(Ok(0))
            }
            Err(InboxError::Broken | InboxError::Malformed) => {
                Poll::Ready(Err(ProxyError::ClientGone))
            }
            Err(InboxError::Trailers) => {
                Poll::Ready(Err(ProxyError::BadRequest("invalid trailer section")))
            }
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>, _: usize) -> Poll<ProxyError> {
        self.poll_reset(cx).map(|()| ProxyError::ClientGone)
    }

    fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_reset(cx).is_ready()
    }

    async fn gone(&mut self, _: &mut Place) -> ProxyError {
        poll_fn(|cx| self.poll_gone(cx, 0)).await
    }

    fn check(&self) -> Result<(), ProxyError> {
        Ok(())
    }

    fn buffered(&self) -> usize {
        if self.inbox.is_done() { 0 } else { self.ahead }
    }

    fn respond(&mut self, head: &ResponseHead<'_>, add: &Additions<'_>) -> Result<(), ProxyError> {
        let response = render(head, add);
        if head.status < 200 {
            self.wants_end = false;
            let sent = self.respond.send_informational(response);
            return sent.map_err(|_| ProxyError::ClientGone);
        }
        let kind = response.headers().get(header::CONTENT_TYPE);
        self.wants_end |= kind.is_some_and(|k| k.as_bytes().starts_with(b"application/grpc"));
        self.begin(response, head.body.is_done())
    }

    fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// What the client may send ahead is set aside for its connection.
    fn kept(&self) -> usize {
        self.outbox.kept()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, piece: usize) -> Poll<io::Result<()>> {
        let hold_end = self.holds_end();
        let Some(send) = &mut self.send else { return Poll::Ready(Ok(())) };
        let flushed = self.outbox.poll_flush(cx, send, piece, hold_end);
        flushed.map_err(|_| io::ErrorKind::ConnectionReset.into())
    }

    fn follow_reader(&mut self) {}

    fn deadline(&mut self) -> &mut Deadline {
        &mut self.deadline
    }

    async fn answer(&mut self, worker: &Worker, answer: &OwnAnswer<'_>) {
        if self.begin(own_head(answer), answer.to_head).is_err() {
            self.gone = true;
            return;
        }
        if !answer.to_head {
            self.outbox.push(answer.body().into());
            self.outbox.end(&[]);
        }
        self.flush(worker).await;
    }

    fn cut(&mut self, error: ProxyError) {
        let reason = if error.status() == 499 { Reason::CANCEL } else { Reason::INTERNAL_ERROR };
        self.gone = true;
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// No stream becomes one: HTTP/2 has no `Upgrade` (RFC 9113 section 8.6).
    async fn tunnel(
        &mut self,
        _: PodConnection,
        _: Duration,
        _: &Budget,
        _: &mut Moved,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Head of an answer of this proxy's own.
fn own_head(answer: &OwnAnswer<'_>) -> Response<()> {
    let mut map = HeaderMap::new();
    append(&mut map, b"content-type", b"application/json");
    append(&mut map, b"content-length", answer.length().to_string().as_bytes());
    append(&mut map, b"cache-control", b"no-store");
    append(&mut map, b"x-request-id", answer.id);
    if let Some(seconds) = answer.retry_after {
        append(&mut map, b"retry-after", seconds.to_string().as_bytes());
    }
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(answer.error.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = map;
    response
}

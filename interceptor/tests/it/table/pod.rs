//! Pods of a row: what they do with each connection or stream, and a book of what they saw.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;

use super::pattern::pattern;
use crate::support::{Backend, Gate, Message, Reserved, Wire, closed, ok, within};

/// A writer that moved nothing for this long is taken to be stalled.
const STALLED: Duration = Duration::from_millis(300);
/// Bytes written or read at a time.
const PIECE: usize = 50_000;

/// A pod.
#[derive(Clone)]
pub(super) struct Pod {
    pub(super) place: Place,
    scripts: Scripts,
}

/// How a pod is known at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Ready,
    /// Not announced before the act `Place`.
    Later,
    /// Called ready, and refusing connections until the act `Listen`.
    Refusing,
}

#[derive(Clone)]
enum Scripts {
    /// What is done with each connection; the last one is followed by all later ones.
    Http1(Vec<Vec<Step>>),
    /// What is done with each stream; the last one is followed by all later ones.
    Http2(Vec<Stream>),
}

/// What a pod does on a connection. Its end is the connection's.
#[derive(Clone)]
pub(super) enum Step {
    /// Reads a whole request.
    Take,
    /// Reads a head.
    Head,
    /// Reads the body of that head.
    Body,
    Say(Vec<u8>),
    /// Says this again and again until it cannot.
    Flood(&'static str),
    /// Answers with a body of this many bytes, as far as they are taken.
    Large(usize),
    /// Reads a body of this many bytes, which have to be right, and answers with their number.
    Sink(usize),
    /// Waits for the act `Open`.
    Pass,
    /// Sends each chunk of the request back, and its trailers.
    Echo,
    /// Reads until the other side is done.
    Drain,
    /// Waits until the connection ends, reading nothing.
    Deaf,
    /// Closes with a reset.
    Reset,
    /// Answers every request with its target.
    Serve,
    /// Answers every request with this.
    Always(Vec<u8>),
}

/// What an HTTP/2 pod does with a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    Refuse,
    /// Resets it with INTERNAL_ERROR.
    Break,
    /// Never answers.
    Silent,
    /// Answers with what it got, and a trailer.
    Echo,
    /// Sends each piece back as it comes.
    Pieces,
    /// Answers with a body of this many bytes, having read nothing.
    Early(usize),
    /// Answers with a head that ends the stream, having read nothing.
    TrailersOnly,
    /// The same with so many cookies of so many bytes.
    Cookies(usize, usize),
}

pub(super) fn say(text: impl AsRef<[u8]>) -> Step {
    Step::Say(text.as_ref().to_vec())
}

/// What the pods of a row saw.
pub(super) struct Book {
    pub(super) seen: Mutex<Vec<Message>>,
    /// Connections, or streams of HTTP/2 pods, that are over.
    pub(super) left: AtomicUsize,
    pub(super) gate: Gate,
    /// A pod's writing came to a halt.
    pub(super) stalled: Gate,
}

impl Book {
    pub(super) fn new() -> Self {
        let left = AtomicUsize::new(0);
        Self { seen: Mutex::default(), left, gate: Gate::closed(), stalled: Gate::closed() }
    }

    fn note(&self, message: Message) {
        self.seen.lock().push(message);
    }
}

impl Pod {
    /// Follows these scripts, one per connection.
    pub(super) fn scripts<const N: usize>(scripts: [&[Step]; N]) -> Self {
        let scripts = scripts.iter().map(|steps| steps.to_vec()).collect();
        Self { place: Place::Ready, scripts: Scripts::Http1(scripts) }
    }

    /// Does this on every connection.
    pub(super) fn script(steps: &[Step]) -> Self {
        Self::scripts([steps])
    }

    pub(super) fn serving() -> Self {
        Self::script(&[Step::Serve])
    }

    /// Answers every request like this.
    pub(super) fn answering(answer: &str) -> Self {
        Self::script(&[Step::Always(answer.as_bytes().to_vec())])
    }

    pub(super) fn http2(streams: impl Into<Vec<Stream>>) -> Self {
        Self { place: Place::Ready, scripts: Scripts::Http2(streams.into()) }
    }

    pub(super) fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// Starts it.
    pub(super) fn start(&self, reserved: Reserved, book: &Arc<Book>) -> Backend {
        let book = Arc::clone(book);
        match self.scripts.clone() {
            Scripts::Http1(scripts) => Backend::start_at(reserved, move |mut wire, number| {
                let script = scripts[number.min(scripts.len() - 1)].clone();
                let book = Arc::clone(&book);
                async move {
                    for step in script {
                        if follow(&mut wire, step, &book).await.is_none() {
                            break;
                        }
                    }
                    drop(wire);
                    book.left.fetch_add(1, SeqCst);
                }
            }),
            Scripts::Http2(streams) => http2(reserved, streams, book),
        }
    }
}

/// `None` = the connection is over.
async fn follow(wire: &mut Wire, step: Step, book: &Book) -> Option<()> {
    match step {
        Step::Take => {
            let request = wire.request().await?;
            book.note(request);
        }
        Step::Head => {
            let head = wire.head().await.ok()?;
            book.note(head);
        }
        Step::Body => {
            let mut message = book.seen.lock().pop()?;
            let read = wire.body(&mut message).await;
            book.note(message);
            read.ok()?;
        }
        Step::Say(bytes) => wire.try_send(bytes).await.ok()?,
        Step::Flood(text) => while wire.try_send(text).await.is_ok() {},
        Step::Large(n) => large(wire, n, book).await?,
        Step::Sink(n) => sink(wire, n).await?,
        Step::Pass => book.gate.pass().await,
        Step::Echo => echo(wire).await?,
        Step::Drain => drop(wire.rest().await.ok()?),
        Step::Deaf => {
            within("the connection ends", closed(&wire.stream)).await.ok()?;
        }
        Step::Reset => {
            let linger = Some(std::time::Duration::ZERO);
            socket2::SockRef::from(&wire.stream).set_linger(linger).ok()?;
            return None;
        }
        Step::Serve => loop {
            let request = wire.request().await?;
            let answer = ok(request.target());
            book.note(request);
            wire.try_send(answer).await.ok()?;
        },
        Step::Always(answer) => loop {
            let request = wire.request().await?;
            book.note(request);
            wire.try_send(&answer).await.ok()?;
        },
    }
    Some(())
}

/// Answers with the pattern; notes when it is not taken any more.
async fn large(wire: &mut Wire, n: usize, book: &Book) -> Option<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n");
    wire.try_send(head).await.ok()?;
    let mut at = 0;
    while at < n {
        let piece = pattern(at, PIECE.min(n - at));
        match tokio::time::timeout(STALLED, wire.stream.write(&piece)).await {
            Ok(written) => at += written.ok().filter(|n| *n > 0)?,
            Err(_) => book.stalled.open(),
        }
    }
    Some(())
}

async fn sink(wire: &mut Wire, n: usize) -> Option<()> {
    for at in (0..n).step_by(PIECE) {
        let piece = PIECE.min(n - at);
        let got = wire.exactly(piece).await.ok()?;
        assert!(got == pattern(at, piece), "another body");
    }
    wire.try_send(ok(&n.to_string())).await.ok()
}

async fn echo(wire: &mut Wire) -> Option<()> {
    loop {
        let chunk = wire.chunk().await.ok()?;
        if chunk.is_empty() {
            break;
        }
        let size = format!("{:x}\r\n", chunk.len());
        wire.try_send([size.as_bytes(), &chunk, b"\r\n"].concat()).await.ok()?;
    }
    let mut end = b"0\r\n".to_vec();
    while !end.ends_with(b"\r\n\r\n") {
        end.extend(wire.through(b"\r\n").await.ok()?);
    }
    wire.try_send(end).await.ok()
}

fn http2(reserved: Reserved, scripts: Vec<Stream>, book: Arc<Book>) -> Backend {
    let number = Arc::new(AtomicUsize::new(0));
    Backend::start_at(reserved, move |wire, _| {
        let (scripts, book, number) = (scripts.clone(), Arc::clone(&book), Arc::clone(&number));
        async move {
            let Ok(mut connection) = h2::server::handshake(wire.stream).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                let script = scripts[number.fetch_add(1, SeqCst).min(scripts.len() - 1)];
                let book = Arc::clone(&book);
                tokio::spawn(async move {
                    stream(script, request, respond, &book).await;
                    book.left.fetch_add(1, SeqCst);
                });
            }
        }
    })
}

/// Serves one stream; `None` = it broke off.
async fn stream(
    script: Stream,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    book: &Book,
) -> Option<()> {
    let (parts, mut body) = request.into_parts();
    let fields = parts.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let line = format!("{} {} HTTP/2", parts.method, parts.uri.path());
    let seen = Message { line, fields: fields.collect(), ..Message::default() };
    if !matches!(script, Stream::Echo) {
        book.note(seen.clone());
    }
    match script {
        Stream::Refuse => respond.send_reset(Reason::REFUSED_STREAM),
        Stream::Break => respond.send_reset(Reason::INTERNAL_ERROR),
        Stream::Silent => {
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx));
            within("the stream is reset", reset).await.ok()?;
        }
        Stream::Echo => echo_whole(seen, body, respond, book).await?,
        Stream::Pieces => {
            let mut stream = respond.send_response(Response::new(()), false).ok()?;
            while let Some(data) = within("the request's body", body.data()).await {
                let data = data.ok()?;
                body.flow_control().release_capacity(data.len()).ok()?;
                stream.send_data(data, false).ok()?;
            }
            stream.send_data(Bytes::new(), true).ok()?;
        }
        Stream::Early(n) => {
            let mut stream = respond.send_response(Response::new(()), false).ok()?;
            stream.send_data(vec![b'x'; n].into(), true).ok()?;
            // The rest of the request is not wanted.
            drop(body);
        }
        Stream::Cookies(count, length) => {
            let mut head = Response::new(());
            for _ in 0..count {
                let value = HeaderValue::from_str(&"x".repeat(length)).ok()?;
                head.headers_mut().append("set-cookie", value);
            }
            respond.send_response(head, true).ok()?;
        }
        Stream::TrailersOnly => {
            let mut head = Response::new(());
            head.headers_mut().insert("grpc-status", HeaderValue::from_static("7"));
            respond.send_response(head, true).ok()?;
        }
    }
    Some(())
}

/// Answers with the body of the request, having read it to its end.
async fn echo_whole(
    mut seen: Message,
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    book: &Book,
) -> Option<()> {
    while let Some(data) = within("the request's body", body.data()).await {
        let data = data.ok()?;
        body.flow_control().release_capacity(data.len()).ok()?;
        seen.body.extend_from_slice(&data);
    }
    for (name, value) in &body.trailers().await.ok()?.unwrap_or_default() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        seen.trailers.push((name.as_str().to_owned(), value));
    }
    let got = seen.body.clone();
    book.note(seen);
    let mut stream = respond.send_response(Response::new(()), false).ok()?;
    stream.send_data(got.into(), false).ok()?;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checked", HeaderValue::from_static("5"));
    stream.send_trailers(trailers).ok()
}

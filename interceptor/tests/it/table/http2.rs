//! Clients that speak HTTP/2: a stream each, on one connection.

use std::{
    collections::BTreeMap,
    future::{Future as _, poll_fn},
    os::fd::OwnedFd,
    pin::Pin,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::task::JoinHandle;

use super::{
    pattern::pattern,
    row::{Body, Do, ENOUGH, Leave, Request, SIPS},
    shape::Pairs,
    transport::{self, Dial, Stream, Transport, reset_on_close},
};
use crate::support::{Message, Wire, within};

/// As for HTTP/1.1.
const STALLED: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(20);
const PIECE: usize = 16 << 10;
/// Window of a connection: no stream that is not read keeps the others' data away.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Every client of a row.
pub(super) struct Clients {
    dial: Dial,
    window: Option<u32>,
    connection: Option<Connection>,
    slots: BTreeMap<usize, Client>,
    /// A connection on which little is said.
    half: Option<Wire<Stream>>,
}

struct Connection {
    send: SendRequest<Bytes>,
    driving: JoinHandle<()>,
    socket: OwnedFd,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

struct Client {
    response: ResponseFuture,
    send: SendStream<Bytes>,
    /// Bytes of the body that were sent by `Fill` and `Upload`.
    sent: usize,
    head: Option<Message>,
    body: Option<RecvStream>,
    /// Read, and not looked at.
    read: Vec<u8>,
}

impl Clients {
    pub(super) fn new(dial: Dial, window: Option<u32>) -> Self {
        Self { dial, window, connection: None, slots: BTreeMap::new(), half: None }
    }

    /// The `n`th client does this.
    pub(super) async fn act(&mut self, n: usize, act: &Do) {
        match act {
            Do::Send(request) => {
                // The stream before it ends here, whatever of it is left.
                self.slots.remove(&n);
                let client = self.send(request).await;
                self.slots.insert(n, client);
            }
            Do::Half(text) => {
                if let Ok(stream) = self.dial.open().await {
                    let mut wire = Wire::new(stream);
                    let _ = wire.try_send(text).await;
                    self.half = Some(wire);
                }
            }
            Do::Closed => {
                if let Some(mut wire) = self.half.take() {
                    // Its settings and a GOAWAY may have come.
                    let _ = wire.rest().await;
                }
            }
            Do::Leave(Leave::Stream) => {
                let mut client = self.slots.remove(&n).unwrap();
                client.send.send_reset(Reason::CANCEL);
            }
            Do::Leave(how) => {
                let connection = self.connection.take().unwrap();
                if *how == Leave::Reset {
                    reset_on_close(&connection.socket);
                }
                self.slots.clear();
            }
            other => {
                let transport = self.dial.transport;
                self.slots.get_mut(&n).unwrap().go_on(other, transport).await;
            }
        }
    }

    async fn connect(&mut self) -> &mut Connection {
        if self.connection.is_none() {
            let stream = self.dial.open().await.unwrap();
            let socket = transport::socket(&stream);
            let mut builder = Builder::new();
            builder.initial_connection_window_size(CONNECTION_WINDOW);
            if let Some(window) = self.window {
                builder.initial_window_size(window);
            }
            let shaking = within("the HTTP/2 handshake", builder.handshake(stream));
            let (send, connection) = shaking.await.unwrap();
            let driving = tokio::spawn(async move {
                let _ = connection.await;
            });
            self.connection = Some(Connection { send, driving, socket });
        }
        self.connection.as_mut().unwrap()
    }

    async fn send(&mut self, request: &Request) -> Client {
        let connection = self.connect().await;
        let ready = within("a stream is free", connection.send.clone().ready());
        let uri = match request.method {
            "CONNECT" => request.target.clone(),
            _ => format!("http://{}{}", request.host, request.target),
        };
        let mut head = http::Request::builder().method(request.method).uri(uri).body(()).unwrap();
        *head.headers_mut() = map(&request.fields);
        let length = match &request.body {
            Body::Whole(whole) => Some(whole.len()),
            Body::Length(n) => Some(*n),
            Body::None | Body::Open => None,
        };
        if let Some(n) = length {
            head.headers_mut().insert("content-length", n.into());
        }
        let end = matches!(request.body, Body::None);
        let (response, mut send) = ready.await.unwrap().send_request(head, end).unwrap();
        if let Body::Whole(whole) = &request.body {
            send.send_data(whole.clone().into(), true).unwrap();
        }
        Client { response, send, sent: 0, head: None, body: None, read: Vec::new() }
    }
}

impl Client {
    async fn go_on(&mut self, act: &Do, over: Transport) {
        match act {
            // The answer may have come, and the stream gone, before the body was sent.
            Do::Data(bytes) => drop(self.send.send_data(bytes.clone().into(), false)),
            Do::End => drop(self.send.send_data(Bytes::new(), true)),
            Do::Trailers(fields) => drop(self.send.send_trailers(map(fields))),
            Do::Fill => self.fill().await,
            Do::Trickle => {
                while self.head.is_none() {
                    if self.send.send_data(Bytes::from_static(b"x"), false).is_err() {
                        return;
                    }
                    let _ = tokio::time::timeout(TICK, self.head()).await;
                }
            }
            Do::Upload(n) => self.upload(*n).await,
            Do::Interim(shape) => shape.check(&self.interim().await, over),
            Do::Interims => {}
            Do::Head(shape) => {
                self.head().await.unwrap();
                shape.check(self.head.as_ref().unwrap(), over);
            }
            Do::Part(bytes) => {
                while self.read.len() < bytes.len() {
                    assert!(self.more().await.unwrap(), "the answer ended");
                }
                let part: Vec<_> = self.read.drain(..bytes.len()).collect();
                assert_eq!(part, *bytes);
            }
            Do::Answer(shape) | Do::Rest(shape) => shape.check(&self.rest().await.unwrap(), over),
            Do::Cut => {
                let whole = self.rest().await;
                assert!(whole.is_err(), "not cut: {}", whole.unwrap().line);
            }
            Do::Sip => self.sip().await,
            _ => unreachable!("{act:?}"),
        }
    }

    /// The window has room for one byte.
    async fn sip(&mut self) {
        self.head().await.unwrap();
        for _ in 0..SIPS {
            match self.more().await {
                Ok(more) => assert!(more, "not cut"),
                Err(_) => return,
            }
            tokio::time::sleep(TICK).await;
        }
        panic!("not cut");
    }

    async fn fill(&mut self) {
        loop {
            self.send.reserve_capacity(PIECE);
            let granted = poll_fn(|cx| self.send.poll_capacity(cx));
            let Ok(Some(Ok(n))) = tokio::time::timeout(STALLED, granted).await else { return };
            let piece = pattern(self.sent, n.min(PIECE));
            self.sent += piece.len();
            assert!(self.sent < ENOUGH, "all of it was buffered somewhere");
            if self.send.send_data(piece.into(), false).is_err() {
                return;
            }
        }
    }

    async fn upload(&mut self, n: usize) {
        while self.sent < n {
            self.send.reserve_capacity(PIECE.min(n - self.sent));
            let next = poll_fn(|cx| {
                if let Poll::Ready(response) = Pin::new(&mut self.response).poll(cx) {
                    return Poll::Ready(Err(response));
                }
                self.send.poll_capacity(cx).map(Ok)
            });
            match within("a part of an upload", next).await {
                Ok(Some(Ok(room))) => {
                    let piece = pattern(self.sent, room.min(n - self.sent));
                    self.sent += piece.len();
                    let _ = self.send.send_data(piece.into(), self.sent == n);
                }
                Ok(_) => return,
                Err(response) => return self.take_head(response.unwrap()),
            }
        }
    }

    async fn interim(&mut self) -> Message {
        let coming = poll_fn(|cx| self.response.poll_informational(cx));
        let response = within("an interim response", coming).await;
        message(&response.expect("an interim response").unwrap())
    }

    async fn head(&mut self) -> Result<(), h2::Error> {
        if self.head.is_none() {
            let response = within("a response head", &mut self.response).await?;
            self.take_head(response);
        }
        Ok(())
    }

    fn take_head(&mut self, response: Response<RecvStream>) {
        self.head = Some(message(&response));
        self.body = Some(response.into_body());
    }

    /// Reads more of the body; `false` = it ended.
    async fn more(&mut self) -> Result<bool, h2::Error> {
        let body = self.body.as_mut().unwrap();
        match within("a part of the body", body.data()).await {
            Some(Ok(data)) => {
                body.flow_control().release_capacity(data.len())?;
                self.read.extend_from_slice(&data);
                Ok(true)
            }
            Some(Err(e)) if no_error(&e) => Ok(false),
            Some(Err(e)) => Err(e),
            None => Ok(false),
        }
    }

    async fn rest(&mut self) -> Result<Message, h2::Error> {
        self.head().await?;
        while self.more().await? {}
        let mut message = self.head.take().unwrap();
        message.body = std::mem::take(&mut self.read);
        let ending = self.body.as_mut().unwrap().trailers();
        match within("the end of the answer", ending).await {
            Ok(Some(trailers)) => message.trailers = pairs_of(&trailers),
            Ok(None) => {}
            Err(e) if no_error(&e) => {}
            Err(e) => return Err(e),
        }
        Ok(message)
    }
}

/// The answer is whole, and the rest of the request is not wanted (RFC 9113 section 8.1).
fn no_error(e: &h2::Error) -> bool {
    e.is_reset() && e.reason() == Some(Reason::NO_ERROR)
}

fn map(fields: &Pairs) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn pairs_of(map: &HeaderMap) -> Pairs {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn message<B>(response: &Response<B>) -> Message {
    let line = format!("HTTP/2 {}", response.status().as_u16());
    Message { line, fields: pairs_of(response.headers()), ..Message::default() }
}

//! Clients that speak HTTP/1.1: one connection each, opened anew once it was closed.

use std::{collections::BTreeMap, future::poll_fn, io, pin::Pin, task::Poll, time::Duration};

use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};

use super::{
    pattern::pattern,
    row::{Body, Do, ENOUGH, Leave, Request, SIPS},
    shape::Pairs,
    transport::{Dial, Stream, Transport, reset_on_close, socket, tcp},
};
use crate::support::{Message, Wire, closed, within};

/// A writer that moved nothing for this long is taken to be stalled. When it is only slow, the
/// row checks less, and does not fail.
const STALLED: Duration = Duration::from_millis(300);
/// Between two bytes of a client that trickles or sips.
const TICK: Duration = Duration::from_millis(20);
/// Interim responses that may be relayed for one request.
const MOST_INTERIM: usize = 16;
/// Bytes written at a time.
const PIECE: usize = 16 << 10;

/// Every client of a row.
pub(super) struct Clients {
    dial: Dial,
    slots: BTreeMap<usize, Client>,
}

struct Client {
    wire: Wire<Stream>,
    chunked: bool,
    to_head: bool,
    /// Bytes of the body that were sent by `Fill` and `Upload`.
    sent: usize,
    /// The head of an answer whose body is still to be read.
    head: Option<Message>,
    over: bool,
}

impl Clients {
    pub(super) fn new(dial: Dial) -> Self {
        Self { dial, slots: BTreeMap::new() }
    }

    /// The `n`th client does this.
    pub(super) async fn act(&mut self, n: usize, act: &Do) {
        match act {
            Do::Send(request) => {
                if self.slots.get(&n).is_none_or(|client| client.over) {
                    let client = Client::new(self.dial.open().await.unwrap());
                    self.slots.insert(n, client);
                }
                self.slots.get_mut(&n).unwrap().send(request).await;
            }
            Do::Half(text) => {
                // The clock may have run out while TLS was still shaking hands.
                if let Ok(stream) = self.dial.open().await {
                    let mut client = Client::new(stream);
                    let _ = client.wire.try_send(text).await;
                    self.slots.insert(n, client);
                }
            }
            Do::Closed => {
                if let Some(mut client) = self.slots.remove(&n) {
                    client.wire.closed().await;
                }
            }
            Do::Leave(how) => {
                let client = self.slots.remove(&n).unwrap();
                if *how == Leave::Reset {
                    reset_on_close(&socket(&client.wire.stream));
                }
            }
            other => {
                let transport = self.dial.transport;
                self.slots.get_mut(&n).unwrap().go_on(other, transport).await;
            }
        }
    }
}

impl Client {
    fn new(stream: Stream) -> Self {
        let wire = Wire::new(stream);
        Self { wire, chunked: false, to_head: false, sent: 0, head: None, over: false }
    }

    async fn send(&mut self, request: &Request) {
        let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        let mut line = |name: &str, value: &str| text += &format!("{name}: {value}\r\n");
        line("Host", &request.host);
        for (name, value) in &request.fields {
            line(name, value);
        }
        let mut body: &[u8] = &[];
        match &request.body {
            Body::None => {}
            Body::Whole(whole) => {
                line("Content-Length", &whole.len().to_string());
                body = whole;
            }
            Body::Length(n) => line("Content-Length", &n.to_string()),
            Body::Open => line("Transfer-Encoding", "chunked"),
        }
        self.chunked = matches!(request.body, Body::Open);
        self.to_head = request.method == "HEAD";
        self.sent = 0;
        self.wire.send([text.as_bytes(), b"\r\n", body].concat()).await;
    }

    async fn go_on(&mut self, act: &Do, over: Transport) {
        match act {
            // The answer may have come, and the connection gone, before the body was sent.
            Do::Data(bytes) if self.chunked => {
                let size = format!("{:x}\r\n", bytes.len());
                let _ = self.wire.try_send([size.as_bytes(), bytes, b"\r\n"].concat()).await;
            }
            Do::Data(bytes) => drop(self.wire.try_send(bytes).await),
            Do::End => self.end(&Pairs::new()).await,
            Do::Trailers(fields) => self.end(fields).await,
            Do::Fill => self.fill().await,
            Do::Trickle => self.trickle().await,
            Do::Upload(n) => self.upload(*n).await,
            Do::Interim(shape) => shape.check(&self.wire.head().await.unwrap(), over),
            Do::Interims => {
                for relayed in 0.. {
                    assert!(relayed <= MOST_INTERIM, "a flood of interim responses");
                    let head = self.wire.head().await.unwrap();
                    if head.status() >= 200 {
                        self.head = Some(head);
                        break;
                    }
                }
            }
            Do::Head(shape) => {
                self.head().await.unwrap();
                shape.check(self.head.as_ref().unwrap(), over);
            }
            Do::Part(bytes) => assert_eq!(self.part(bytes.len()).await.unwrap(), *bytes),
            Do::Answer(shape) | Do::Rest(shape) => {
                let message = self.rest().await.unwrap();
                self.over |= message.field("connection") == Some("close");
                shape.check(&message, over);
                self.go_to_end().await;
            }
            Do::Cut => self.cut().await,
            Do::Sip => {
                self.sip().await;
                self.cut().await;
            }
            _ => unreachable!("{act:?}"),
        }
    }

    /// A connection that was said to close does.
    async fn go_to_end(&mut self) {
        if self.over {
            self.wire.closed().await;
        }
    }

    async fn end(&mut self, trailers: &Pairs) {
        let mut text = "0\r\n".to_owned();
        for (name, value) in trailers {
            text += &format!("{name}: {value}\r\n");
        }
        if self.chunked {
            let _ = self.wire.try_send(text + "\r\n").await;
        }
    }

    async fn fill(&mut self) {
        loop {
            let piece = pattern(self.sent, PIECE);
            let writing = self.wire.stream.write(&piece);
            let Ok(Ok(n)) = tokio::time::timeout(STALLED, writing).await else { return };
            self.sent += n;
            assert!(self.sent < ENOUGH, "all of it was buffered somewhere");
        }
    }

    async fn trickle(&mut self) {
        while self.wire.buffer.is_empty() && self.wire.try_send("x").await.is_ok() {
            let mut room = [0; 512];
            let reading = self.wire.stream.read(&mut room);
            if let Ok(read) = tokio::time::timeout(TICK, reading).await {
                let n = read.unwrap();
                self.wire.buffer.extend_from_slice(&room[..n]);
            }
        }
    }

    /// Until the connection is closed, whatever of it is still unread.
    async fn sip(&mut self) {
        for _ in 0..SIPS {
            let mut room = [0; 1];
            let n = within("a byte", self.wire.stream.read(&mut room)).await.unwrap();
            self.wire.buffer.extend_from_slice(&room[..n]);
            if tokio::time::timeout(TICK, closed(tcp(&self.wire.stream))).await.is_ok() {
                return;
            }
        }
        panic!("not cut");
    }

    async fn cut(&mut self) {
        let whole = self.rest().await;
        assert!(whole.is_err(), "not cut: {}", whole.unwrap().line);
        self.over = true;
    }

    async fn upload(&mut self, n: usize) {
        let mut room = vec![0; PIECE];
        while self.sent < n {
            let bytes = pattern(self.sent, PIECE.min(n - self.sent));
            let next = poll_fn(|cx| {
                let stream = Pin::new(&mut self.wire.stream);
                let mut read = ReadBuf::new(&mut room);
                if let Poll::Ready(ended) = stream.poll_read(cx, &mut read) {
                    self.wire.buffer.extend_from_slice(read.filled());
                    return Poll::Ready(ended.map(|()| 0));
                }
                Pin::new(&mut self.wire.stream).poll_write(cx, &bytes)
            });
            match within("a part of an upload", next).await {
                Ok(written) if written > 0 => self.sent += written,
                _ => return,
            }
        }
        let _ = within("the end of an upload", self.wire.stream.flush()).await;
    }

    async fn head(&mut self) -> io::Result<()> {
        if self.head.is_none() {
            self.head = Some(self.wire.head().await?);
        }
        Ok(())
    }

    /// The next bytes of a body, whatever its framing cuts them into.
    async fn part(&mut self, n: usize) -> io::Result<Vec<u8>> {
        let head = self.head.as_ref().unwrap();
        if head.field("transfer-encoding") != Some("chunked") {
            return self.wire.exactly(n).await;
        }
        let mut part = Vec::new();
        while part.len() < n {
            part.extend(self.wire.chunk().await?);
        }
        Ok(part)
    }

    async fn rest(&mut self) -> io::Result<Message> {
        self.head().await?;
        let mut message = self.head.take().unwrap();
        let bodiless = self.to_head || matches!(message.status(), 204 | 304);
        if !bodiless {
            self.wire.body(&mut message).await?;
        }
        Ok(message)
    }
}

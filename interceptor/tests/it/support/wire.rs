//! One end of a connection, byte by byte: sends what it is told and reads whole HTTP/1 messages,
//! as strictly as the tests need to see what the data plane did.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::within;

/// A connection and what was read and not used yet.
pub(crate) struct Wire<S = TcpStream> {
    pub(crate) stream: S,
    pub(crate) buffer: Vec<u8>,
}

/// One message, read to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// Request or status line.
    pub(crate) line: String,
    /// Fields in order, names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    /// Value of a field, if it is there.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Status code of a response.
    pub(crate) fn status(&self) -> u16 {
        let code = self.line.split(' ').nth(1).and_then(|c| c.parse().ok());
        code.unwrap_or_else(|| panic!("not a status line: {}", self.line))
    }

    /// Target of a request.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// Body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Checks the JSON shape of the data plane's own answers, and its status and reason.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, reason: &str) {
        assert_eq!(self.status(), status, "{self:?}");
        assert_eq!(self.field("content-type"), Some("application/json"));
        let body: serde_json::Map<_, _> = serde_json::from_slice(&self.body).unwrap();
        let keys: Vec<_> = body.keys().map(String::as_str).collect();
        assert_eq!(keys, ["error", "reason", "requestId"]);
        assert_eq!(body["reason"], reason, "{body:?}");
        assert_eq!(
            body["requestId"].as_str(),
            self.field("x-request-id"),
            "the id in the body is the one in the head"
        );
        assert!(!body["error"].as_str().unwrap().is_empty());
    }
}

impl Wire {
    /// A new connection to `address`.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let connecting = within("connect", TcpStream::connect(address));
        let stream = connecting.await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }

    /// Closes it with a reset.
    pub(crate) fn reset(self) {
        let linger = Some(std::time::Duration::ZERO);
        socket2::SockRef::from(&self.stream).set_linger(linger).unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let sending = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        within("send", sending).await
    }

    /// Ends the sending side.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Sends a request without a body and reads its answer.
    pub(crate) async fn get(&mut self, host: &str, target: &str) -> Message {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.send(request).await;
        self.answer().await
    }

    /// Sends a POST with a body and reads its answer.
    pub(crate) async fn post(&mut self, host: &str, target: &str, body: &str) -> Message {
        let length = body.len();
        self.send(format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
        self.answer().await
    }

    /// Reads more. `false` = the other side is done.
    async fn fill(&mut self) -> io::Result<bool> {
        let mut room = vec![0; 64 << 10];
        let n = within("read", self.stream.read(&mut room)).await?;
        self.buffer.extend_from_slice(&room[..n]);
        Ok(n > 0)
    }

    async fn more(&mut self) -> io::Result<()> {
        let more = self.fill().await?;
        more.then_some(()).ok_or(io::ErrorKind::UnexpectedEof.into())
    }

    /// Exactly `n` bytes.
    pub(crate) async fn exactly(&mut self, n: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < n {
            self.more().await?;
        }
        Ok(self.buffer.drain(..n).collect())
    }

    /// Everything up to and including `end`.
    pub(crate) async fn through(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, end) {
                return Ok(self.buffer.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }

    /// Everything until the other side is done; a reset is an error.
    pub(crate) async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill().await? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Waits until the other side has closed, whichever way, having sent nothing more.
    pub(crate) async fn closed(&mut self) {
        let rest = self.rest().await.unwrap_or_default();
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }

    /// A head: line and fields.
    pub(crate) async fn head(&mut self) -> io::Result<Message> {
        let head = self.through(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(field).collect();
        Ok(Message { line, fields, ..Message::default() })
    }

    /// A whole request; `None` = the connection ended between two.
    pub(crate) async fn request(&mut self) -> Option<Message> {
        let mut message = self.head().await.ok()?;
        let framed = message.field("content-length").is_some()
            || message.field("transfer-encoding").is_some();
        if framed {
            self.body(&mut message).await.ok()?;
        }
        Some(message)
    }

    /// A whole final response to anything but HEAD.
    pub(crate) async fn answer(&mut self) -> Message {
        self.try_answer().await.unwrap()
    }

    /// A whole final response, or how it was cut.
    pub(crate) async fn try_answer(&mut self) -> io::Result<Message> {
        let mut message = self.head().await?;
        if message.status() >= 200 && !matches!(message.status(), 204 | 304) {
            self.body(&mut message).await?;
        }
        Ok(message)
    }

    /// The body that the head announces.
    pub(crate) async fn body(&mut self, message: &mut Message) -> io::Result<()> {
        if message.field("transfer-encoding") == Some("chunked") {
            loop {
                let chunk = self.chunk().await?;
                if chunk.is_empty() {
                    break;
                }
                message.body.extend(chunk);
            }
            loop {
                let line = self.through(b"\r\n").await?;
                if line == b"\r\n" {
                    return Ok(());
                }
                let line = String::from_utf8(line).unwrap();
                message.trailers.push(field(line.trim_end()));
            }
        }
        message.body = match message.field("content-length") {
            Some(length) => {
                let length = length.parse().unwrap();
                self.exactly(length).await?
            }
            None => self.rest().await?,
        };
        Ok(())
    }

    /// One chunk; empty = the last one, its trailers still to be read.
    pub(crate) async fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = String::from_utf8(self.through(b"\r\n").await?).unwrap();
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut chunk = self.exactly(size).await?;
        if size > 0 {
            assert_eq!(self.exactly(2).await?, b"\r\n");
            chunk.truncate(size);
        }
        Ok(chunk)
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap();
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

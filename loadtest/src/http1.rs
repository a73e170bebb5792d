//! A client of one HTTP/1.1 connection that shows its socket: scenarios need to leave in the middle
//! of things, which a library rightly makes hard.
//!
//! Only `Content-Length` framing is understood; nothing in a scenario answers otherwise.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::serve::function::ID;

/// More than any answer here has.
const MAX_HEADERS: usize = 48;
/// Longest answer that is read whole.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Nothing on this machine takes longer to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// The connection ends with it.
    pub(crate) close: bool,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.send(request).await?;
        self.answer().await
    }

    /// Resolves when the first byte of an answer is there.
    pub(crate) async fn first_byte(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(())
    }

    /// Reads one answer.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((answer, length)) = parse(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(answer);
            }
            if self.buffer.len() > MAX_ANSWER_BYTES {
                return Err(io::Error::other("the answer is too long"));
            }
            self.fill().await?;
        }
    }

    /// Reads exactly these bytes, after an upgrade.
    pub(crate) async fn expect(&mut self, bytes: &[u8]) -> io::Result<()> {
        while self.buffer.len() < bytes.len() {
            self.fill().await?;
        }
        let got: Vec<u8> = self.buffer.drain(..bytes.len()).collect();
        if got == bytes { Ok(()) } else { Err(io::Error::other("other bytes came back")) }
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The first answer in `bytes` and its length; `None` when it is not complete.
fn parse(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or_default();
    let mut length = (status == 101 || status == 204).then_some(0);
    let mut close = false;
    for header in response.headers {
        let value = std::str::from_utf8(header.value).unwrap_or_default();
        if header.name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok();
        } else if header.name.eq_ignore_ascii_case("connection") {
            close = value.eq_ignore_ascii_case("close");
        }
    }
    let length = length.ok_or_else(|| io::Error::other("an answer without content-length"))?;
    let Some(body) = bytes.get(head..head + length) else { return Ok(None) };
    Ok(Some((Answer { status, body: body.to_vec(), close }, head + length)))
}

pub(crate) fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\n\r\n").into_bytes()
}

/// A small `POST` with an id.
pub(crate) fn post(host: &str, id: &str) -> Vec<u8> {
    let length = id.len();
    format!("POST / HTTP/1.1\r\nhost: {host}\r\n{ID}: {id}\r\ncontent-length: {length}\r\n\r\n{id}")
        .into_bytes()
}

/// What a browser sends to open a WebSocket.
pub(crate) fn websocket(host: &str) -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn answers() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nokHTTP";
        let (answer, length) = parse(text).unwrap().unwrap();
        assert_eq!(answer, Answer { status: 200, body: b"ok".to_vec(), close: true });
        assert_eq!(length, text.len() - 4);
        assert!(parse(&text[..length - 1]).unwrap().is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}

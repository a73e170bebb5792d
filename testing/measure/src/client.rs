//! A client of one HTTP/1.1 connection that shows its socket: scenarios need to leave in the middle
//! of things, which a library rightly makes hard.
//!
//! Only `Content-Length` framing is understood; nothing in a scenario answers otherwise.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::http1;

/// Longest answer that is read whole.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Nothing on this machine takes longer to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// Its socket, to be read, kept or dropped at any moment.
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// The connection ends with it.
    pub close: bool,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the connection fails or ends, or the answer is malformed.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.send(request).await?;
        self.answer().await
    }

    /// Resolves when the first byte of an answer is there.
    ///
    /// # Errors
    /// When the connection fails or ends, or the answer is malformed.
    pub async fn first_byte(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(())
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// When the connection fails or ends, or the answer is malformed.
    pub async fn answer(&mut self) -> io::Result<Answer> {
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
    ///
    /// # Errors
    /// When the connection fails or ends, or the answer is malformed.
    pub async fn expect(&mut self, bytes: &[u8]) -> io::Result<()> {
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
    let Some(head) = http1::response_head(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let end = head.head_bytes + head.body_bytes;
    let Some(body) = bytes.get(head.head_bytes..end) else { return Ok(None) };
    let answer = Answer { status: head.status, body: body.to_vec(), close: head.close };
    Ok(Some((answer, end)))
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

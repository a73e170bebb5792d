//! One connection of the load generator: at most one request is under way on it.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::http1::{self, FramingError, Head};

/// Room for a response head, with part of the body; the rest of a body is skipped.
const BUFFER_BYTES: usize = 16 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    request: Vec<u8>,
    /// When the request under way was due or sent.
    started: Option<u64>,
    buffer: Box<[u8; BUFFER_BYTES]>,
    filled: usize,
    /// The head of the answer, once it was read, with the body bytes still to come.
    answer: Option<(Head, usize)>,
}

/// What reading from a connection led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The answer is not complete.
    Partial,
    /// The request that started then was answered with this status.
    Answered { started: u64, status: u16, close: bool },
    /// The other side closed between requests.
    ClosedIdle,
}

/// Why a request failed, together with its connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("connection")]
    Closed(#[from] io::Error),
    #[error("answer")]
    Framing(#[from] FramingError),
}

impl Connection {
    pub(super) fn open(addr: SocketAddr, request: Vec<u8>) -> io::Result<Self> {
        Ok(Self {
            stream: connect(addr)?,
            request,
            started: None,
            buffer: Box::new([0; BUFFER_BYTES]),
            filled: 0,
            answer: None,
        })
    }

    /// Replaces a connection that ended; what was under way on it is forgotten.
    pub(super) fn reopen(&mut self, addr: SocketAddr) -> io::Result<()> {
        self.stream = connect(addr)?;
        self.started = None;
        self.filled = 0;
        self.answer = None;
        Ok(())
    }

    /// Sends the request, to be accounted from `start`. It fits the empty socket buffer.
    pub(super) fn send(&mut self, start: u64) -> Result<(), Failure> {
        self.started = Some(start);
        Ok(self.stream.write_all(&self.request)?)
    }

    /// When the request under way was due or sent.
    pub(super) fn started(&self) -> Option<u64> {
        self.started
    }

    /// Reads once.
    pub(super) fn receive(&mut self) -> Result<Progress, Failure> {
        let read = match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) if self.started.is_none() => return Ok(Progress::ClosedIdle),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Progress::Partial);
            }
            // A reset between requests costs no request either.
            Err(_) if self.started.is_none() => return Ok(Progress::ClosedIdle),
            Err(error) => return Err(error.into()),
        };
        let Some(started) = self.started else {
            // An answer nobody asked for would be taken for the next one's.
            return Err(FramingError::Malformed.into());
        };
        let (head, body_left) = match self.answer {
            Some((head, left)) => (head, left.checked_sub(read)),
            None => {
                self.filled += read;
                let Some(head) = http1::response_head(&self.buffer[..self.filled])? else {
                    return Ok(Progress::Partial);
                };
                (head, (head.head_bytes + head.body_bytes).checked_sub(self.filled))
            }
        };
        // What follows the head is skipped into the buffer's start.
        self.filled = 0;
        match body_left {
            None => Err(FramingError::Malformed.into()),
            Some(0) => {
                self.answer = None;
                self.started = None;
                Ok(Progress::Answered { started, status: head.status, close: head.close })
            }
            Some(left) => {
                self.answer = Some((head, left));
                Ok(Progress::Partial)
            }
        }
    }
}

fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let connection = Connection::open(addr, b"GET / HTTP/1.1\r\n\r\n".to_vec()).unwrap();
        // Blocking reads make the test deterministic: each returns what was written before.
        connection.stream.set_nonblocking(false).unwrap();
        (connection, listener.accept().unwrap().0)
    }

    #[test]
    fn an_answer_in_pieces_is_one_answer() {
        let (mut connection, mut peer) = pair();
        connection.send(7).unwrap();
        let pieces: [&[u8]; 3] = [b"HTTP/1.1 200 OK\r\ncontent-le", b"ngth: 5\r\n\r\nhe", b"llo"];
        for piece in &pieces[..2] {
            peer.write_all(piece).unwrap();
            assert_eq!(connection.receive().unwrap(), Progress::Partial);
        }
        peer.write_all(pieces[2]).unwrap();
        let answered = Progress::Answered { started: 7, status: 200, close: false };
        assert_eq!(connection.receive().unwrap(), answered);
        drop(peer);
        assert_eq!(connection.receive().unwrap(), Progress::ClosedIdle);
    }

    #[test]
    fn bytes_beyond_the_answer_and_early_ends_are_failures() {
        let (mut connection, mut peer) = pair();
        connection.send(0).unwrap();
        peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxy").unwrap();
        assert!(matches!(connection.receive(), Err(Failure::Framing(_))));

        let (mut connection, peer) = pair();
        connection.send(0).unwrap();
        // Shutting down only the sending side leaves no unread data, so this is a clean FIN.
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(connection.receive(), Err(Failure::Closed(_))));

        let (mut connection, mut peer) = pair();
        peer.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        assert!(matches!(connection.receive(), Err(Failure::Framing(_))));
    }
}

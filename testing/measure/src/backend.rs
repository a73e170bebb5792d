//! The backend behind every proxy of a run: HTTP/1.1 keep-alive with one canned answer.
//!
//! It must be much cheaper than any proxy, so that the proxy is what saturates. One thread per
//! worker, each with its own epoll and its own `SO_REUSEPORT` listener, no allocation per request.
//! Bodies of requests are read only to be skipped. `GET /bulk/<bytes>` is answered with so many bytes;
//! no other path is looked at.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{epoll::Epoll, http1};

/// Connections per worker; further ones are closed at once.
const MAX_CONNECTIONS: usize = 4096;
/// Room for a request head. A head that does not fit closes the connection.
const BUFFER_BYTES: usize = 16 * 1024;
/// What is read at once of a large body, and written at once of a large answer.
const BULK_BYTES: usize = 256 * 1024;
/// The path that is answered with a stated number of bytes.
pub const BULK_PATH: &str = "/bulk/";
const LISTEN_BACKLOG: i32 = 4096;
/// The listener's token; connections use their slot, which is always smaller.
const LISTENER: u32 = u32::MAX;

/// Options of the backend.
#[derive(Clone, Debug, clap::Args)]
pub struct BackendArgs {
    /// Where to listen; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Threads, each with a listener of its own
    #[arg(long, default_value = "1")]
    pub workers: NonZeroUsize,
    /// Bytes of body in every answer
    #[arg(long, default_value = "64", value_parser = clap::value_parser!(u32).range(0..=65_536))]
    pub body_bytes: u32,
    /// Time to think before every answer
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub delay: Duration,
}

/// As the first process of a container it would otherwise ignore the signals that end others.
fn end_on_signal() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shutdown = runtime.block_on(async { kipper_process::signals::shutdown_token() })?;
    std::thread::spawn(move || {
        runtime.block_on(shutdown.cancelled());
        std::process::exit(0);
    });
    Ok(())
}

/// Prints `listening <address>` on stdout and serves until SIGTERM, SIGINT or worse. Open
/// connections are cut: nothing here is worth a drain.
///
/// # Errors
/// When the address cannot be bound or epoll fails.
pub fn run(args: &BackendArgs) -> Result<(), anyhow::Error> {
    let first = listen(args.listen).with_context(|| format!("bind {}", args.listen))?;
    let addr = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..args.workers.get() {
        listeners.push(listen(addr).with_context(|| format!("bind {addr}"))?);
    }
    end_on_signal()?;
    println!("listening {addr}");
    let answer = answer(args.body_bytes as usize);
    std::thread::scope(|scope| {
        let workers: Vec<_> = listeners
            .into_iter()
            .map(|listener| scope.spawn(|| Worker::new(listener, &answer, args.delay)?.run()))
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(result) => result.context("serve")?,
                Err(_) => anyhow::bail!("a worker panicked"),
            }
        }
        Ok(())
    })
}

/// A listener that shares its port with others of this kind; the kernel spreads connections.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The headers a small JSON service sends, and its body.
fn answer(body_bytes: usize) -> Vec<u8> {
    let mut answer = head(body_bytes);
    answer.resize(answer.len() + body_bytes, b'x');
    answer
}

fn head(body_bytes: usize) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\n\
         content-type: application/json; charset=utf-8\r\n\
         content-length: {body_bytes}\r\n\
         cache-control: no-cache\r\n\
         etag: W/\"40-q1w2e3r4t5y6u7i8o9p0\"\r\n\
         date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         \r\n"
    )
    .into_bytes()
}

struct Connection {
    stream: TcpStream,
    buffer: Box<[u8; BUFFER_BYTES]>,
    filled: usize,
    /// Body bytes still to come of the request whose head was read; `None` between requests.
    body_left: Option<usize>,
    /// Size of the large answer that the last request asks for.
    bulk: Option<usize>,
    /// Bytes of a large answer that are still to be written.
    unsent: usize,
    /// The client wants no further answer on this connection.
    closes: bool,
    /// Tells a delayed answer whether this is still the connection it was meant for.
    generation: u64,
}

struct Delayed {
    due: Instant,
    slot: u32,
    generation: u64,
}

struct Worker<'a> {
    listener: TcpListener,
    answer: &'a [u8],
    delay: Duration,
    epoll: Epoll,
    /// Indexed by token.
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    /// In order of `due`, because every delay is the same. At most one per connection, as a
    /// client waits for its answer before it asks again.
    delayed: VecDeque<Delayed>,
    generation: u64,
    bulk: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(listener: TcpListener, answer: &'a [u8], delay: Duration) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&listener, LISTENER)?;
        Ok(Self {
            listener,
            answer,
            delay,
            epoll,
            connections: Vec::new(),
            free: Vec::new(),
            delayed: VecDeque::new(),
            generation: 0,
            bulk: vec![b'x'; BULK_BYTES],
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        loop {
            let next = self.delayed.front().map(|delayed| delayed.due);
            let timeout = next.map(|due| due.saturating_duration_since(Instant::now()));
            self.epoll.wait(timeout, &mut ready)?;
            for &token in &ready {
                if token == LISTENER {
                    self.accept()?;
                } else if self.receive(token).is_err() {
                    self.close(token);
                }
            }
            self.answer_delayed();
        }
    }

    /// Takes one connection; epoll reports the listener again while more wait.
    fn accept(&mut self) -> io::Result<()> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            // The connection was gone before it was taken.
            Err(_) => return Ok(()),
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.connections.len() == MAX_CONNECTIONS => return Ok(()),
            None => {
                self.connections.push(None);
                u32::try_from(self.connections.len() - 1).map_err(io::Error::other)?
            }
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.epoll.add(&stream, slot)?;
        self.generation += 1;
        self.connections[slot as usize] = Some(Connection {
            stream,
            buffer: Box::new([0; BUFFER_BYTES]),
            filled: 0,
            body_left: None,
            bulk: None,
            unsent: 0,
            closes: false,
            generation: self.generation,
        });
        Ok(())
    }

    fn close(&mut self, slot: u32) {
        if self.connections[slot as usize].take().is_some() {
            self.free.push(slot);
        }
    }

    /// Goes on with a connection that is ready: writes what is left of a large answer, or reads once
    /// and answers every request that is complete. An error closes the connection, and so does the
    /// end of an answer after which the client wants no other.
    fn receive(&mut self, slot: u32) -> io::Result<()> {
        let Some(connection) = self.connections[slot as usize].as_mut() else {
            return Ok(());
        };
        if connection.unsent > 0 {
            if connection.send_bulk(&self.bulk)? {
                self.epoll.turn(&connection.stream, slot, false)?;
                return connection.end();
            }
            return Ok(());
        }
        let complete = connection.receive(&mut self.bulk)?;
        if let Some(bytes) = connection.bulk.take_if(|bytes| complete > 0 && *bytes > 0) {
            connection.send(&head(bytes))?;
            connection.unsent = bytes;
            return self.epoll.turn(&connection.stream, slot, true);
        }
        for _ in 0..complete {
            if self.delay.is_zero() {
                connection.send(self.answer)?;
            } else {
                let due = Instant::now() + self.delay;
                self.delayed.push_back(Delayed { due, slot, generation: connection.generation });
            }
        }
        if complete > 0 && self.delay.is_zero() { connection.end() } else { Ok(()) }
    }

    fn answer_delayed(&mut self) {
        let now = Instant::now();
        while let Some(delayed) = self.delayed.pop_front_if(|delayed| delayed.due <= now) {
            let slot = &mut self.connections[delayed.slot as usize];
            let Some(connection) = slot else { continue };
            if connection.generation != delayed.generation {
                continue;
            }
            if connection.send(self.answer).and_then(|()| connection.end()).is_err() {
                self.close(delayed.slot);
            }
        }
    }
}

impl Connection {
    /// Reads once; returns how many requests are complete now. `bulk` is room for a large body.
    fn receive(&mut self, bulk: &mut [u8]) -> io::Result<usize> {
        let skips = self.filled == 0 && self.body_left.is_some_and(|left| left > BUFFER_BYTES);
        let read = if skips {
            let left = self.body_left.unwrap_or_default().min(bulk.len());
            self.stream.read(&mut bulk[..left])
        } else {
            self.stream.read(&mut self.buffer[self.filled..])
        };
        let read = match read {
            // End of stream, or a head that does not fit.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        if skips {
            // At least one byte is left: more of the body is there than fits the buffer.
            self.body_left = self.body_left.map(|left| left - read);
            return Ok(usize::from(self.body_left.take_if(|left| *left == 0).is_some()));
        }
        self.filled += read;
        let (mut at, mut complete) = (0, 0);
        loop {
            if let Some(body_left) = self.body_left {
                let skipped = body_left.min(self.filled - at);
                at += skipped;
                if skipped < body_left {
                    self.body_left = Some(body_left - skipped);
                    break;
                }
                self.body_left = None;
                complete += 1;
            }
            match http1::request_head(&self.buffer[at..self.filled]) {
                Ok(Some(head)) => {
                    self.bulk = bulk_bytes(&self.buffer[at..self.filled]);
                    self.closes = head.close;
                    at += head.head_bytes;
                    self.body_left = Some(head.body_bytes);
                }
                Ok(None) => break,
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(complete)
    }

    /// Writes one answer. It fits the empty socket buffer of a client that waits for it; a client
    /// that does not read is closed.
    fn send(&mut self, answer: &[u8]) -> io::Result<()> {
        self.stream.write_all(answer)
    }

    /// Writes of a large answer what the socket takes at once; whether it is complete.
    fn send_bulk(&mut self, bulk: &[u8]) -> io::Result<bool> {
        match self.stream.write(&bulk[..self.unsent.min(bulk.len())]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => self.unsent -= written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(self.unsent == 0)
    }

    /// An error, which closes the connection, when the client wants no other answer on it.
    fn end(&self) -> io::Result<()> {
        if self.closes { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

/// How many bytes a request asks for by its path.
fn bulk_bytes(request: &[u8]) -> Option<usize> {
    let path = request.strip_prefix(b"GET ")?.strip_prefix(BULK_PATH.as_bytes())?;
    let digits = path.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

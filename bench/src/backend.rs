//! The backend behind every proxy of a run: HTTP/1.1 keep-alive with one canned answer.
//!
//! It must be much cheaper than any proxy, so that the proxy is what saturates. One thread per
//! worker, each with its own epoll and its own `SO_REUSEPORT` listener, no allocation per request.
//! It does not look at the path and reads bodies only to skip them.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{http1, poller::Poller};

/// Connections per worker; further ones are closed at once.
const MAX_CONNECTIONS: usize = 4096;
/// Room for a request head. A head that does not fit closes the connection.
const BUFFER_BYTES: usize = 16 * 1024;
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
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The headers a small JSON service sends.
fn answer(body_bytes: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\n\
         content-type: application/json; charset=utf-8\r\n\
         content-length: {body_bytes}\r\n\
         cache-control: no-cache\r\n\
         etag: W/\"40-q1w2e3r4t5y6u7i8o9p0\"\r\n\
         date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         \r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + body_bytes, b'x');
    answer
}

struct Connection {
    stream: TcpStream,
    buffer: Box<[u8; BUFFER_BYTES]>,
    filled: usize,
    /// Body bytes still to come of the request whose head was read; `None` between requests.
    body_left: Option<usize>,
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
    poller: Poller,
    /// Indexed by token.
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    /// In order of `due`, because every delay is the same. At most one per connection, as a
    /// client waits for its answer before it asks again.
    delayed: VecDeque<Delayed>,
    generation: u64,
}

impl<'a> Worker<'a> {
    fn new(listener: TcpListener, answer: &'a [u8], delay: Duration) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER)?;
        Ok(Self {
            listener,
            answer,
            delay,
            poller,
            connections: Vec::new(),
            free: Vec::new(),
            delayed: VecDeque::new(),
            generation: 0,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        loop {
            let next = self.delayed.front().map(|delayed| delayed.due);
            let timeout = next.map(|due| due.saturating_duration_since(Instant::now()));
            self.poller.wait(timeout, &mut ready)?;
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
        self.poller.add(&stream, slot)?;
        self.generation += 1;
        self.connections[slot as usize] = Some(Connection {
            stream,
            buffer: Box::new([0; BUFFER_BYTES]),
            filled: 0,
            body_left: None,
            generation: self.generation,
        });
        Ok(())
    }

    fn close(&mut self, slot: u32) {
        if self.connections[slot as usize].take().is_some() {
            self.free.push(slot);
        }
    }

    /// Reads once and answers every request that is complete. An error closes the connection.
    fn receive(&mut self, slot: u32) -> io::Result<()> {
        let Some(connection) = self.connections[slot as usize].as_mut() else {
            return Ok(());
        };
        let complete = connection.receive()?;
        for _ in 0..complete {
            if self.delay.is_zero() {
                connection.send(self.answer)?;
            } else {
                let due = Instant::now() + self.delay;
                self.delayed.push_back(Delayed { due, slot, generation: connection.generation });
            }
        }
        Ok(())
    }

    fn answer_delayed(&mut self) {
        let now = Instant::now();
        while let Some(delayed) = self.delayed.pop_front_if(|delayed| delayed.due <= now) {
            let slot = &mut self.connections[delayed.slot as usize];
            let Some(connection) = slot else { continue };
            if connection.generation == delayed.generation && connection.send(self.answer).is_err()
            {
                self.close(delayed.slot);
            }
        }
    }
}

impl Connection {
    /// Reads once; returns how many requests are complete now.
    fn receive(&mut self) -> io::Result<usize> {
        let read = match self.stream.read(&mut self.buffer[self.filled..]) {
            // End of stream, or a head that does not fit.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
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
}

//! A function whose every byte is written by the test.

use std::{future::Future, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::super::{Target, TargetConfig};

/// Far beyond what anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the poller's side and the function's side of one exchange to their ends.
pub(super) async fn both<A, B>(
    poller: impl Future<Output = A>,
    function: impl Future<Output = B>,
) -> (A, B) {
    within(async { tokio::join!(poller, function) }).await
}

/// Runs what must come to its end.
pub(super) async fn within<A>(work: impl Future<Output = A>) -> A {
    tokio::time::timeout(PATIENCE, work).await.expect("an exchange hangs")
}

pub(super) struct Function {
    listener: TcpListener,
}

impl Function {
    pub(super) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(super) fn config_at(address: SocketAddr) -> TargetConfig {
        let url = format!("http://{address}/event").parse().unwrap();
        // No machine is so slow that a healthy exchange reaches these.
        let (deliver_timeout, connect_timeout) = (PATIENCE * 2, PATIENCE * 2);
        TargetConfig { url, deliver_timeout, connect_timeout, ..TargetConfig::default() }
    }

    pub(super) fn config(&self) -> TargetConfig {
        Self::config_at(self.address())
    }

    pub(super) fn target_at(address: SocketAddr) -> Target {
        Target::new(Self::config_at(address))
    }

    pub(super) fn target(&self) -> Target {
        Target::new(self.config())
    }

    pub(super) async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        Peer { stream, input: Vec::new() }
    }
}

/// The function's end of one connection. Dropping it closes the connection.
pub(super) struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
}

pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| *field == name).map(|(_, value)| value)
    }
}

impl Peer {
    /// The next request, with its whole body.
    pub(super) async fn request(&mut self) -> Seen {
        let end = loop {
            if let Some(end) = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            assert!(self.read().await, "the connection ended without a request");
        };
        let head = String::from_utf8(self.input.drain(..end + 4).collect()).unwrap();
        let mut seen = Seen { head: head.trim_end().to_owned(), body: Vec::new() };
        let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.input.len() < length {
            assert!(self.read().await, "the connection ended in a body");
        }
        seen.body = self.input.drain(..length).collect();
        seen
    }

    /// The first bytes of a request.
    pub(super) async fn begin(&mut self) {
        assert!(self.read().await, "the connection ended without a request");
    }

    async fn read(&mut self) -> bool {
        self.stream.read_buf(&mut self.input).await.unwrap() > 0
    }

    pub(super) async fn write(&mut self, answer: &str) {
        self.stream.write_all(answer.as_bytes()).await.unwrap();
    }

    /// Reads on until the poller closes the connection, be it with a reset.
    pub(super) async fn hung_up(mut self) {
        let mut waste = vec![0; 64 << 10];
        while matches!(self.stream.read(&mut waste).await, Ok(1..)) {}
    }

    /// Ends the connection with a reset.
    pub(super) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

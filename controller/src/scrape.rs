//! Metrics of other processes of ours, as their admin ports have them.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// Longest time of an answer, and its largest size.
const TIMEOUT: Duration = Duration::from_secs(2);
const MAX_BYTES: usize = 256 << 10;

/// What one process says of itself.
pub(crate) struct Metrics(String);

impl Metrics {
    /// Asks for them; `None` where there is no answer.
    pub(crate) async fn of(address: SocketAddr) -> Option<Self> {
        let asked = timeout(TIMEOUT, async {
            let stream = TcpStream::connect(address).await.ok()?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
            let request = Request::get("/metrics").header(HOST, address.to_string());
            let request = request.body(Empty::<Bytes>::new()).ok()?;
            let answer = async {
                let answer = sender.send_request(request).await.ok()?;
                Limited::new(answer.into_body(), MAX_BYTES).collect().await.ok()
            };
            tokio::select! {
                answer = answer => answer,
                _ = connection => None,
            }
        });
        let body = asked.await.ok()??.to_bytes();
        Some(Self(std::str::from_utf8(&body).ok()?.to_owned()))
    }

    /// The value of a metric without labels.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let mut values =
            self.0.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.next().and_then(|value| value.trim().parse().ok())
    }
}

#[cfg(test)]
impl From<&str> for Metrics {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

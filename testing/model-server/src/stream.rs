//! The open body of an answer, of which the test sends every byte.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Generous: reached only when something is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(600);

pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// The open body of an answer. Dropped, it breaks off.
pub struct Stream(pub(crate) Box<dyn Socket>);

impl Stream {
    /// Sends a part; `false` when the client is gone.
    pub async fn send(&mut self, part: impl AsRef<[u8]>) -> bool {
        let part = part.as_ref();
        // A chunk without bytes is the end of the body.
        if part.is_empty() {
            return true;
        }
        let head = format!("{:x}\r\n", part.len());
        let chunk = [head.as_bytes(), part, b"\r\n"].concat();
        self.0.write_all(&chunk).await.is_ok() && self.0.flush().await.is_ok()
    }

    /// Ends the body in good order.
    pub async fn end(mut self) {
        let _ = self.0.write_all(b"0\r\n\r\n").await;
        let _ = self.0.shutdown().await;
    }

    /// Returns when the client has closed its connection.
    pub async fn closed(mut self) {
        let mut buffer = [0; 1024];
        let gone =
            async { while matches!(self.0.read(&mut buffer).await, Ok(read) if read > 0) {} };
        tokio::time::timeout(DEADLINE, gone).await.expect("the client closes");
    }
}

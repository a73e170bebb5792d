//! What most people would write: SELECT one row, POST it, UPDATE it, and again.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use anyhow::Context as _;
use kipper_measure::http1;
use tokio_postgres::Client;

use super::bed::Bed;

/// Room for an answer of the handler.
const BUFFER_BYTES: usize = 16 * 1024;

/// Handles so many rows, one at a time. Returns rows per second.
pub(super) async fn consume(bed: &Bed, client: &Client) -> Result<f64, anyhow::Error> {
    let next = client
        .prepare(
            "SELECT id, row_to_json(o)::text FROM orders o WHERE status = 'pending' \
             ORDER BY id LIMIT 1",
        )
        .await?;
    let mark = client.prepare("UPDATE orders SET status = 'done' WHERE id = $1").await?;
    let mut handler = Handler::connect(bed.handler.addr)?;
    let begin = Instant::now();
    for _ in 0..bed.size.consumed {
        bed.budget.check()?;
        let row = client.query_one(&next, &[]).await?;
        handler.post(row.get::<_, &str>(1).as_bytes())?;
        client.execute(&mark, &[&row.get::<_, i64>(0)]).await?;
    }
    Ok(bed.size.consumed as f64 / begin.elapsed().as_secs_f64())
}

/// One kept connection to the handler.
struct Handler {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Handler {
    fn connect(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(BUFFER_BYTES) })
    }

    fn post(&mut self, body: &[u8]) -> Result<(), anyhow::Error> {
        let mut request = format!(
            "POST /event HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request)?;
        self.buffer.clear();
        loop {
            let filled = self.buffer.len();
            self.buffer.resize(BUFFER_BYTES, 0);
            let read = self.stream.read(&mut self.buffer[filled..])?;
            anyhow::ensure!(read > 0, "the handler closed");
            self.buffer.truncate(filled + read);
            let head = http1::response_head(&self.buffer).context("the handler's answer")?;
            if head.is_some_and(|head| self.buffer.len() >= head.head_bytes + head.body_bytes) {
                return Ok(());
            }
        }
    }
}

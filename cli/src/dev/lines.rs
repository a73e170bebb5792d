//! What a child process writes, line by line.

use std::collections::VecDeque;

use kipper_client::logs::Cutter;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Longest line that is kept together, in bytes.
const MAX_LINE: usize = 16 << 10;
/// Bytes read at once.
const CHUNK: usize = 8 << 10;

/// Lines from a pipe. A line beyond the bound is cut into several.
pub(crate) struct Lines<R> {
    from: R,
    cutter: Cutter,
    chunk: Vec<u8>,
    ready: VecDeque<String>,
    is_at_end: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(from: R) -> Self {
        Self {
            from,
            cutter: Cutter::new(MAX_LINE),
            chunk: vec![0; CHUNK],
            ready: VecDeque::new(),
            is_at_end: false,
        }
    }

    /// The next line; `None` once the other end is closed. Nothing is lost when the future is
    /// dropped.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.is_at_end {
                return None;
            }
            // An error is as good as an end: there is nothing more to read.
            match self.from.read(&mut self.chunk).await.unwrap_or(0) {
                0 => {
                    self.is_at_end = true;
                    self.ready.extend(self.cutter.finish());
                }
                read => self.ready.extend(self.cutter.push(&self.chunk[..read])),
            }
        }
    }
}

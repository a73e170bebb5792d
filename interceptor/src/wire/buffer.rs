//! Bytes read and not consumed yet, kept only as long as there are any.
//!
//! Sockets are read through one scratch buffer per thread; what is left over is copied into a
//! vector of exactly that size. So an idle or held connection owns no read buffer at all.

use std::{cell::RefCell, io, task::Poll};

use tokio::io::ReadBuf;

/// Bytes read from one side of an exchange and not yet written to the other.
pub(crate) const HIGH_WATER: usize = 64 << 10;
/// One read takes at most this much.
pub(crate) const READ_SIZE: usize = 64 << 10;
/// An empty buffer keeps its allocation up to this size.
const KEEP: usize = 1 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

/// A queue of bytes: appended at the end, consumed from the front.
#[derive(Clone, Default)]
pub(crate) struct Buffer {
    data: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Starts with `data` in it.
    pub(crate) fn with(data: Vec<u8>) -> Self {
        Self { data, start: 0 }
    }

    /// What is there.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or(&[])
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len() - self.start
    }

    /// What it occupies beyond what every buffer may.
    pub(crate) fn allocated(&self) -> usize {
        let capacity = self.data.capacity();
        if capacity > KEEP { capacity } else { 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops `n` bytes from the front; a drained buffer lets go of a large allocation.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start += n.min(self.len());
        if self.start == self.data.len() {
            self.start = 0;
            self.data.clear();
            if self.data.capacity() > KEEP {
                self.data = Vec::new();
            }
        }
    }

    /// The vector to append to; consumed bytes are moved out of the way first.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.data.drain(..self.start);
            self.start = 0;
        }
        &mut self.data
    }

    /// Inserts `line` after the first line of a head; where it stands now.
    pub(crate) fn insert_line(&mut self, line: &[u8]) -> usize {
        let data = self.tail();
        let at = memchr::memchr(b'\n', data).map_or(data.len(), |lf| lf + 1);
        data.splice(at..at, line.iter().copied());
        at
    }

    /// Takes `length` bytes out again.
    pub(crate) fn remove(&mut self, at: usize, length: usize) {
        let data = self.tail();
        let end = (at + length).min(data.len());
        data.drain(at.min(end)..end);
    }

    /// Lets go of spare memory, for a connection that is going to wait.
    pub(crate) fn shrink(&mut self) {
        self.tail().shrink_to_fit();
    }
}

/// Reads once into the scratch buffer and hands what arrived to `take`. `Ok(0)` is the end.
pub(crate) fn read_scratch(
    limit: usize,
    read: impl FnOnce(&mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    take: impl FnOnce(&[u8]),
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let room = limit.clamp(1, scratch.len());
        let mut buf = ReadBuf::new(&mut scratch[..room]);
        match read(&mut buf) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Ready(Ok(())) => {
                take(buf.filled());
                Poll::Ready(Ok(buf.filled().len()))
            }
        }
    })
}

//! What follows an answer that came before the whole request was read.
//!
//! A connection or stream that ends under a client that is still sending can cost it the answer
//! (RFC 9112 section 9.6, and clients that drop an HTTP/2 answer when the reset comes right behind
//! it). So the rest is read and dropped for a while, whichever protocol.

use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

/// How long a client may go on sending after its answer.
pub(crate) const DISCARD_TIME: Duration = Duration::from_secs(2);
/// At most this much is read and dropped; then the client is left to wait for the end.
pub(crate) const DISCARD_BYTES: usize = 128 << 20;

/// Drops what `poll_read` reads until there is no more of it (0), or the time is over.
pub(crate) async fn discard(mut poll_read: impl FnMut(&mut Context<'_>) -> Poll<usize>) {
    let mut left = DISCARD_BYTES;
    let reading = poll_fn(|cx| {
        while left > 0 {
            match poll_read(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(0) => return Poll::Ready(()),
                Poll::Ready(n) => left = left.saturating_sub(n),
            }
        }
        Poll::Pending
    });
    let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bounded_by_time_and_size() {
        let started = tokio::time::Instant::now();
        discard(|_| Poll::Ready(0)).await;
        assert_eq!(started.elapsed(), Duration::ZERO, "over when the client is done");
        discard(|_| Poll::Pending).await;
        assert_eq!(started.elapsed().as_secs(), DISCARD_TIME.as_secs());
        let mut read = 0;
        discard(|_| {
            read += 1 << 20;
            Poll::Ready(1 << 20)
        })
        .await;
        assert_eq!(read, DISCARD_BYTES);
    }
}

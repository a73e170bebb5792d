//! Pings on an HTTP/2 connection: a peer that is gone without a word does not answer them.

use std::time::Duration;

use h2::{Ping, PingPong};

/// Pings every `interval`; resolves when no answer comes within `timeout`.
pub(crate) async fn lost(mut pings: PingPong, interval: Duration, timeout: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let answered = tokio::time::timeout(timeout, pings.ping(Ping::opaque())).await;
        if !matches!(answered, Ok(Ok(_))) {
            return;
        }
    }
}

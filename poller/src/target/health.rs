//! Whether the function answers, asked before anything is claimed and while the breaker is open.
//!
//! A probe opens a connection of its own, because only that shows that the function accepts one,
//! and asks the health path. It never delivers anything.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{HOST, USER_AGENT},
};
use hyper::body::Incoming;
use kipper_process::backoff::Backoff;

use super::{Excerpt, Target, connection::Connection, outcome::Verdict, read_body, request};

/// A probe that takes longer has failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pauses between probes that fail.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
/// When a function has not answered for so long, the log says so, once.
const TELL_AFTER: Duration = Duration::from_secs(30);

const PROBE_AGENT: HeaderValue = HeaderValue::from_static("kipper-poll");

/// Why a function does not answer yet.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no answer on the health path")]
    NoAnswer,
    #[error("the health path answers {0}")]
    Status(StatusCode),
    #[error("no answer within {PROBE_TIMEOUT:?}")]
    Timeout,
}

impl Target {
    /// Waits until the function answers. Pauses are bounded; the time is not,
    /// because without the function there is nothing to do.
    pub async fn wait_until_answering(&self) {
        let started = Instant::now();
        let (mut pauses, mut reported) = (PAUSES, false);
        while let Err(error) = self.probe().await {
            if !reported && started.elapsed() >= TELL_AFTER {
                reported = true;
                tracing::warn!(target = %self.config.url, %error, "the function does not answer yet");
            }
            tokio::time::sleep(pauses.pause()).await;
        }
    }

    /// Whether the function answers now. Takes a second at most.
    pub async fn answers(&self) -> bool {
        self.probe().await.is_ok()
    }

    async fn probe(&self) -> Result<(), ProbeError> {
        let mut deadline = pin!(tokio::time::sleep(PROBE_TIMEOUT));
        let (connection, response) = tokio::select! {
            biased;
            answered = self.ask() => answered?,
            () = deadline.as_mut() => return Err(ProbeError::Timeout),
        };
        if !is_answering(response.status()) {
            return Err(ProbeError::Status(response.status()));
        }
        // The head was the answer; the rest decides only whether the connection can be kept.
        tokio::select! {
            biased;
            () = self.keep(connection, response) => {}
            () = deadline => {}
        }
        Ok(())
    }

    async fn ask(&self) -> Result<(Connection, Response<Incoming>), ProbeError> {
        let mut connection = Connection::open(&self.config.url).await?;
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(HOST, self.config.url.host_header().clone());
        headers.insert(USER_AGENT, PROBE_AGENT);
        let path = self.config.health_path.0.clone();
        let response = connection.send(request(Method::GET, path, headers, Bytes::new())).await;
        response.map(|response| (connection, response)).map_err(|_| ProbeError::NoAnswer)
    }

    /// Leaves the connection for the first delivery. Where there is one already, it is closed: a
    /// probe every half second must not gather connections.
    async fn keep(&self, mut connection: Connection, response: Response<Incoming>) {
        let (head, mut body) = response.into_parts();
        let mut unread = Excerpt::new(Verdict::Done);
        let whole = read_body(&mut body, self.config.max_response_bytes, &mut unread).await;
        if whole && self.pool.is_empty() {
            connection.answered(head.headers);
            self.pool.put(connection);
        }
    }
}

/// 404, 405 and 501 say that there is no such path, other 4xx that it is not for us: a function
/// that demands a login everywhere is there. 408 and 429 ask to wait, as 5xx do.
fn is_answering(status: StatusCode) -> bool {
    match status.as_u16() {
        408 | 429 => false,
        200..=499 | 501 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_table() {
        let check = |statuses: &[u16], expected: bool| {
            for status in statuses {
                let status = StatusCode::from_u16(*status).unwrap();
                assert_eq!(is_answering(status), expected, "{status}");
            }
        };
        check(&[200, 204, 301, 304, 399, 400, 401, 403, 404, 405, 501], true);
        check(&[101, 408, 429, 500, 502, 503, 504, 600], false);
    }
}

//! Delivers one event: `POST` it to the function in the same pod and say what came of it.
//!
//! Stands between the dispatcher, which decides how many run and what happens next, and the
//! function. It speaks HTTP/1.1 over kept connections. It never follows a redirect, and never reads
//! more of an answer than its bound. It sends an event a second time by itself, once, only where a kept
//! connection ended before a byte of an answer: nearly always the function had just closed it for
//! being idle, and an event that is handled twice is what deliveries at least once allow.
//!
//! The status line is the verdict. A 2xx head means that the function has handled the event, also
//! when the body after it breaks, stalls or is too long: then only the connection is given up.

mod connection;
mod health;
mod health_path;
mod outcome;
mod token;
mod url;

#[cfg(test)]
mod tests;

use std::{io, pin::Pin, time::Duration, time::SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::Sleep;

use self::{
    connection::{Connection, Pool, SendError, Unanswered},
    outcome::Verdict,
};
pub use self::{
    health_path::{HealthPath, HealthPathError},
    outcome::{MAX_RETRY_AFTER, Outcome, Reason},
    token::{EventToken, EventTokenError},
    url::{TargetUrl, TargetUrlError},
};

/// How long one delivery may take, from the start of the request to the end of the answer.
pub const DEFAULT_DELIVER_TIMEOUT: Duration = Duration::from_secs(300);
/// On loopback a connection is accepted or refused at once; a full backlog drops packets.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// An answer's body beyond this is not read; its connection is closed instead of kept.
pub const DEFAULT_MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// So much of an error's body goes to the log.
const MAX_EXCERPT_BYTES: usize = 200;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SPEC_VERSION: HeaderValue = HeaderValue::from_static("1.0");
const CE_ID: HeaderName = HeaderName::from_static("ce-id");
const CE_SOURCE: HeaderName = HeaderName::from_static("ce-source");
const CE_TYPE: HeaderName = HeaderName::from_static("ce-type");
const CE_SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");
const CE_TIME: HeaderName = HeaderName::from_static("ce-time");
const KIPPER_ATTEMPT: HeaderName = HeaderName::from_static("kipper-attempt");
const EVENT_TOKEN: HeaderName = HeaderName::from_static(kipper_trigger::token::EVENT_HEADER);

/// Where events go and how long that may take.
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// The function's event address.
    pub url: TargetUrl,
    /// Bound of one delivery.
    pub deliver_timeout: Duration,
    /// Bound of opening a connection, within the delivery's.
    pub connect_timeout: Duration,
    /// What is asked before anything is delivered.
    pub health_path: HealthPath,
    /// So much of an answer's body is read.
    pub max_response_bytes: usize,
    /// By which the function's runtime knows this poller.
    pub token: Option<EventToken>,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self {
            url: TargetUrl::default(),
            deliver_timeout: DEFAULT_DELIVER_TIMEOUT,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            health_path: HealthPath::default(),
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
            token: None,
        }
    }
}

/// One event on its way to the function. A clone shares everything it holds.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// `ce-id`, the same for every delivery of the event.
    pub id: HeaderValue,
    /// `ce-source`.
    pub source: HeaderValue,
    /// `ce-type`.
    pub kind: HeaderValue,
    /// `ce-time`, RFC 3339.
    pub time: HeaderValue,
    /// `kipper-attempt`, counted from 1.
    pub attempt: u32,
    /// The row or item, JSON, sent as it is.
    pub body: Bytes,
}

/// The function of this pod, with the connections to it that are free.
#[derive(Debug)]
pub struct Target {
    config: TargetConfig,
    pool: Pool,
}

impl Target {
    /// A target that has no connection yet.
    pub fn new(config: TargetConfig) -> Self {
        Self { config, pool: Pool::default() }
    }

    /// Delivers one event. A kept connection that ends before a byte of an answer is replaced by a
    /// fresh one, once, and the attempt does not count. Where the function takes no connection then, it
    /// has ended with the event in its hands, and the attempt counts: an event that kills its function
    /// has to die some day. A delivery that times out closes its connection, and so does dropping the
    /// future.
    pub async fn deliver(&self, event: &Delivery) -> Outcome {
        let mut deadline = std::pin::pin!(tokio::time::sleep(self.config.deliver_timeout));
        let mut sent = None;
        if let Some(kept) = self.pool.take().await {
            match self.exchange(kept, event, deadline.as_mut()).await {
                Ok(outcome) => return outcome,
                Err(Unanswered { written, detail }) => sent = written.then_some(detail),
            }
        }
        let fresh = match (self.connect(deadline.as_mut()).await, sent) {
            (Ok(fresh), _) => fresh,
            (Err(_), Some(detail)) => return closed(detail),
            (Err(outcome), None) => return outcome,
        };
        match self.exchange(fresh, event, deadline).await {
            Ok(outcome) => outcome,
            Err(Unanswered { written: true, detail }) => closed(detail),
            Err(Unanswered { written: false, detail }) => {
                Outcome::NotSent { reason: Reason::Closed, detail }
            }
        }
    }

    async fn connect(&self, deadline: Pin<&mut Sleep>) -> Result<Connection, Outcome> {
        let opening = Connection::open(&self.config.url);
        let opened = tokio::select! {
            biased;
            opened = tokio::time::timeout(self.config.connect_timeout, opening) => opened.ok(),
            () = deadline => None,
        };
        let (reason, detail) = match opened {
            Some(Ok(connection)) => return Ok(connection),
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                (Reason::Refused, error.to_string())
            }
            Some(Err(error)) => (Reason::ConnectFailed, error.to_string()),
            None => (Reason::ConnectTimeout, "no answer to the connection attempt".to_owned()),
        };
        Err(Outcome::NotSent { reason, detail })
    }

    /// One request and its answer on one connection, which returns to the pool when it is clean.
    async fn exchange(
        &self,
        mut connection: Connection,
        event: &Delivery,
        mut deadline: Pin<&mut Sleep>,
    ) -> Result<Outcome, Unanswered> {
        let request = self.request(event, connection.spare_headers());
        let answered = tokio::select! {
            biased;
            answered = connection.send(request) => answered,
            () = deadline.as_mut() => return Ok(timed_out(self.config.deliver_timeout)),
        };
        let (head, mut body) = match answered {
            Ok(response) => response.into_parts(),
            Err(SendError::Unanswered(unanswered)) => return Err(unanswered),
            Err(SendError::Broken { reason, detail }) => return Ok(broken(reason, detail)),
        };
        let verdict = Verdict::of(head.status);
        let mut excerpt = Excerpt::new(verdict);
        let whole = tokio::select! {
            biased;
            whole = read_body(&mut body, self.config.max_response_bytes, &mut excerpt) => whole,
            () = deadline => false,
        };
        let outcome = outcome(verdict, head.status, &head.headers, &excerpt.bytes);
        if whole && head.status != StatusCode::SWITCHING_PROTOCOLS {
            connection.answered(head.headers);
            self.pool.put(connection);
        }
        Ok(outcome)
    }

    /// The request; `headers` is an empty map whose room is used again.
    fn request(&self, event: &Delivery, mut headers: HeaderMap) -> Request<Full<Bytes>> {
        headers.insert(HOST, self.config.url.host_header().clone());
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(CE_ID, event.id.clone());
        headers.insert(CE_SOURCE, event.source.clone());
        headers.insert(CE_TYPE, event.kind.clone());
        headers.insert(CE_SPECVERSION, SPEC_VERSION);
        headers.insert(CE_TIME, event.time.clone());
        headers.insert(KIPPER_ATTEMPT, attempt(event.attempt));
        if let Some(token) = &self.config.token {
            headers.insert(EVENT_TOKEN, token.header());
        }
        if event.body.is_empty() {
            // The connection announces the length of every body but an empty one.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        request(Method::POST, self.config.url.path().clone(), headers, event.body.clone())
    }
}

/// The first bytes of an answer that goes to the log.
struct Excerpt {
    bytes: Vec<u8>,
    room: usize,
}

impl Excerpt {
    fn new(verdict: Verdict) -> Self {
        let room = if verdict == Verdict::Done { 0 } else { MAX_EXCERPT_BYTES };
        Self { bytes: Vec::with_capacity(room), room }
    }

    fn add(&mut self, data: &[u8]) {
        let taken = data.len().min(self.room);
        self.bytes.extend_from_slice(&data[..taken]);
        self.room -= taken;
    }
}

/// Reads a body to its end. False when it broke or is longer than the bound.
async fn read_body(body: &mut Incoming, bound: usize, excerpt: &mut Excerpt) -> bool {
    let mut read = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        if let Some(data) = frame.data_ref() {
            excerpt.add(data);
            read = read.saturating_add(data.len());
            if read > bound {
                return false;
            }
        }
    }
    true
}

fn outcome(verdict: Verdict, status: StatusCode, headers: &HeaderMap, excerpt: &[u8]) -> Outcome {
    let detail = || outcome::printable(excerpt);
    match verdict {
        Verdict::Done => Outcome::Done,
        Verdict::Permanent(reason) => Outcome::Permanent { reason, status, detail: detail() },
        Verdict::Retry(reason) => Outcome::Retry {
            reason,
            status: Some(status),
            retry_after: headers
                .get(RETRY_AFTER)
                .and_then(|value| outcome::retry_after(value.as_bytes(), SystemTime::now())),
            detail: detail(),
        },
    }
}

/// The connection ended with the event on it.
fn closed(detail: String) -> Outcome {
    broken(Reason::Closed, detail)
}

fn broken(reason: Reason, detail: String) -> Outcome {
    Outcome::Retry { reason, status: None, retry_after: None, detail }
}

fn timed_out(after: Duration) -> Outcome {
    Outcome::Retry {
        reason: Reason::Timeout,
        status: None,
        retry_after: None,
        detail: format!("no answer within {after:?}"),
    }
}

fn attempt(attempt: u32) -> HeaderValue {
    // Nearly every delivery is a first one.
    if attempt == 1 { HeaderValue::from_static("1") } else { HeaderValue::from(attempt) }
}

fn request(method: Method, path: Uri, headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path;
    *request.headers_mut() = headers;
    request
}

//! What is known of one request once it is over: a line of the access log, a trace, or both.
//!
//! Never a query, a body, or a header field other than host, user agent, request id, trace and client
//! address: the others hold credentials. What a client chose is kept up to a bound.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use smallvec::SmallVec;

use crate::{
    error::ProxyError,
    headers::RequestId,
    message::{
        head::{RequestHead, Version, escaped},
        trace::TraceParent,
    },
    source::FunctionId,
};

/// Bytes kept of a path, a host, a method and a user agent; the rest is cut off. One that is not UTF-8 becomes
/// three.
const MAX_PATH: usize = 1024;
const MAX_HOST: usize = 255;
const MAX_METHOD: usize = 32;
const MAX_USER_AGENT: usize = 256;

/// A request on its way, as far as its head tells.
pub(crate) struct Seen {
    /// `None` = it could not be read.
    pub(crate) head: Option<SeenHead>,
    /// Address of the client, as far as `--trusted-proxies` are believed.
    pub(crate) client: String,
    /// Its own connection is encrypted, as far as they are.
    pub(crate) secure: bool,
    /// The span of this request, where it is recorded; else the client's, for the log.
    pub(crate) span: Option<TraceParent>,
    /// The span that it is under.
    pub(crate) parent: Option<u64>,
    /// It is a trace of ours.
    pub(crate) sampled: bool,
    /// Another interceptor has it from its client.
    pub(crate) handed_over: bool,
    /// When its head was complete, on the clock on the wall…
    pub(crate) at: SystemTime,
    /// …and on the one that never jumps.
    pub(crate) accepted: Instant,
}

/// What is kept of a head.
pub(crate) struct SeenHead {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) version: Version,
    pub(crate) user_agent: Option<String>,
}

impl SeenHead {
    pub(crate) fn of(head: &RequestHead<'_>) -> Self {
        let path = head.target.split(|b| *b == b'?').next().unwrap_or_default();
        let agent = head.fields.iter().find(|f| f.name.eq_ignore_ascii_case("user-agent"));
        Self {
            method: text(head.method.as_bytes(), MAX_METHOD),
            path: text(path, MAX_PATH),
            host: text(head.host.as_bytes(), MAX_HOST),
            version: head.version,
            user_agent: agent.map(|f| text(f.value, MAX_USER_AGENT)),
        }
    }
}

/// Nothing in it moves the cursor of whoever reads it: control characters of Unicode are written as
/// bytes, too.
fn text(bytes: &[u8], most: usize) -> String {
    let text = escaped(bytes.get(..most).unwrap_or(bytes));
    if !text.contains(char::is_control) {
        return text.into_owned();
    }
    let mut shown = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if c.is_control() {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).bytes();
            shown.extend(bytes.map(|byte| format!("%{byte:02X}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A part of a request's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    /// Since its head was complete.
    pub(crate) from: Duration,
    pub(crate) took: Duration,
}

/// Held in all.
pub(crate) const QUEUE: &str = "queue";
/// A part of it: until the function's first pod had an address.
pub(crate) const WAKE: &str = "wake";
/// A part of it: from there until a pod could answer.
pub(crate) const READY: &str = "ready";
/// Opening a connection to the pod.
pub(crate) const CONNECT: &str = "connect";
/// From sending the request to the first byte of the response.
pub(crate) const TTFB: &str = "ttfb";
/// Every phase, in the order in which a request reaches them.
pub(crate) const PHASES: [&str; 5] = [QUEUE, WAKE, READY, CONNECT, TTFB];

/// The phases that one request had; `connect` once for each connection that was opened.
pub(crate) type Phases = SmallVec<[Phase; 2]>;

/// Time spent in one phase.
pub(crate) fn took(phases: &[Phase], name: &str) -> Duration {
    phases.iter().filter(|phase| phase.name == name).map(|phase| phase.took).sum()
}

/// Bytes of the bodies, without their framing; of a tunnel all bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// From the client.
    pub(crate) received: u64,
    /// To the client.
    pub(crate) sent: u64,
}

/// A request that is over.
pub(crate) struct Record {
    pub(crate) seen: Seen,
    pub(crate) id: RequestId,
    pub(crate) function: Option<FunctionId>,
    /// What the client was answered; 499 where it left before, that of the error where it was cut off before.
    pub(crate) status: u16,
    pub(crate) error: Option<ProxyError>,
    /// The pod that had it last, or another interceptor.
    pub(crate) pod: Option<SocketAddr>,
    pub(crate) moved: Moved,
    pub(crate) phases: Phases,
    pub(crate) took: Duration,
}

impl Record {
    /// Spans it becomes.
    pub(crate) fn spans(&self) -> u64 {
        1 + self.phases.len() as u64
    }
}

/// How a version is written.
pub(crate) fn protocol(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_wrote_is_shown_as_text() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(text(bytes, 8), expected);
        check(b"/a%20b", "/a%20b");
        check("/gr\u{fc}n".as_bytes(), "/gr\u{fc}n");
        check(b"\xff\xc3\xbc", "%FF%C3%BC");
        check("a\u{9b}2J".as_bytes(), "a%C2%9B2J");
        check(b"\x1b[2J\x7f\n", "%1B[2J%7F%0A");
        check(b"0123456789", "01234567");
        // Cut within a character.
        check("0123456\u{fc}".as_bytes(), "0123456%C3");
    }
}

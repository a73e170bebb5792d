//! What came of a delivery, as pure rules: status to verdict, `Retry-After` to a pause, an
//! answer's bytes to a line for the log. No clock and no I/O; time comes in as an argument.

use std::time::{Duration, SystemTime};

use http::StatusCode;

/// The longest pause a function can ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// What came of one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx: the function has handled the event.
    Done,
    /// The function has not seen any of the event: no attempt.
    NotSent {
        /// `Refused`, `ConnectTimeout`, `ConnectFailed` or `Closed`.
        reason: Reason,
        /// For the log.
        detail: String,
    },
    /// The function may have seen the event, and did not say that it is done.
    Retry {
        /// Metric label.
        reason: Reason,
        /// The answer's status; `None` when there was no answer.
        status: Option<StatusCode>,
        /// How long the function asked to be left alone, at most [`MAX_RETRY_AFTER`].
        retry_after: Option<Duration>,
        /// For the log: the answer's first bytes, or what broke.
        detail: String,
    },
    /// The function will never take this event.
    Permanent {
        /// `Rejected` or `Redirect`.
        reason: Reason,
        /// The answer's status.
        status: StatusCode,
        /// For the log: the answer's first bytes.
        detail: String,
    },
}

impl Outcome {
    /// Metric label of the outcome.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotSent { .. } => "not_sent",
            Self::Retry { .. } => "retry",
            Self::Permanent { .. } => "permanent",
        }
    }

    /// Why it is not done; `None` when it is.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Done => None,
            Self::NotSent { reason, .. }
            | Self::Retry { reason, .. }
            | Self::Permanent { reason, .. } => Some(*reason),
        }
    }
}

/// Why a delivery is not done. One of a fixed set, so that it can be a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nobody listens.
    Refused,
    /// The connection was not accepted in time.
    ConnectTimeout,
    /// The connection could not be made for another reason.
    ConnectFailed,
    /// Closed or reset before the answer. Not sent: before the first byte of the event.
    Closed,
    /// The delivery took longer than its bound.
    Timeout,
    /// The answer is not HTTP, its head is too long, or it switches protocols unasked.
    BadResponse,
    /// 404: a function that is being replaced, or whose route is not there yet.
    NotFound,
    /// 408: the function gave up waiting for the request.
    RequestTimeout,
    /// 409.
    Conflict,
    /// 429.
    TooManyRequests,
    /// 5xx, and statuses outside the defined classes (RFC 9110 section 15).
    ServerError,
    /// 3xx: redirects are not followed.
    Redirect,
    /// Any other 4xx.
    Rejected,
}

impl Reason {
    /// Metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectFailed => "connect_failed",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::BadResponse => "bad_response",
            Self::NotFound => "not_found",
            Self::RequestTimeout => "request_timeout",
            Self::Conflict => "conflict",
            Self::TooManyRequests => "too_many_requests",
            Self::ServerError => "server_error",
            Self::Redirect => "redirect",
            Self::Rejected => "rejected",
        }
    }
}

/// What a status means for the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Retry(Reason),
    Permanent(Reason),
}

impl Verdict {
    pub(super) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Done,
            100..=199 => Self::Retry(Reason::BadResponse),
            300..=399 => Self::Permanent(Reason::Redirect),
            404 => Self::Retry(Reason::NotFound),
            408 => Self::Retry(Reason::RequestTimeout),
            409 => Self::Retry(Reason::Conflict),
            429 => Self::Retry(Reason::TooManyRequests),
            400..=499 => Self::Permanent(Reason::Rejected),
            _ => Self::Retry(Reason::ServerError),
        }
    }
}

/// The pause of a `Retry-After` field (RFC 9110 section 10.2.3), capped. What is neither a number
/// of seconds nor a date to come is ignored.
pub(super) fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let value = std::str::from_utf8(value).ok()?.trim();
    let pause = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are more than the cap.
        value.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).ok()?
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

/// One line that is safe in a log, whatever the bytes are: white space collapsed, and what a
/// terminal would not print as itself replaced.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().map(|c| if is_printable(c) { c } else { '\u{fffd}' }));
    }
    // The bound may have cut a character in two.
    while line.ends_with('\u{fffd}') {
        line.pop();
    }
    line
}

fn is_printable(c: char) -> bool {
    // `escape_debug` knows which characters are shown as themselves; it also escapes quotes.
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_verdict() {
        let check = |statuses: &[u16], expected: Verdict| {
            for status in statuses {
                let found = Verdict::of(StatusCode::from_u16(*status).unwrap());
                assert_eq!(found, expected, "{status}");
            }
        };
        check(&[200, 201, 202, 204, 206, 299], Verdict::Done);
        check(&[101, 150], Verdict::Retry(Reason::BadResponse));
        check(&[301, 302, 304, 307, 308, 399], Verdict::Permanent(Reason::Redirect));
        check(&[404], Verdict::Retry(Reason::NotFound));
        check(&[408], Verdict::Retry(Reason::RequestTimeout));
        check(&[409], Verdict::Retry(Reason::Conflict));
        check(&[429], Verdict::Retry(Reason::TooManyRequests));
        check(&[400, 401, 403, 405, 410, 413, 422, 499], Verdict::Permanent(Reason::Rejected));
        check(&[500, 501, 502, 503, 504, 599, 600, 999], Verdict::Retry(Reason::ServerError));
    }

    #[test]
    fn retry_after_table() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let check = |value: &[u8], expected: Option<u64>| {
            let found = retry_after(value, now);
            let shown = String::from_utf8_lossy(value);
            assert_eq!(found, expected.map(Duration::from_secs), "{shown:?}");
        };
        check(b"0", Some(0));
        check(b"7", Some(7));
        check(b" 120 ", Some(120));
        check(b"3601", Some(3600));
        check(b"99999999999999999999999999", Some(3600));
        check(b"Sun, 06 Nov 1994 08:50:07 GMT", Some(30));
        check(b"Sunday, 06-Nov-94 08:50:07 GMT", Some(30));
        check(b"Sun Nov  6 08:50:07 1994", Some(30));
        check(b"Sun, 06 Nov 1994 08:49:37 GMT", Some(0));
        check(b"Mon, 07 Nov 1994 08:49:37 GMT", Some(3600));
        check(b"Sun, 06 Nov 1994 08:49:36 GMT", None);
        check(b"-1", None);
        check(b"+1", None);
        check(b"1.5", None);
        check(b"1s", None);
        check(b"", None);
        check(b"soon", None);
        check(b"\xff", None);
    }

    #[test]
    fn a_body_becomes_one_printable_line() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(printable(bytes), expected);
        check(b"", "");
        check(b"{\"error\": \"it's\\n\"}", "{\"error\": \"it's\\n\"}");
        check(b"one\r\n\ttwo \n", "one two");
        check("\u{1b}[31mred".as_bytes(), "\u{fffd}[31mred");
        check("a\u{202e}b".as_bytes(), "a\u{fffd}b");
        check("größe\0!".as_bytes(), "größe\u{fffd}!");
        check(&"größe".as_bytes()[..3], "gr");
    }
}

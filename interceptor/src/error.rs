//! Every way a request can fail, and the one place that maps it to a status.
//!
//! The public body is generic: `{"error", "reason", "requestId"}`. The reason is also the metric
//! label, so it is one of a fixed set. Details (addresses, I/O errors) go to the log only.

use crate::queue::QueueError;

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client sent something wrong or left.
    Downstream,
    /// The function's pod failed.
    Upstream,
    /// This proxy is at a bound or going away.
    Internal,
}

/// Why a request was not answered by its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The request is malformed, or two parsers could read it differently.
    #[error("malformed request: {0}")]
    BadRequest(&'static str),
    /// The head has more bytes than allowed (RFC 6585 section 5).
    #[error("the request head is longer than {0} bytes")]
    HeadTooLong(usize),
    /// The head has more fields than allowed.
    #[error("the request has more than {0} header fields")]
    TooManyFields(usize),
    /// A version of HTTP that is not spoken on this connection (RFC 9110 section 15.6.6).
    #[error("HTTP version not supported")]
    HttpVersion,
    /// A transfer coding other than chunked (RFC 9112 section 6.1).
    #[error("transfer coding not implemented")]
    UnknownTransferCoding,
    /// CONNECT, which a reverse proxy does not serve.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The request head or body did not arrive in time.
    #[error("the request took too long to arrive")]
    RequestTimeout,
    /// The client did not read its response in time.
    #[error("the client does not read")]
    SlowReader,
    /// The client left and reads no answer (499 in logs and metrics).
    #[error("the client closed the connection")]
    ClientGone,
    /// No function has this host.
    #[error("no function with an http trigger has this host")]
    UnknownHost,
    /// No function of this name has a route; only `kip dev` asks by name.
    #[error(
        "no function with an http trigger has this name: events reach a function through their source, \
         and `run NAME` in kip dev starts a cron function"
    )]
    UnknownName,
    /// `POST /event` from outside, which only a function's own poller may send.
    #[error("/event is only for the poller of this function; its events come from its source")]
    EventPath,
    /// The hold bounds are reached.
    #[error("the function is starting and its queue is full")]
    QueueFull(#[from] QueueError),
    /// So much is kept for slow clients that there is no room for a head, or a body sent ahead, of
    /// this size.
    #[error("overloaded by slow clients; only small requests are taken")]
    Overloaded,
    /// Its processes end before they can answer.
    #[error("the function cannot start; its log says why")]
    StartFailed,
    /// Held as long as allowed, and the function never had a pod.
    #[error("the function did not start in time")]
    ColdStartTimeout,
    /// Held as long as allowed, with pods that were all busy.
    #[error("the function is at its concurrency limit")]
    Saturated,
    /// The pod did not send a response head in time.
    #[error("the function did not answer in time")]
    ResponseTimeout,
    /// The whole request took longer than the function allows.
    #[error("the function did not finish in time")]
    RequestDeadline,
    /// The connection broke after a part of the request was sent.
    #[error("the function closed the connection")]
    UpstreamClosed,
    /// The pod answered something that is not HTTP, or not safe to forward; says which rule it
    /// broke, in one of a fixed set of our own words.
    #[error("the function sent an invalid response")]
    BadResponse(&'static str),
    /// This process is shutting down and its deadline has passed.
    #[error("shutting down")]
    ShuttingDown,
}

impl ProxyError {
    /// Status code of the answer; 499 where the client is not there to read one.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::HeadTooLong(_) | Self::TooManyFields(_) => 431,
            Self::HttpVersion => 505,
            Self::UnknownTransferCoding => 501,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::SlowReader | Self::ClientGone => 499,
            Self::UnknownHost | Self::UnknownName | Self::EventPath => 404,
            Self::QueueFull(_) | Self::Overloaded | Self::ShuttingDown => 503,
            Self::ColdStartTimeout
            | Self::Saturated
            | Self::ResponseTimeout
            | Self::RequestDeadline => 504,
            Self::StartFailed | Self::UpstreamClosed | Self::BadResponse(_) => 502,
        }
    }

    /// Short name: in the body and as the metric label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::HeadTooLong(_) | Self::TooManyFields(_) => "headers_too_large",
            Self::HttpVersion => "http_version",
            Self::UnknownTransferCoding => "transfer_coding",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::SlowReader => "slow_reader",
            Self::ClientGone => "client_gone",
            Self::UnknownHost => "unknown_host",
            Self::UnknownName => "unknown_name",
            Self::EventPath => "event_path",
            Self::QueueFull(_) => "queue_full",
            Self::Overloaded => "overloaded",
            Self::StartFailed => "start_failed",
            Self::ColdStartTimeout => "cold_start_timeout",
            Self::Saturated => "saturated",
            Self::ResponseTimeout => "response_timeout",
            Self::RequestDeadline => "request_deadline",
            Self::UpstreamClosed => "upstream_closed",
            Self::BadResponse(_) => "bad_response",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// Who is to blame.
    pub fn side(self) -> Side {
        match self {
            Self::BadRequest(_)
            | Self::HeadTooLong(_)
            | Self::TooManyFields(_)
            | Self::HttpVersion
            | Self::UnknownTransferCoding
            | Self::MethodNotAllowed
            | Self::RequestTimeout
            | Self::SlowReader
            | Self::ClientGone
            | Self::UnknownHost
            | Self::UnknownName
            | Self::EventPath => Side::Downstream,
            Self::StartFailed
            | Self::ColdStartTimeout
            | Self::Saturated
            | Self::ResponseTimeout
            | Self::RequestDeadline
            | Self::UpstreamClosed
            | Self::BadResponse(_) => Side::Upstream,
            Self::QueueFull(_) | Self::Overloaded | Self::ShuttingDown => Side::Internal,
        }
    }

    /// Does trying again later make sense to the client?
    pub fn retryable(self) -> bool {
        matches!(self.status(), 503 | 504)
    }

    /// Seconds after which to try again, where no function knows better.
    pub fn retry_after(self) -> Option<u64> {
        self.retryable().then_some(1)
    }

    /// The JSON body. Nothing in it needs escaping but the request id, which is checked on entry.
    pub fn body(self, request_id: &str) -> String {
        let message = match self {
            // The detail names what to change; it is one of our own literals.
            Self::BadRequest(detail) => format!("malformed request: {detail}"),
            Self::BadResponse(_) => "the function sent an invalid response".to_owned(),
            other => other.to_string(),
        };
        let reason = self.reason();
        format!(r#"{{"error":"{message}","reason":"{reason}","requestId":"{request_id}"}}"#)
    }
}

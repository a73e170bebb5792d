//! A request as spans of a trace, with the names of OpenTelemetry's semantic conventions for HTTP
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>). Pure.
//!
//! One server span, and under it one span for each phase that the request had. `wake` and `ready` are
//! parts of `queue`, and stand under it.

use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, Status, span::SpanKind, status::StatusCode},
};

use super::record::{Phase, QUEUE, READY, Record, SeenHead, TTFB, WAKE};
use crate::{
    error::Side,
    message::{
        head::{Version, host_and_port},
        trace::TraceParent,
    },
};

/// Methods that the conventions know; any other is `_OTHER`, so that names stay few.
const METHODS: [&str; 9] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
/// OTLP: it is known whether the parent is of another process…
const HAS_IS_REMOTE: u32 = 1 << 8;
/// …and it is.
const IS_REMOTE: u32 = 1 << 9;

/// The spans of one request; `new_id` draws ids for its phases.
pub(super) fn spans(record: &Record, mut new_id: impl FnMut() -> u64) -> Vec<Span> {
    let Some(span) = record.seen.span else { return Vec::new() };
    let mut spans = vec![server(record, span)];
    let mut queue = span.span_id;
    for phase in &record.phases {
        let id = new_id().max(1);
        let parent = if matches!(phase.name, WAKE | READY) { queue } else { span.span_id };
        if phase.name == QUEUE {
            queue = id;
        }
        spans.push(child(record, span, phase, (id, parent)));
    }
    spans
}

fn server(record: &Record, span: TraceParent) -> Span {
    let seen = &record.seen;
    let known = |head: &SeenHead| METHODS.contains(&head.method.as_str());
    let method = seen.head.as_ref().filter(|head| known(head)).map(|head| head.method.as_str());
    let verb = method.unwrap_or("HTTP");
    let name = match &record.function {
        Some(function) => format!("{verb} {}", function.name),
        None => verb.to_owned(),
    };
    let mut attributes = vec![
        text("http.request.method", method.unwrap_or("_OTHER")),
        text("url.scheme", if seen.secure { "https" } else { "http" }),
        number("http.response.status_code", record.status.into()),
        text("client.address", &seen.client),
        text("kipper.request_id", std::str::from_utf8(&record.id).unwrap_or_default()),
    ];
    if let Some(head) = &seen.head {
        attributes.extend(of_head(head, method.is_none()));
    }
    if let Some(function) = &record.function {
        attributes.push(text("faas.name", &function.name));
        attributes.push(text("k8s.namespace.name", &function.namespace));
    }
    // Also where an answer broke off that had begun well.
    let failed =
        record.status >= 500 || record.error.is_some_and(|error| error.side() != Side::Downstream);
    match record.error {
        Some(error) => attributes.push(text("error.type", error.reason())),
        None if failed => attributes.push(text("error.type", &record.status.to_string())),
        None => {}
    }
    // A client's mistake is no error of the server.
    let code = if failed { StatusCode::Error } else { StatusCode::Unset };
    let remote = if seen.parent.is_some() { IS_REMOTE } else { 0 };
    Span {
        parent_span_id: seen.parent.map(id).unwrap_or_default(),
        name,
        kind: SpanKind::Server.into(),
        attributes,
        status: Some(Status { code: code.into(), ..Status::default() }),
        flags: u32::from(span.flags) | HAS_IS_REMOTE | remote,
        ..lasting(seen.at, Duration::ZERO, record.took, span)
    }
}

fn of_head(head: &SeenHead, method_is_other: bool) -> Vec<KeyValue> {
    let version = match head.version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    };
    let (address, port) = host_and_port(&head.host);
    let mut attributes = vec![
        text("server.address", address),
        text("url.path", &head.path),
        text("network.protocol.version", version),
    ];
    if let Some(port) = port.and_then(|port| port.parse::<u16>().ok()) {
        attributes.push(number("server.port", port.into()));
    }
    if method_is_other {
        attributes.push(text("http.request.method_original", &head.method));
    }
    if let Some(agent) = &head.user_agent {
        attributes.push(text("user_agent.original", agent));
    }
    attributes
}

fn child(record: &Record, span: TraceParent, phase: &Phase, (own, parent): (u64, u64)) -> Span {
    let pod = record.pod.filter(|_| phase.name == TTFB);
    let attributes = pod.map(|pod| {
        let port = number("network.peer.port", pod.port().into());
        vec![text("network.peer.address", &pod.ip().to_string()), port]
    });
    let span = TraceParent { span_id: own, ..span };
    Span {
        parent_span_id: id(parent),
        name: phase.name.to_owned(),
        kind: SpanKind::Internal.into(),
        attributes: attributes.unwrap_or_default(),
        flags: u32::from(span.flags) | HAS_IS_REMOTE,
        ..lasting(record.seen.at, phase.from, phase.took, span)
    }
}

/// A span of this length; everything else of it is as good as empty.
fn lasting(at: SystemTime, from: Duration, took: Duration, span: TraceParent) -> Span {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + from;
    let nanos = |at: Duration| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    Span {
        trace_id: span.trace_id.to_be_bytes().to_vec(),
        span_id: id(span.span_id),
        start_time_unix_nano: nanos(since),
        end_time_unix_nano: nanos(since + took),
        ..Span::default()
    }
}

fn id(id: u64) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

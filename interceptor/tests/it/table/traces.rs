//! W3C Trace Context: what of a client's trace its function is told, with and without a collector.

use super::{
    pod::Stream,
    row::{Request, Row, Settings, answer, get, send},
    shape::{ok, target},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const UPPER_CASE: &str = "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01";
const OF_THE_FUTURE: &str = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";

pub(super) fn rows() -> Vec<Row> {
    [untraced(), traced(), restarted()].concat()
}

fn with(traceparent: &str) -> Request {
    get("/").field("traceparent", traceparent).field("tracestate", "a=1")
}

/// A collector that nobody is: no answer depends on it.
fn tracing(settings: &mut Settings) {
    settings.config.observe.otlp_endpoint = Some("http://127.0.0.1:1".parse().unwrap());
    settings.config.observe.trace_sampling = 0.0;
}

fn tracing_all(settings: &mut Settings) {
    tracing(settings);
    settings.config.observe.trace_sampling = 1.0;
}

fn trusting(settings: &mut Settings) {
    settings.config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
}

/// The parts of a valid one, whose span is not the client's.
fn ours(value: &str) -> Option<(&str, &str)> {
    let parts: Vec<_> = value.split('-').collect();
    let ["00", trace, span, flags] = parts[..] else { return None };
    let hex =
        |s: &str, n| s.len() == n && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let valid = hex(trace, 32) && hex(span, 16) && hex(flags, 2) && span != "b7ad6b7169203331";
    valid.then_some((trace, flags))
}

fn goes_on_sampled(value: &str) -> bool {
    ours(value) == Some((TRACE, "01"))
}

fn goes_on_unsampled(value: &str) -> bool {
    ours(value) == Some((TRACE, "00"))
}

/// A new trace id is random, and says so (Trace Context Level 2).
fn is_new_and_sampled(value: &str) -> bool {
    ours(value).is_some_and(|(trace, flags)| trace != TRACE && flags == "03")
}

fn is_new_and_unsampled(value: &str) -> bool {
    ours(value).is_some_and(|(trace, flags)| trace != TRACE && flags == "02")
}

/// Nobody traces here: what is between client and function is theirs.
fn untraced() -> Vec<Row> {
    let passes = |name: &str, value: &str| {
        Row::new(name)
            .client([send(with(value).field("tracestate", "b=2")), answer(ok("/"))])
            .got(0, target("/").field("traceparent", value).count("tracestate", 2))
    };
    vec![
        passes("a trace context passes", SAMPLED),
        passes("an invalid trace context passes, too", UPPER_CASE),
        Row::new("a trace context passes to an HTTP/2 pod")
            .h2_pod([Stream::Echo])
            .client([send(with(UNSAMPLED)), answer(ok(""))])
            .got(0, target("/").field("traceparent", UNSAMPLED).field("tracestate", "a=1")),
        Row::new("no trace context is made up")
            .client([send(get("/")), answer(ok("/"))])
            .got(0, target("/").no("traceparent").no("tracestate")),
    ]
}

/// The function's spans are under ours, whether it is recorded or not.
fn traced() -> Vec<Row> {
    let row = |name: &str, setting: fn(&mut Settings), value, fits: fn(&str) -> bool| {
        Row::new(name)
            .set(setting)
            .client([send(with(value)), answer(ok("/"))])
            .got(0, target("/").fits("traceparent", fits).field("tracestate", "a=1"))
    };
    vec![
        row("strangers do not decide to be traced", tracing, SAMPLED, goes_on_unsampled),
        row("strangers do not decide not to be traced", tracing_all, UNSAMPLED, goes_on_sampled),
        row("trusted proxies decide to trace", tracing, SAMPLED, goes_on_sampled).set(trusting),
        row("trusted proxies decide not to trace", tracing_all, UNSAMPLED, goes_on_unsampled)
            .set(trusting),
        row(
            "a later version is read as far as it is known",
            tracing,
            OF_THE_FUTURE,
            goes_on_sampled,
        )
        .set(trusting),
        Row::new("an HTTP/2 pod is told of the trace")
            .set(tracing_all)
            .h2_pod([Stream::Echo])
            .client([send(with(SAMPLED)), answer(ok(""))])
            .got(0, target("/").fits("traceparent", goes_on_sampled).field("tracestate", "a=1")),
    ]
}

/// Section 4.2: what cannot be read is as good as nothing, with everything that was said about it.
fn restarted() -> Vec<Row> {
    let row = |name: &str, setting: fn(&mut Settings), request, fits: fn(&str) -> bool| {
        let got = target("/").count("traceparent", 1).fits("traceparent", fits).no("tracestate");
        Row::new(name)
            .set(trusting)
            .set(setting)
            .client([send(request), answer(ok("/"))])
            .got(0, got)
    };
    let twice = with(SAMPLED).field("traceparent", SAMPLED);
    let state_only = get("/").field("tracestate", "a=1");
    vec![
        row("an invalid trace starts anew", tracing, with(UPPER_CASE), is_new_and_unsampled),
        row("a trace that is named twice starts anew", tracing_all, twice, is_new_and_sampled),
        row("a state without a trace", tracing_all, state_only, is_new_and_sampled),
        row("a request without a trace begins one", tracing, get("/"), is_new_and_unsampled),
    ]
}

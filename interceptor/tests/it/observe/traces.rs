//! Traces: what a collector gets, and that no request waits for one.

use std::{collections::BTreeSet, io::Write as _, time::Duration};

use http::Method;
use kipper_interceptor::{
    config::ProxyConfig,
    source::{Protocol, RouteSpec},
};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};

use super::collector::{Collector, attribute};
use crate::{
    fleet::two_with,
    http2,
    support::{Backend, Proxy, free_address, function, ok, ready, until},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Traces everything of which nobody who counts says otherwise.
fn tracing(url: &str) -> ProxyConfig {
    let mut config = ProxyConfig::default();
    config.observe.otlp_endpoint = Some(url.parse().unwrap());
    config.observe.trace_sampling = 1.0;
    config
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A pod whose answer is the trace that it was told of.
fn telling() -> Backend {
    Backend::answering(|request| ok(request.field("traceparent").unwrap_or("none")))
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let (span, other) = (found.next(), found.next());
    assert!(other.is_none(), "{name} is there twice");
    span.unwrap_or_else(|| panic!("no {name} among {spans:?}"))
}

#[track_caller]
fn assert_within(inner: &Span, outer: &Span) {
    assert_eq!(hex(&inner.parent_span_id), hex(&outer.span_id), "{} {}", inner.name, outer.name);
    assert_eq!(inner.trace_id, outer.trace_id);
    // The clock of phases has microseconds.
    let (start, end) = (outer.start_time_unix_nano - 1000, outer.end_time_unix_nano + 1000);
    let (from, until) = (inner.start_time_unix_nano, inner.end_time_unix_nano);
    assert!(start <= from && from <= until && until <= end, "{inner:?} in {outer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_is_a_trace_with_the_times_of_server_timing() {
    let collector = Collector::start().await;
    let proxy = Proxy::with(tracing(&collector.url())).await;
    let f = proxy.add(function("f"), &[]).await;
    let mut client = proxy.client().await;
    client
        .send(format!(
            "GET /a/b?secret=1 HTTP/1.1\r\nHost: f.test:8080\r\nUser-Agent: it/1\r\nCookie: secret=1\r\n\
             traceparent: 00-{TRACE}-b7ad6b7169203331-00\r\n\r\n"
        ))
        .await;
    proxy.held(1).await;
    let pod = telling();
    proxy.place(&f.id, &[ready(pod.address)]).await;
    let answer = client.answer().await;
    let timing = answer.field("server-timing").unwrap().to_owned();
    proxy.drained().await;

    let spans = collector.spans();
    let server = named(&spans, "GET f");
    let told = format!("00-{TRACE}-{}-01", hex(&server.span_id));
    assert_eq!(answer.text(), told, "the pod's spans are under ours");
    assert_eq!(hex(&server.trace_id), TRACE);
    assert_eq!(hex(&server.parent_span_id), "b7ad6b7169203331");
    let expected = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("server.address", "f.test"),
        ("server.port", "8080"),
        ("url.path", "/a/b"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "it/1"),
        ("faas.name", "f"),
        ("k8s.namespace.name", "it"),
    ];
    for (key, value) in expected {
        assert_eq!(attribute(server, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(attribute(server, "error.type"), None);
    assert!(!format!("{spans:?}").contains("secret"), "{spans:?}");
    for name in ["queue", "connect", "ttfb"] {
        assert_within(named(&spans, name), server);
    }
    for name in ["wake", "ready"] {
        assert_within(named(&spans, name), named(&spans, "queue"));
    }
    let phases: Vec<_> = timing.split(", ").map(|p| p.split_once(";dur=").unwrap()).collect();
    assert_eq!(phases.len(), 5);
    for (name, milliseconds) in phases {
        let span = named(&spans, name);
        let took = span.end_time_unix_nano - span.start_time_unix_nano;
        let took = Duration::from_nanos(took).as_secs_f64() * 1000.0;
        assert_eq!(format!("{took:.1}"), milliseconds, "{name} of {timing}");
    }
    let peer = attribute(named(&spans, "ttfb"), "network.peer.port");
    assert_eq!(peer, Some(pod.address.port().to_string()));
    assert_eq!(collector.services(), ["kipper-interceptor"]);
}

/// Who counts says what is traced, over both protocols.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_sampled_is_sent() {
    let collector = Collector::start().await;
    let mut config = tracing(&collector.url());
    config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    config.observe.otlp_headers = Some("x-token=a%20b".parse().unwrap());
    let proxy = Proxy::with(config).await;
    let pod = telling();
    proxy.add(function("f"), &[ready(pod.address)]).await;
    let mut parents = BTreeSet::new();
    for n in 1..=8_u64 {
        let sampled = n % 2;
        let value = format!("00-{TRACE}-{n:016x}-0{sampled}");
        let told = if n <= 4 {
            let mut client = proxy.client().await;
            let head = format!("GET / HTTP/1.1\r\nHost: f.test\r\ntraceparent: {value}\r\n\r\n");
            client.send(head).await;
            client.answer().await.text().to_owned()
        } else {
            let mut client = http2::Client::connect(proxy.address).await;
            let mut request = http2::request(Method::GET, "f.test", "/");
            request.headers_mut().insert("traceparent", value.parse().unwrap());
            let (response, _) = client.start(request, true).await;
            String::from_utf8(http2::answer(response).await.unwrap().body).unwrap()
        };
        assert!(told.ends_with(&format!("-0{sampled}")), "{told}");
        if sampled == 1 {
            parents.insert(format!("{n:016x}"));
        }
    }
    proxy.drained().await;
    let sent: BTreeSet<_> =
        collector.servers().iter().map(|span| hex(&span.parent_span_id)).collect();
    assert_eq!(sent, parents);
    let calls = collector.calls();
    assert!(calls.iter().all(|call| call.get("x-token").unwrap() == "a b"), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_why() {
    let collector = Collector::start().await;
    let proxy = Proxy::with(tracing(&collector.url())).await;
    let mut spec = function("never");
    spec.timeouts.cold_start = Duration::from_millis(50);
    proxy.add(spec, &[]).await;
    let slow = proxy.add(function("slow"), &[]).await;
    let breaking = Backend::start(|mut wire, _| async move {
        wire.request().await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart").await;
    });
    proxy.add(function("breaking"), &[ready(breaking.address)]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.get("never.test", "/").await.status(), 504);
    assert_eq!(client.get("nobody.test", "/").await.status(), 404);
    client.send("BREW / HTTP/1.1\r\nHost: slow.test\r\n\r\n").await;
    until("it is held", || slow.held() == 1).await;
    drop(client);
    until("it is gone", || slow.held() == 0).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: breaking.test\r\n\r\n").await;
    assert!(client.try_answer().await.is_err(), "cut");
    drop(client);
    proxy.drained().await;

    let servers = collector.servers();
    let seen: Vec<_> = servers
        .iter()
        .map(|span| {
            let of = |key| attribute(span, key).unwrap_or_default();
            let code = span.status.as_ref().unwrap().code();
            (span.name.as_str(), of("http.response.status_code"), of("error.type"), code)
        })
        .collect();
    let row =
        |name, status: &str, reason: &str, code| (name, status.to_owned(), reason.to_owned(), code);
    assert_eq!(
        seen,
        [
            row("GET never", "504", "cold_start_timeout", StatusCode::Error),
            row("GET", "404", "unknown_host", StatusCode::Unset),
            row("HTTP slow", "499", "client_gone", StatusCode::Unset),
            row("GET breaking", "200", "upstream_closed", StatusCode::Error),
        ]
    );
    assert_eq!(attribute(&servers[2], "http.request.method_original").as_deref(), Some("BREW"));
    // It waited for an address to the end.
    let spans: Vec<_> =
        collector.spans().into_iter().filter(|s| s.trace_id == servers[0].trace_id).collect();
    let took = |name| {
        let span = named(&spans, name);
        span.end_time_unix_nano - span.start_time_unix_nano
    };
    assert!(took("wake") >= 45_000_000, "{spans:?}");
    assert_eq!(took("ready"), 0);
}

/// Requests share a connection to a pod that speaks HTTP/2.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_there_is_not_opened() {
    let collector = Collector::start().await;
    let proxy = Proxy::with(tracing(&collector.url())).await;
    let pod = Backend::start(|wire, _| async move {
        let mut connection = h2::server::handshake(wire.stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_response(http::Response::new(()), true).unwrap();
        }
    });
    let spec = RouteSpec { protocol: Protocol::H2c, ..function("f") };
    proxy.add(spec, &[ready(pod.address)]).await;
    let mut client = http2::Client::connect(proxy.address).await;
    for _ in 0..3 {
        assert_eq!(client.get("f.test", "/").await.status, 200);
    }
    assert_eq!(proxy.metric("upstream_connects_total", &[]), 1.0);
    drop(client);
    proxy.drained().await;
    let spans = collector.spans();
    assert_within(named(&spans, "connect"), &collector.servers()[0]);
}

/// A request over TLS that a trusted proxy got is one over TLS.
#[tokio::test(flavor = "multi_thread")]
async fn the_scheme_is_the_clients() {
    let collector = Collector::start().await;
    let mut config = tracing(&collector.url());
    config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let proxy = Proxy::with(config).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: nobody.test\r\nX-Forwarded-Proto: https\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 404);
    drop(client);
    proxy.drained().await;
    assert_eq!(attribute(&collector.servers()[0], "url.scheme").as_deref(), Some("https"));
}

/// Both interceptors on the way of a request are in its trace.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_is_one_trace() {
    let collector = Collector::start().await;
    let pod = telling();
    let [owner, other] = two_with(&tracing(&collector.url()), &[ready(pod.address)]).await;
    let mut client = other.client().await;
    let told = client.get("f.test", "/").await.text().to_owned();
    other.drained().await;
    owner.drained().await;
    let servers = collector.servers();
    let [first, second] = &servers[..] else { panic!("{servers:?}") };
    assert_eq!(hex(&first.parent_span_id), "");
    assert_eq!(second.parent_span_id, first.span_id);
    let last = format!("00-{}-{}-03", hex(&first.trace_id), hex(&second.span_id));
    assert_eq!(told, last);
}

/// Only one that the given authorities know gets traces.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_behind_tls() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let collector = Collector::secure(&certificate, &key).await;
    let mut ca = tempfile::NamedTempFile::new().unwrap();
    ca.write_all(certificate.as_bytes()).unwrap();
    let pod = telling();
    for (known, spans) in [(true, 0.0), (false, 3.0)] {
        let mut config = tracing(&format!("https://{}", collector.address));
        config.observe.otlp_ca = known.then(|| ca.path().to_owned());
        let proxy = Proxy::with(config).await;
        proxy.add(function("f"), &[ready(pod.address)]).await;
        let mut client = proxy.client().await;
        assert_eq!(client.get("f.test", "/").await.status(), 200);
        drop(client);
        proxy.shut_down();
        until("its spans are sent or dropped", || {
            collector.calls().len() == 1 && proxy.metric("spans_dropped_total", &[]) == spans
        })
        .await;
        proxy.drained().await;
    }
    assert_eq!(collector.servers().len(), 1);
}

/// A collector that takes no call costs spans, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_costs_spans() {
    let proxy = Proxy::with(tracing(&format!("http://{}", free_address()))).await;
    let pod = telling();
    proxy.add(function("f"), &[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("f.test", "/").await.status(), 200);
    }
    drop(client);
    proxy.shut_down();
    // The first request opened a connection to the pod.
    until("its spans are dropped", || proxy.metric("spans_dropped_total", &[]) == 7.0).await;
}

/// One that hangs does, too: more requests than the queue and a call take are all answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_costs_spans() {
    const QUEUED: usize = 2048 + 512;
    let collector = Collector::hanging().await;
    let proxy = Proxy::with(tracing(&collector.url())).await;
    let pod = telling();
    proxy.add(function("f"), &[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    for _ in 0..QUEUED + 100 {
        assert_eq!(client.get("f.test", "/").await.status(), 200);
    }
    until("a call hangs", || !collector.calls().is_empty()).await;
    let dropped = proxy.metric("spans_dropped_total", &[]);
    assert!(dropped >= 100.0, "{dropped}");
    assert!(collector.spans().is_empty());
    assert_eq!(client.get("f.test", "/").await.status(), 200);
}

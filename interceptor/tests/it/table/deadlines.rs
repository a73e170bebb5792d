//! Every clock that ends a request.

use std::time::Duration;

use super::{
    pod::{Pod, Step, Stream, say},
    row::{Act, Do, Row, answer, cut, data, get, head, part, post, request, send},
    shape::{error, ok, status},
    transport::Protocol,
};

/// A clock that runs out while the other side stands still.
const SHORT: Duration = Duration::from_millis(200);
/// A clock that runs out, but not before what comes first has happened on a busy machine.
const AFTER_A_WHILE: Duration = Duration::from_secs(3);
/// More than the kernel's buffers on both connections together.
const LARGE: usize = 50_000_000;

fn half(text: &'static str) -> Act {
    Act::Do(Do::Half(text))
}

pub(super) fn rows() -> Vec<Row> {
    [heads(), bodies(), responses(), requests(), holds()].concat()
}

fn heads() -> Vec<Row> {
    let row = |name| Row::new(name).set(|s| s.config.header_timeout = AFTER_A_WHILE).accepted(0);
    vec![
        row("a connection on which nothing is said").client([half(""), Act::Do(Do::Closed)]),
        row("a head that never ends")
            .client([half("GET / HTTP/1.1\r\nHost: f.te"), answer(error(408, "request_timeout"))])
            .errors(&[("request_timeout", 1)])
            .unless(Protocol::Http2, "a field block stops its whole connection; pings end it"),
        row("a preface that never ends")
            .client([half("PRI * HTTP/2.0\r\n\r\n"), Act::Do(Do::Closed)])
            .unless(Protocol::Http1, "there is no preface"),
    ]
}

fn bodies() -> Vec<Row> {
    let pod = || [Pod::script(&[Step::Head, Step::Drain])];
    let row = |name| {
        Row::new(name).set(|s| s.config.body_timeout = SHORT).errors(&[("request_timeout", 1)])
    };
    let timeout = || answer(error(408, "request_timeout"));
    vec![
        row("a body that never comes").pods(pod()).client([
            send(post("/").length(50)),
            timeout(),
            Act::PodsLeft(1),
        ]),
        row("a body that stops")
            .pods(pod())
            .client([send(post("/").length(50)), data("hello"), timeout(), Act::PodsLeft(1)])
            .arrived(1),
        row("a body of unknown length that stops").pods(pod()).client([
            send(post("/").open()),
            data("hello"),
            timeout(),
            Act::PodsLeft(1),
        ]),
        row("a body that stops, for a pod that speaks HTTP/2").h2_pod([Stream::Silent]).client([
            send(post("/").length(50)),
            data("hello"),
            timeout(),
            Act::PodsLeft(1),
        ]),
        row("a body that trickles")
            .set(|s| {
                // Looked at twice a second, when 5 kB should have come.
                s.config.body_timeout = Duration::from_millis(500);
                s.config.body_min_rate = 10_000;
            })
            .pods(pod())
            .client([send(post("/").length(1_000_000)), Act::Do(Do::Trickle), timeout()]),
    ]
}

fn responses() -> Vec<Row> {
    let row = |name| {
        Row::new(name)
            .set(|s| s.spec.timeouts.response_header = SHORT)
            .errors(&[("response_timeout", 1)])
    };
    let timeout = || answer(error(504, "response_timeout"));
    let silent = || [Pod::script(&[Step::Take, Step::Drain])];
    vec![
        row("a pod that does not answer").pods(silent()).client([
            send(get("/")),
            timeout(),
            Act::PodsLeft(1),
        ]),
        row("a pod that does not answer a body").pods(silent()).client([
            send(post("/").body("hello")),
            timeout(),
            Act::PodsLeft(1),
        ]),
        row("a pod that speaks HTTP/2 and does not answer").h2_pod([Stream::Silent]).client([
            send(post("/").body("hello")),
            timeout(),
            Act::PodsLeft(1),
        ]),
        row("a pod that takes nothing of a body")
            .set(|s| s.spec.timeouts.response_header = Duration::from_millis(600))
            .pods([Pod::script(&[Step::Deaf])])
            .client([
                send(request("PUT", "/").length(LARGE)),
                Act::Do(Do::Upload(LARGE)),
                timeout(),
            ]),
        row("a pod that only sends interim responses")
            .pods([Pod::script(&[Step::Take, say("HTTP/1.1 102 Processing\r\n\r\n"), Step::Drain])])
            .client([send(get("/")), Act::Do(Do::Interims), timeout(), Act::PodsLeft(1)]),
    ]
}

fn requests() -> Vec<Row> {
    let row = |name| {
        Row::new(name)
            .set(|s| s.spec.timeouts.request = Some(SHORT))
            .errors(&[("request_deadline", 1)])
    };
    let deadline = || answer(error(504, "request_deadline"));
    let started = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nfirst";
    vec![
        row("requestSeconds, and no answer")
            .pods([Pod::script(&[Step::Take, Step::Drain])])
            .client([send(get("/")), deadline(), Act::PodsLeft(1)]),
        row("requestSeconds, and no answer from a pod that speaks HTTP/2")
            .h2_pod([Stream::Silent])
            .client([send(get("/")), deadline(), Act::PodsLeft(1)]),
        row("requestSeconds, and a body that does not end")
            .pods([Pod::script(&[Step::Head, Step::Drain])])
            .client([send(post("/").length(50)), data("hello"), deadline(), Act::PodsLeft(1)]),
        row("requestSeconds, and an answer that does not end")
            .set(|s| s.spec.timeouts.request = Some(AFTER_A_WHILE))
            .pods([Pod::script(&[Step::Take, say(started), Step::Drain])])
            .client([send(get("/")), head(status(200)), part("first"), cut(), Act::PodsLeft(1)]),
        Row::new("requestSeconds that are not over")
            .set(|s| s.spec.timeouts.request = Some(Duration::from_secs(600)))
            .client([send(get("/in-time")), answer(ok("/in-time"))]),
    ]
}

fn holds() -> Vec<Row> {
    let row = |name| {
        Row::new(name)
            .set(|s| s.spec.timeouts.cold_start = SHORT)
            .pods([])
            .errors(&[("cold_start_timeout", 1)])
    };
    let timeout = || answer(error(504, "cold_start_timeout"));
    vec![
        row("a function that does not start").client([send(get("/")), timeout()]),
        row("a function that does not start, and a body")
            .client([send(post("/").body("hello")), timeout()]),
        row("a function that does not start, and a body that does not end").client([
            send(post("/").length(50)),
            data("hello"),
            timeout(),
        ]),
        row("a function that does not start, and its HTTP/2 pod")
            .h2_pod([])
            .pods([])
            .client([send(post("/").body("hello")), timeout()]),
        Row::new("a function whose only pod is busy")
            .set(|s| {
                s.spec.timeouts.cold_start = SHORT;
                s.spec.concurrency = 1;
            })
            .pods([Pod::script(&[Step::Take, Step::Pass, say(crate::support::ok("done"))])])
            .client([
                send(get("/busy")),
                Act::Arrived(1),
                Act::As(1),
                send(get("/")),
                answer(error(504, "saturated")),
                Act::Open,
                Act::As(0),
                answer(ok("done")),
            ])
            .accepted(2)
            .errors(&[("saturated", 1)])
            .arrived(1),
    ]
}

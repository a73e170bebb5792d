//! What is added to a message, taken from it and believed of it.

use std::{num::NonZeroUsize, time::Duration};

use kipper_interceptor::source::SecurityHeaders;

use super::{
    pod::{Place, Pod, Step, Stream, say},
    row::{Act, Request, Row, Settings, answer, data, end, get, post, send, trailers},
    shape::{Shape, error, ok, status, target},
    transport::Protocol,
};
use crate::support;

/// Names that a CGI-like server reads as those that this proxy writes.
const IMITATIONS: &[&str] = &[
    "x_forwarded_for",
    "x_forwarded-for",
    "x-forwarded_for",
    "x_forwarded_proto",
    "x_forwarded_host",
    "x_forwarded_port",
    "x_real_ip",
    "x_request_id",
];

/// What only a poller says of an event, and names that read as such.
const OF_EVENTS: &[&str] = &["ce-id", "ce-type", "ce-source", "ce_specversion", "ce-any_thing"];
/// What only our own components say to each other.
const OURS: &[&str] = &[
    "kipper-attempt",
    "kipper_attempt",
    "kipper-event-token",
    "kipper_event-token",
    "kipper-hops",
];

pub(super) fn rows() -> Vec<Row> {
    [
        hops(),
        hops_of_pods(),
        clients(),
        imitations(),
        events(),
        security(),
        times(),
        cookies(),
        targets(),
    ]
    .concat()
}

fn trusting(settings: &mut Settings) {
    settings.config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
}

fn is_new_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

fn hops() -> Vec<Row> {
    vec![
        Row::new("fields for one hop are not passed on")
            .client([
                send(
                    get("/")
                        .field("proxy-authorization", "Basic x")
                        .field("te", "trailers")
                        .field("x-kept", "1"),
                ),
                answer(ok("/")),
            ])
            .got(
                0,
                target("/")
                    .no("proxy-authorization")
                    .field("te", "trailers")
                    .field("x-kept", "1")
                    .no("connection"),
            ),
        Row::new("fields for one hop of HTTP/1.1 are not passed on")
            .client([
                send(
                    get("/")
                        .field("Connection", "keep-alive")
                        .field("Keep-Alive", "timeout=5")
                        .field("Proxy-Connection", "keep-alive")
                        .field("Upgrade", "h2c")
                        .field("TE", "gzip, trailers"),
                ),
                answer(ok("/")),
            ])
            .got(
                0,
                target("/")
                    .no("connection")
                    .no("keep-alive")
                    .no("proxy-connection")
                    .no("upgrade")
                    .field("te", "trailers"),
            )
            .unless(Protocol::Http2, "such fields make a request malformed"),
        Row::new("an upgrade to another HTTP is not asked for")
            .client([
                send(Request { method: "GET", ..upgrade("h2c") }),
                answer(ok("/")),
                send(Request { method: "GET", ..upgrade("websocket, H2c") }),
                answer(ok("/")),
            ])
            .accepted(2)
            .got(0, target("/").no("connection").no("upgrade").no("http2-settings"))
            .got(1, target("/").no("connection").no("upgrade").no("http2-settings"))
            .unless(Protocol::Http2, "such fields make a request malformed"),
        Row::new("an upgrade that comes with a body is not asked for")
            .client([send(upgrade("h2c").body("hello")), answer(ok("/"))])
            .got(0, target("/").no("connection").no("upgrade").no("http2-settings").body("hello"))
            .unless(Protocol::Http2, "such fields make a request malformed"),
        Row::new("an upgrade that comes with chunks is not asked for")
            .client([send(upgrade("websocket").open()), data("hello"), end(), answer(ok("/"))])
            .got(0, target("/").no("connection").no("upgrade").no("http2-settings").body("hello"))
            .unless(Protocol::Http2, "such fields make a request malformed"),
        Row::new("fields that a client nominates are dropped, but never ours")
            .client([
                send(
                    get("/")
                        .field("X-Forwarded-For", "6.6.6.6")
                        .field("X-Mine", "1")
                        .field("Connection", "X-Forwarded-For, X-Mine, X-Forwarded-Proto, Host"),
                ),
                answer(ok("/")),
            ])
            .got(
                0,
                target("/")
                    .no("x-mine")
                    .field("host", "f.test")
                    .field("x-forwarded-for", "127.0.0.1")
                    .field("x-forwarded-proto", "{scheme}")
                    .field("x-forwarded-host", "f.test"),
            )
            .unless(Protocol::Http2, "there is no Connection field"),
    ]
}

/// As curl offers HTTP/2.
fn upgrade(protocol: &str) -> Request {
    post("/")
        .field("Connection", "Upgrade, HTTP2-Settings")
        .field("Upgrade", protocol)
        .field("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA")
}

fn hops_of_pods() -> Vec<Row> {
    let answer_with_hops = "HTTP/1.1 200 OK\r\nConnection: X-Mine, keep-alive\r\nX-Mine: 1\r\n\
        Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Connection: x\r\n\
        Upgrade: h2c\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok";
    vec![
        Row::new("fields for one hop of a pod are not passed on")
            .pods([Pod::answering(answer_with_hops)])
            .client([
                send(get("/")),
                answer(
                    ok("ok")
                        .no("x-mine")
                        .no("connection")
                        .no("keep-alive")
                        .no("proxy-authenticate")
                        .no("proxy-connection")
                        .no("upgrade")
                        .field("x-kept", "1"),
                ),
            ]),
    ]
}

fn spoofed() -> Request {
    get("/")
        .field("x-forwarded-for", "1.2.3.4")
        .field("x-forwarded-proto", "https")
        .field("x-forwarded-host", "public.test")
        .field("x-forwarded-port", "1")
        .field("x-real-ip", "1.2.3.4")
        .field("forwarded", "for=1.2.3.4")
        .field("x-request-id", "given-1")
}

fn clients() -> Vec<Row> {
    let honest = || {
        target("/")
            .field("x-forwarded-for", "127.0.0.1")
            .field("x-forwarded-proto", "{scheme}")
            .field("x-forwarded-host", "f.test")
            .no("x-forwarded-port")
            .no("x-real-ip")
            .no("forwarded")
            .fits("x-request-id", is_new_id)
    };
    let believed = || {
        target("/")
            .field("x-forwarded-for", "1.2.3.4, 127.0.0.1")
            .field("x-forwarded-proto", "https")
            .field("x-forwarded-host", "public.test")
            .field("x-forwarded-port", "1")
            .field("x-real-ip", "1.2.3.4")
            .field("forwarded", "for=1.2.3.4")
            .field("x-request-id", "given-1")
    };
    vec![
        Row::new("what is said about a client of ours")
            .client([send(get("/")), answer(ok("/"))])
            .got(0, honest()),
        Row::new("strangers do not speak for clients")
            .client([send(spoofed()), answer(ok("/").over_tls("strict-transport-security"))])
            .got(0, honest()),
        Row::new("trusted proxies speak for clients")
            .set(trusting)
            // The client's connection to them was secure.
            .client([send(spoofed()), answer(ok("/").has("strict-transport-security"))])
            .got(0, believed()),
        Row::new("trusted proxies speak for clients of HTTP/2 pods")
            .set(trusting)
            .h2_pod([Stream::Echo])
            .client([send(spoofed()), answer(ok("").has("strict-transport-security"))])
            .got(0, believed()),
        Row::new("an id that could not be written to a log is a new one")
            .set(trusting)
            .client([send(get("/").field("x-request-id", "a\"b")), answer(ok("/"))])
            .got(0, target("/").fits("x-request-id", is_new_id)),
        Row::new("an error names the id of its request")
            .set(trusting)
            .pods([Pod::script(&[Step::Take])])
            .client([
                send(spoofed()),
                answer(error(502, "upstream_closed").field("x-request-id", "given-1")),
            ])
            .errors(&[("upstream_closed", 1)])
            .got(0, target("/").field("x-request-id", "given-1")),
        Row::new("an error for a stranger has a new id")
            .pods([])
            .set(|s| s.spec.timeouts.cold_start = Duration::from_millis(100))
            .client([
                send(spoofed()),
                answer(error(504, "cold_start_timeout").fits("x-request-id", is_new_id)),
            ])
            .errors(&[("cold_start_timeout", 1)]),
    ]
}

fn imitations() -> Vec<Row> {
    let forged = |target: Request| {
        IMITATIONS.iter().fold(target, |request, name| request.field(name, "6.6.6.6"))
    };
    let untouched = || {
        let ours = target("/").field("x-forwarded-for", "127.0.0.1");
        IMITATIONS.iter().fold(ours, |shape, name| shape.no(name))
    };
    let forged_trailers = || {
        let forged = IMITATIONS.iter().map(|name| (*name, "6.6.6.6"));
        let plain = [("x-forwarded-for", "6.6.6.6"), ("x-request-id", "6"), ("x-sum", "5")];
        forged.chain(plain).collect::<Vec<_>>()
    };
    let in_trailers = |row: Row| {
        row.client([
            send(post("/").open().field("te", "trailers")),
            data("hello"),
            trailers(&forged_trailers()),
            answer(status(200)),
        ])
        .got(0, target("/").body("hello").trailers(&[("x-sum", "5")]))
    };
    vec![
        Row::new("names that imitate ours")
            .client([send(forged(get("/"))), answer(ok("/"))])
            .got(0, untouched()),
        Row::new("names that imitate ours, from a trusted proxy")
            .set(trusting)
            .client([send(forged(get("/"))), answer(ok("/"))])
            .got(0, untouched()),
        Row::new("names that imitate ours, for an HTTP/2 pod")
            .h2_pod([Stream::Echo])
            .client([send(forged(get("/"))), answer(ok(""))])
            .got(0, untouched()),
        Row::new("names of a client's own, with underscores")
            .client([send(get("/").field("my_own", "1")), answer(ok("/"))])
            .got(0, target("/").field("my_own", "1")),
        Row::new("a trailer that reads as Content-Length")
            .client([
                send(post("/").open()),
                data("hello"),
                trailers(&[("content_length", "5")]),
                answer(error(400, "bad_request")),
            ])
            .errors(&[("bad_request", 1)])
            .arrived(0),
        in_trailers(Row::new("names that imitate ours, in trailers")),
        in_trailers(
            Row::new("names that imitate ours, in trailers for an HTTP/2 pod")
                .h2_pod([Stream::Echo]),
        ),
    ]
}

fn events() -> Vec<Row> {
    let forged = |request: Request| {
        let names = OF_EVENTS.iter().chain(OURS);
        names.fold(request, |request, name| request.field(name, "6"))
    };
    let without = |shape: Shape, names: &[&'static str]| {
        names.iter().fold(shape, |shape, name| shape.no(name))
    };
    let no_event = || without(without(target("/"), OF_EVENTS), OURS);
    let in_trailers = || {
        let forged = OF_EVENTS.iter().chain(OURS).map(|name| (*name, "6"));
        trailers(&forged.chain([("x-sum", "5")]).collect::<Vec<_>>())
    };
    let of_events = |settings: &mut Settings| settings.spec.event_trigger = true;
    vec![
        Row::new("what only a poller says")
            .set(of_events)
            .client([send(forged(get("/"))), answer(ok("/"))])
            .got(0, no_event()),
        Row::new("what only a poller says, from a trusted proxy")
            .set(of_events)
            .set(trusting)
            .client([send(forged(get("/"))), answer(ok("/"))])
            .got(0, no_event()),
        Row::new("what only a poller says, for an HTTP/2 pod")
            .set(of_events)
            .h2_pod([Stream::Echo])
            .client([send(forged(get("/"))), answer(ok(""))])
            .got(0, no_event()),
        Row::new("what only a poller says, in trailers")
            .client([
                send(post("/").open().field("te", "trailers")),
                data("hello"),
                in_trailers(),
                answer(ok("/")),
            ])
            .got(0, no_event().body("hello").trailers(&[("x-sum", "5")])),
        // They are CloudEvents of somebody else's for a function that gets none from a poller.
        Row::new("attributes of events, for a function without")
            .client([send(forged(get("/"))), answer(ok("/"))])
            .got(0, without(target("/"), OURS).field("ce-id", "6").field("ce-type", "6")),
    ]
}

fn targets() -> Vec<Row> {
    vec![
        Row::new("a target that is not ASCII")
            .client([send(get("/\u{fc}ber?q=\u{1f600}")), answer(ok("/\u{fc}ber?q=\u{1f600}"))])
            .got(0, target("/\u{fc}ber?q=\u{1f600}")),
        Row::new("a target that is not ASCII, for an HTTP/2 pod")
            .h2_pod([Stream::Echo])
            .client([send(get("/\u{fc}ber")), answer(ok(""))])
            .got(0, target("/\u{fc}ber")),
    ]
}

fn security() -> Vec<Row> {
    let product = "HTTP/1.1 200 OK\r\nServer: pod/1\r\nX-Powered-By: pod\r\n\
        Content-Length: 2\r\n\r\nok";
    let own = "HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\nReferrer-Policy: origin\r\n\
        Content-Length: 2\r\n\r\nok";
    vec![
        Row::new("security headers").pods([Pod::answering(product)]).client([
            send(get("/")),
            answer(
                ok("ok")
                    .field("content-security-policy", "default-src 'self'")
                    .field("x-content-type-options", "nosniff")
                    .field("x-frame-options", "SAMEORIGIN")
                    .field("referrer-policy", "strict-origin-when-cross-origin")
                    // RFC 6797: not over a connection that is not secure.
                    .over_tls("strict-transport-security")
                    .no("server")
                    .no("x-powered-by"),
            ),
        ]),
        Row::new("security headers for an HTTP/2 pod").h2_pod([Stream::Echo]).client([
            send(get("/")),
            answer(
                ok("")
                    .field("x-content-type-options", "nosniff")
                    .over_tls("strict-transport-security"),
            ),
        ]),
        Row::new("security headers that the function sets itself")
            .set(|s| {
                let allowed = vec!["https://cdn.test".into(), "bad; script-src *".into()];
                s.spec.security = Some(SecurityHeaders { csp_allowlist: allowed });
            })
            .pods([Pod::answering(own)])
            .client([
                send(get("/")),
                answer(
                    ok("ok")
                        .field("content-security-policy", "default-src 'self' https://cdn.test")
                        .field("x-frame-options", "DENY")
                        .field("referrer-policy", "origin")
                        .field("x-content-type-options", "nosniff"),
                ),
            ]),
        Row::new("no security headers")
            .set(|s| s.spec.security = None)
            .pods([Pod::answering(product)])
            .client([
                send(get("/")),
                answer(
                    ok("ok")
                        .no("content-security-policy")
                        .no("x-content-type-options")
                        .no("x-frame-options")
                        .no("referrer-policy")
                        .no("strict-transport-security")
                        .field("server", "pod/1")
                        .field("x-powered-by", "pod"),
                ),
            ]),
    ]
}

fn times() -> Vec<Row> {
    let dated = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
        Content-Length: 2\r\n\r\nok";
    let phases = |timing: &str| {
        let phases = timing.split(", ").map(|phase| phase.split_once(";dur=").unwrap());
        let (names, durations): (Vec<_>, Vec<_>) = phases.unzip();
        names == ["queue", "wake", "ready", "connect", "ttfb"]
            && durations.iter().all(|ms| ms.parse::<f64>().unwrap() >= 0.0)
    };
    vec![
        Row::new("the date of a pod's answer").pods([Pod::answering(dated)]).client([
            send(get("/")),
            answer(ok("ok").field("date", "Sun, 06 Nov 1994 08:49:37 GMT")),
        ]),
        Row::new("the date of an answer without one")
            .client([send(get("/")), answer(ok("/").has("date"))]),
        Row::new("the phases of a cold start, and none after it")
            .pods([Pod::serving().at(Place::Later)])
            .client([
                send(get("/cold")),
                Act::Held(1),
                Act::Place,
                answer(ok("/cold").fits("server-timing", phases)),
                send(get("/warm")),
                answer(ok("/warm").no("server-timing")),
            ])
            .accepted(2),
        Row::new("the phases of a cold start of an HTTP/2 pod")
            .h2_pod([])
            .pods([Pod::http2([Stream::Echo]).at(Place::Later)])
            .client([
                send(post("/cold").body("hello")),
                Act::Held(1),
                Act::Place,
                answer(ok("hello").has("server-timing")),
            ]),
        Row::new("no phases of a wait behind a busy pod")
            .set(|s| {
                s.spec.concurrency = 1;
                s.config.workers = NonZeroUsize::new(1);
            })
            .pods([Pod::script(&[Step::Take, Step::Pass, say(support::ok("first")), Step::Serve])])
            .client([
                send(get("/first")),
                Act::Arrived(1),
                Act::As(1),
                send(get("/second")),
                Act::Held(1),
                Act::Open,
                answer(ok("/second").no("server-timing")),
                Act::As(0),
                answer(ok("first").no("server-timing")),
            ])
            .accepted(2),
    ]
}

fn cookies() -> Vec<Row> {
    vec![
        Row::new("crumbs of a cookie are one field for a pod")
            .client([send(get("/").field("cookie", "a=1").field("cookie", "b=2")), answer(ok("/"))])
            .got(0, target("/").field("cookie", "a=1; b=2"))
            .unless(Protocol::Http1, "a client sends one Cookie field"),
    ]
}

//! What is answered without a pod.

use std::num::NonZeroUsize;

use super::{
    row::{Act, Leave, Row, answer, get, leave, post, request, send},
    shape::{error, ok, status, target},
    transport::Protocol,
};

/// What servers make `/event` of; the unit tests of admission have more.
const EVENTS: &[&str] = &[
    "/event",
    "/event/",
    "/event?x=1",
    "/EVENT",
    "/%65vent",
    "/%2565vent",
    "//event",
    "/./event",
    "/a/../event",
    "/a/%2e%2e/event",
    "/%/../event",
    "/;x/../event",
    "/event;v=1",
    "/a\\..\\event",
    "/%5cevent",
    "//other.test/event",
    "/event%3fx",
    "/event%00",
];

pub(super) fn rows() -> Vec<Row> {
    [routes(), malformed(), too_large(), queues()].concat()
}

fn routes() -> Vec<Row> {
    let unknown = || answer(error(404, "unknown_host"));
    let no_event = || answer(error(404, "event_path"));
    let events = EVENTS.iter().flat_map(|t| [send(post(t).body("{}")), no_event()]);
    let passes = [send(post("/events").body("{}")), answer(ok("/events"))];
    let refused = u32::try_from(EVENTS.len()).unwrap();
    let hosts = ["F.Test", "f.test:8080", "f.test.", "F.TEST.:80"];
    let known = hosts.iter().flat_map(|h| [send(get("/").host(h)), answer(ok("/"))]);
    vec![
        Row::new("an unknown host, and the next request")
            .client([
                send(get("/").host("nobody.test")),
                unknown(),
                send(get("/")),
                answer(ok("/")),
            ])
            .errors(&[("unknown_host", 1)]),
        Row::new("an unknown host of a HEAD, and the next request")
            .client([
                send(request("HEAD", "/").host("nobody.test")),
                answer(status(404).body("").has("content-length")),
                send(get("/")),
                answer(ok("/")),
            ])
            .errors(&[("unknown_host", 1)]),
        Row::new("an unknown host, and a body")
            .client([send(post("/").host("nobody.test").body("hello")), unknown()])
            .accepted(0)
            .errors(&[("unknown_host", 1)])
            .arrived(0),
        Row::new("case, port and final dot of a host do not matter")
            .client(known.collect::<Vec<_>>())
            .accepted(4),
        Row::new("the path of events, for a function with events")
            .set(|s| s.spec.event_trigger = true)
            .client(events.chain(passes).collect::<Vec<_>>())
            .errors(&[("event_path", refused)])
            .arrived(1),
        Row::new("the path of events, for a function without")
            .client([send(post("/event").body("{}")), answer(ok("/event"))]),
        Row::new("a removed function, and those that it held")
            .pods([])
            .client([
                Act::Each(5, vec![send(get("/"))]),
                Act::Held(5),
                Act::Remove,
                Act::Each(5, vec![unknown()]),
                send(get("/")),
                unknown(),
            ])
            .accepted(5)
            .errors(&[("unknown_host", 6)]),
    ]
}

fn malformed() -> Vec<Row> {
    let bad = |name: &str, field: &str, value: &str| {
        Row::new(name)
            .client([send(get("/").field(field, value)), answer(error(400, "bad_request"))])
            .accepted(0)
            .errors(&[("bad_request", 1)])
            .arrived(0)
    };
    vec![
        bad("a name that reads as Transfer-Encoding", "transfer_encoding", "chunked"),
        bad("a name that reads as Content-Length", "content_length", "5"),
        bad("a name that reads as Connection", "connection_", "x")
            .client([send(get("/").field("x_connection", "x")), answer(ok("/"))])
            .accepted(1)
            .errors(&[])
            .arrived(1),
        Row::new("CONNECT")
            .client([
                send(request("CONNECT", "f.test:80")),
                answer(error(405, "method_not_allowed")),
            ])
            .accepted(0)
            .errors(&[("method_not_allowed", 1)])
            .arrived(0),
    ]
}

fn too_large() -> Vec<Row> {
    let long = "a".repeat(4096);
    let many = (0..101).fold(get("/"), |request, n| request.field(&format!("x-{n}"), ""));
    let row = |name, request| {
        Row::new(name)
            .set(|s| s.config.max_header_bytes = 2048)
            .client([send(request), answer(error(431, "headers_too_large"))])
            .accepted(0)
            .errors(&[("headers_too_large", 1)])
            .arrived(0)
            // hyper refuses the field section itself, with nothing but the status.
            .over(Protocol::Http2, |row| {
                let mut acts = row.acts.clone();
                acts[1] = answer(status(431));
                row.client(acts).errors(&[])
            })
    };
    let fields = |n: usize| (0..n).fold(get("/"), |get, n| get.field(&format!("x-{n}"), ""));
    vec![
        Row::new("a field more than is allowed")
            .set(|s| s.config.max_header_fields = 20)
            .client([send(fields(21)), answer(error(431, "headers_too_large"))])
            .accepted(0)
            .errors(&[("headers_too_large", 1)])
            .arrived(0),
        Row::new("as many fields as are allowed")
            .set(|s| s.config.max_header_fields = 300)
            // Beside `Host`, which HTTP/2 has elsewhere.
            .client([send(fields(299)), answer(ok("/"))])
            .got(0, target("/").field("x-298", "")),
        row("a field that is too long", get("/").field("x-long", &long)),
        row("a target that is too long", get(&format!("/{long}"))),
        row("too many fields", many),
    ]
}

fn queues() -> Vec<Row> {
    let long = format!("/{}", "a".repeat(8_000));
    let full = || answer(error(503, "queue_full").field("retry-after", "3"));
    vec![
        Row::new("a queue that is full by count")
            .set(|s| s.config.max_held = NonZeroUsize::new(3).unwrap())
            .pods([])
            .client([
                Act::Each(3, vec![send(get("/"))]),
                Act::Held(3),
                Act::As(3),
                send(get("/late")),
                full(),
                send(get("/late")),
                full(),
                Act::Held(3),
            ])
            .accepted(5)
            .errors(&[("queue_full", 2), ("client_gone", 3)]),
        Row::new("a queue that is full for a HEAD, and the next request")
            .set(|s| s.config.max_held = NonZeroUsize::MIN)
            .pods([])
            .client([
                send(get("/")),
                Act::Held(1),
                Act::As(1),
                send(request("HEAD", "/late")),
                answer(status(503).body("").has("content-length").field("retry-after", "3")),
                send(get("/late")),
                full(),
            ])
            .accepted(3)
            .errors(&[("queue_full", 2), ("client_gone", 1)]),
        Row::new("a queue that is full of what its clients may send ahead")
            .set(|s| s.config.max_held_bytes = NonZeroUsize::new(300_000).unwrap())
            .pods([])
            .client([
                send(post("/").open()),
                Act::Held(1),
                Act::As(1),
                send(post("/").open()),
                full(),
                send(post("/").length(5)),
                Act::Held(2),
                leave(Leave::Fin),
            ])
            .accepted(3)
            .errors(&[("queue_full", 1), ("client_gone", 2)])
            .unless(Protocol::Http1, "what a client sends ahead stays in the kernel"),
        Row::new("a queue that is full by bytes")
            .set(|s| s.config.max_held_bytes = NonZeroUsize::new(20_000).unwrap())
            .pods([])
            .client([
                Act::Each(2, vec![send(get(&long))]),
                Act::Held(2),
                Act::As(2),
                send(get(&long)),
                full(),
                // What fits is still held.
                send(get("/")),
                Act::Held(3),
                leave(Leave::Fin),
            ])
            .accepted(4)
            .errors(&[("queue_full", 1), ("client_gone", 3)]),
    ]
}

//! Answers that are what the pod said: bodies of every framing or none, trailers, interim
//! responses.

use super::{
    pod::{Pod, Step, Stream, say},
    row::{
        Act, Row, answer, data, end, get, head, interim, part, post, request, rest, send, trailers,
    },
    shape::{error, ok, status, target},
};
use crate::support;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

pub(super) fn rows() -> Vec<Row> {
    [bodies(), heads(), no_bodies(), pieces(), interims(), expectations()].concat()
}

fn bodies() -> Vec<Row> {
    let million = "x".repeat(1_000_000);
    let twice = |request: fn() -> super::row::Request, expected: &str| {
        vec![send(request()), answer(ok(expected)), send(request()), answer(ok(expected))]
    };
    vec![
        Row::new("requests share a connection to the pod")
            .client(vec![[send(post("/").body("hello")), answer(ok("/"))]; 20].concat())
            .accepted(20)
            .connections(1),
        Row::new("a body with a length").pods([Pod::answering(&support::ok("nine byte"))]).client(
            [
                send(get("/")),
                answer(ok("nine byte").field("content-length", "9").no("transfer-encoding")),
            ],
        ),
        Row::new("a large body")
            .pods([Pod::answering(&support::ok(&million))])
            .client(twice(|| get("/"), &million))
            .accepted(2)
            .connections(1),
        Row::new("a large body in chunks")
            .pods([Pod::answering(&format!("{CHUNKED}f4240\r\n{million}\r\n0\r\n\r\n"))])
            .client(twice(|| get("/"), &million))
            .accepted(2)
            .connections(1),
        Row::new("a body that the end of the connection ends")
            .pods([Pod::script(&[Step::Take, say("HTTP/1.1 200 OK\r\n\r\nuntil the end")])])
            .client(twice(|| get("/"), "until the end"))
            .accepted(2)
            .connections(2),
        Row::new("an empty body")
            .pods([Pod::answering(&support::ok(""))])
            .client([send(get("/")), answer(ok("").field("content-length", "0"))]),
        Row::new("a pod that closes after each answer")
            .pods([Pod::answering(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            )])
            .client(twice(|| get("/"), "ok"))
            .accepted(2)
            .connections(2),
        Row::new("a request without a body that could have one")
            .client([send(post("/")), answer(ok("/"))])
            .got(0, target("/").field("content-length", "0").body("")),
    ]
}

/// Frameworks set many cookies, and long ones.
fn heads() -> Vec<Row> {
    let cookies: Vec<_> = (0..110).map(|n| format!("Set-Cookie: c{n}={n}\r\n")).collect();
    let (cookies, long) = (cookies.concat(), "x".repeat(40_000));
    let is_long = |value: &str| value.len() == 40_000;
    let row = |name, fields: &str, shape| {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
        Row::new(name).pods([Pod::answering(&text)]).client([send(get("/")), answer(shape)])
    };
    vec![
        row("an answer with 110 cookies", &cookies, ok("ok").count("set-cookie", 110)),
        row(
            "an answer with a field of 40 KB",
            &format!("X-Long: {long}\r\n"),
            ok("ok").fits("x-long", is_long),
        ),
        Row::new("an answer of an HTTP/2 pod with 110 cookies")
            .h2_pod([Stream::Cookies(110, 1)])
            .client([send(get("/")), answer(ok("").count("set-cookie", 110))]),
        Row::new("an answer of an HTTP/2 pod with a field of 100 KB")
            .h2_pod([Stream::Cookies(1, 100_000)])
            .client([send(get("/")), answer(ok("").count("set-cookie", 1))]),
        Row::new("an answer of an HTTP/2 pod with more than is allowed")
            .set(|s| s.config.max_response_header_bytes = 2000)
            .h2_pod([Stream::Cookies(1, 3000)])
            .client([send(get("/")), answer(error(502, "bad_response"))])
            .errors(&[("bad_response", 1)])
            .refused_answers(&["malformed HTTP/2"]),
    ]
}

/// RFC 9110 sections 9.3.2, 15.3.5 and 15.4.5. The connection to the pod goes on.
fn no_bodies() -> Vec<Row> {
    let unmodified = "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"a\"\r\n\r\n";
    let heads = |name, text: &str, shape: fn() -> super::shape::Shape| {
        let request = || send(request("HEAD", "/"));
        Row::new(name)
            .pods([Pod::answering(text)])
            .client([request(), answer(shape()), request(), answer(shape())])
            .accepted(2)
            .connections(1)
    };
    vec![
        Row::new("204")
            .pods([Pod::answering("HTTP/1.1 204 No Content\r\n\r\n")])
            .client([
                send(get("/")),
                answer(status(204).body("").no("content-length").no("transfer-encoding")),
                send(get("/")),
                answer(status(204).body("")),
            ])
            .accepted(2)
            .connections(1),
        Row::new("304")
            .pods([Pod::answering(unmodified)])
            .client([
                send(get("/")),
                answer(status(304).body("").field("content-length", "9").field("etag", "\"a\"")),
                send(get("/")),
                answer(status(304).body("")),
            ])
            .accepted(2)
            .connections(1),
        heads("HEAD with a length", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", || {
            ok("").field("content-length", "9")
        }),
        heads("HEAD with chunks", CHUNKED, || ok("").no("content-length")),
        heads("HEAD without either", "HTTP/1.1 200 OK\r\n\r\n", || ok("").no("content-length")),
        Row::new("HEAD for an HTTP/2 pod")
            .h2_pod([Stream::TrailersOnly])
            .client([send(request("HEAD", "/")), answer(ok("").field("grpc-status", "7"))]),
    ]
}

fn pieces() -> Vec<Row> {
    let texts: Vec<_> = (0..50).map(|n| format!("piece {n}")).collect();
    let exchanged = || {
        let first = [send(post("/").open().field("te", "trailers"))];
        let each = texts.iter().enumerate().flat_map(|(n, text)| {
            let head = (n == 0).then(|| head(status(200)));
            [Some(data(text)), head, Some(part(text))].into_iter().flatten()
        });
        first.into_iter().chain(each).collect::<Vec<_>>()
    };
    vec![
        Row::new("both directions at the same time, with trailers")
            .pods([Pod::script(&[Step::Head, say(CHUNKED), Step::Echo, Step::Drain])])
            .client(
                // Trailers must not frame or route (RFC 9110 section 6.5.1).
                [
                    exchanged(),
                    vec![
                        trailers(&[("x-sum", "7"), ("content-length", "5"), ("host", "g.test")]),
                        rest(ok("").trailers(&[("x-sum", "7")])),
                    ],
                ]
                .concat(),
            )
            .got(0, target("/").field("transfer-encoding", "chunked").field("te", "trailers")),
        Row::new("both directions at the same time, with an HTTP/2 pod")
            .h2_pod([Stream::Pieces])
            .client([exchanged(), vec![end(), rest(ok(""))]].concat()),
        Row::new("events, each before the next one is sent")
            .pods([Pod::script(&[
                Step::Take,
                say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"),
                Step::Pass,
                say("data: 2\n\n"),
            ])])
            .client([
                send(get("/")),
                head(status(200).field("content-type", "text/event-stream")),
                part("data: 1\n\n"),
                Act::Open,
                part("data: 2\n\n"),
                rest(ok("")),
            ]),
        Row::new("trailers of the request")
            .client([
                send(post("/").open()),
                data("hello"),
                trailers(&[("x-sum", "5")]),
                answer(ok("/")),
            ])
            .got(0, target("/").body("hello").trailers(&[("x-sum", "5")])),
        Row::new("trailers of the answer")
            .pods([Pod::answering(&format!("{CHUNKED}3\r\nbye\r\n0\r\nX-Checked: 5\r\n\r\n"))])
            .client([send(get("/")), answer(ok("bye").trailers(&[("x-checked", "5")]))]),
        Row::new("trailers of both, with an HTTP/2 pod")
            .h2_pod([Stream::Echo])
            .client([
                send(post("/").open().field("te", "trailers")),
                data("hello"),
                trailers(&[("x-sum", "5")]),
                answer(ok("hello").trailers(&[("x-checked", "5")])),
            ])
            .got(0, target("/").body("hello").trailers(&[("x-sum", "5")])),
    ]
}

fn interims() -> Vec<Row> {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let page = say(support::ok("page"));
    let pod = move || Pod::script(&[Step::Take, say(hints), Step::Pass, page.clone()]);
    vec![
        Row::new("an interim response is relayed as it comes").pods([pod()]).client([
            send(get("/")),
            // Fields of the final answer belong to the final answer only.
            interim(
                status(103)
                    .field("link", "</a.css>; rel=preload")
                    .no("content-security-policy")
                    .no("date"),
            ),
            Act::Open,
            answer(ok("page")),
        ]),
        Row::new("an interim response does not hide the final one").pods([pod()]).client([
            send(get("/")),
            Act::Arrived(1),
            Act::Open,
            Act::Do(super::row::Do::Interims),
            answer(ok("page").no("link")),
        ]),
    ]
}

fn expectations() -> Vec<Row> {
    let expecting = || send(post("/").length(5).field("expect", "100-continue"));
    let refused = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno";
    let echo =
        [Step::Head, say("HTTP/1.1 100 Continue\r\n\r\n"), Step::Body, say(support::ok("thanks"))];
    vec![
        Row::new("100 is the pod's to say")
            .pods([Pod::script(&echo)])
            .client([expecting(), interim(status(100)), data("hello"), end(), answer(ok("thanks"))])
            .got(0, target("/").field("expect", "100-continue").body("hello")),
        Row::new("a client that does not wait for 100")
            .pods([Pod::script(&echo)])
            .client([
                expecting(),
                data("hello"),
                end(),
                Act::Do(super::row::Do::Interims),
                answer(ok("thanks")),
            ])
            .got(0, target("/").body("hello")),
        Row::new("an answer instead of 100")
            .pods([Pod::script(&[Step::Head, say(refused), Step::Drain])])
            .client([expecting(), answer(status(417).body("no")), Act::PodsLeft(1)]),
    ]
}

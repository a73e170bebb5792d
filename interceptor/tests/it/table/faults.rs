//! Pods that lie or break off: a clear answer or none, and the next request is served.

use super::{
    pod::{Pod, Step, say},
    row::{Act, Do, Row, answer, cut, get, head, part, post, request, send},
    shape::{error, ok, status},
};

pub(super) fn rows() -> Vec<Row> {
    [instead_of_an_answer(), ambiguous_heads(), cut_bodies()].concat()
}

/// The first connection follows `script`; the next request is served on another.
fn then_heals(name: &str, script: &[Step], answer_to_first: Act) -> Row {
    Row::new(name)
        .pods([Pod::scripts([script, &[Step::Serve]])])
        .client([
            send(post("/first").body("hello")),
            answer_to_first,
            send(post("/second").body("hello")),
            answer(ok("/second")),
            send(post("/third").body("hello")),
            answer(ok("/third")),
        ])
        .accepted(3)
        .connections(2)
}

fn instead_of_an_answer() -> Vec<Row> {
    let bad = |name, text: &str| {
        let invalid = answer(error(502, "bad_response"));
        let row = then_heals(name, &[Step::Take, say(text), Step::Drain], invalid);
        row.errors(&[("bad_response", 1)])
    };
    let gone = |name, script: &[Step]| {
        let row = then_heals(name, script, answer(error(502, "upstream_closed")));
        row.errors(&[("upstream_closed", 1)])
    };
    let endless = [Step::Take, say("HTTP/1.1 200 OK\r\n"), Step::Flood("X-More: the same\r\n")];
    let invalid = answer(error(502, "bad_response"));
    vec![
        gone("a close instead of an answer", &[Step::Take]),
        gone("a reset instead of an answer", &[Step::Take, Step::Reset]),
        gone("a close inside a head", &[Step::Take, say("HTTP/1.1 200 OK\r\nX-A: ")]),
        bad("something else than HTTP", "SSH-2.0-OpenSSH_9.2\r\n"),
        bad(
            "101 to a request that asked for no upgrade",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
        then_heals("a head that never ends from a pod", &endless, invalid)
            .errors(&[("bad_response", 1)]),
        Row::new("interim responses without end")
            .pods([Pod::script(&[Step::Take, Step::Flood("HTTP/1.1 102 Processing\r\n\r\n")])])
            .client([send(get("/")), Act::Do(Do::Interims), answer(error(502, "bad_response"))])
            .errors(&[("bad_response", 1)]),
    ]
}

/// What another parser could read differently goes no further, and is told by its rule.
fn ambiguous_heads() -> Vec<Row> {
    let row = |name: &str, fields: &str, rule: &'static str| {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n0\r\n\r\n");
        let invalid = answer(error(502, "bad_response"));
        then_heals(&format!("an answer with {name}"), &[Step::Take, say(text)], invalid)
            .errors(&[("bad_response", 1)])
            .refused_answers(&[rule])
    };
    let chunked = "Transfer-Encoding: chunked";
    let both = "both Content-Length and Transfer-Encoding";
    vec![
        row("a length and chunks", &format!("Content-Length: 2\r\n{chunked}"), both),
        row("chunks and a length", &format!("{chunked}\r\nContent-Length: 2"), both),
        row("two codings", &format!("{chunked}\r\n{chunked}"), "more than one Transfer-Encoding"),
        row("another coding", "Transfer-Encoding: gzip, chunked", "unknown transfer coding"),
        row(
            "two lengths",
            "Content-Length: 2\r\nContent-Length: 2",
            "more than one Content-Length",
        ),
        row("a length that is none", "Content-Length: 2 or 3", "invalid Content-Length"),
        row("a folded field", "X-A: 1\r\n 2\r\nContent-Length: 0", "invalid field name"),
        row("a space before a colon", "X-A : 1\r\nContent-Length: 0", "invalid field name"),
        row("a line without a name", "nonsense", "invalid field name"),
        row("a bare LF", "X-A: 1\nX-B: 2", "a line does not end with CRLF"),
        row(
            "a name that reads as Content-Length",
            "Content_Length: 2",
            "a field name imitates one that frames the message",
        ),
        row("too many fields", &vec!["X: y"; 30].join("\r\n"), "too many header fields")
            .set(|s| s.config.max_response_header_fields = 20),
        row(
            "a field that is too long",
            &format!("X: {}", "y".repeat(3000)),
            "the head is too long",
        )
        .set(|s| s.config.max_response_header_bytes = 2000),
    ]
}

/// A body that breaks off is never passed on as a complete one.
fn cut_bodies() -> Vec<Row> {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let row = |name: String, text: String, reason| {
        Row::new(name)
            .pods([Pod::scripts([&[Step::Take, say(text)], &[Step::Serve]])])
            .client([send(get("/cut")), cut(), send(get("/next")), answer(ok("/next"))])
            .accepted(2)
            .errors(&[(reason, 1)])
            .connections(2)
    };
    let bad = |what: &str, body: &str, rule: &'static str| {
        let name = format!("an answer with a bad {what}");
        let text = format!("{chunked}a\r\n0123456789\r\n{body}");
        row(name, text, "bad_response").refused_answers(&[rule])
    };
    vec![
        row(
            "an answer cut inside its length".into(),
            format!("{length}0123456789"),
            "upstream_closed",
        ),
        row(
            "an answer cut before its last chunk".into(),
            format!("{chunked}a\r\n0123456789\r\n"),
            "upstream_closed",
        ),
        row(
            "an answer cut inside a chunk".into(),
            format!("{chunked}ff\r\n0123456789"),
            "upstream_closed",
        ),
        bad("chunk", "a\r\n0123456789zz", "chunk data is not followed by CRLF"),
        bad("padded chunk size", "a \r\n0123456789\r\n0\r\n\r\n", "invalid chunk size"),
        bad("chunk size of another base", "0xa\r\n0123456789\r\n0\r\n\r\n", "invalid chunk size"),
        bad("chunk size beyond any", "fffffffffffffffff\r\n0", "invalid chunk size"),
        bad("trailer", "0\r\nX-A : 1\r\n\r\n", "invalid trailer section"),
        Row::new("an answer cut after its client has read a part")
            .pods([Pod::script(&[
                Step::Take,
                say(format!("{length}0123456789")),
                Step::Pass,
                Step::Reset,
            ])])
            .client([
                send(request("OPTIONS", "/")),
                head(status(200)),
                part("0123456789"),
                Act::Open,
                cut(),
            ])
            .errors(&[("upstream_closed", 1)]),
    ]
}

//! Pods that answer before they have read the body: the whole answer arrives.

use super::{
    pod::{Pod, Step, Stream, say},
    row::{Act, Do, Row, answer, data, end, get, post, request, send},
    shape::{ok, status},
};
use crate::support;

/// More than the buffers and windows on the way together.
const UPLOAD: usize = 30_000_000;
/// An answer that fits into none of them either.
const ANSWER: usize = 3_000_000;

pub(super) fn rows() -> Vec<Row> {
    let upload = || [send(post("/").length(UPLOAD)), Act::Do(Do::Upload(UPLOAD))];
    let then = |request: Vec<Act>, rest: &[Act]| [&request, rest].concat();
    let refusing = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!";
    let large = support::ok(&"x".repeat(ANSWER));
    let all = || answer(ok("x".repeat(ANSWER)));
    let next = [send(get("/next")), answer(ok("/next"))];
    vec![
        Row::new("an early answer to a body that never ends")
            .pods([Pod::script(&[Step::Head, say(refusing), Step::Drain])])
            .client([
                send(post("/").length(100_000)),
                data("x".repeat(1000)),
                answer(status(413).body("no!")),
            ]),
        Row::new("an early answer to a body of unknown length, which ends after it")
            .pods([Pod::script(&[Step::Head, say(support::ok("ok")), Step::Drain])])
            .client([
                send(post("/").open()),
                data("hello"),
                answer(ok("ok")),
                data("hello"),
                end(),
            ]),
        Row::new("an early answer to a large upload, and the next request")
            .pods([Pod::scripts([
                &[Step::Head, say(support::ok("early")), Step::Drain],
                &[Step::Serve],
            ])])
            .client(then(upload().to_vec(), &[&[answer(ok("early"))], &next[..]].concat()))
            .accepted(2),
        Row::new("an early answer that is large, to a large upload")
            .pods([Pod::script(&[Step::Head, say(large.clone()), Step::Drain])])
            .client(then(upload().to_vec(), &[all()])),
        Row::new("an early answer from a pod that closes at once")
            .pods([Pod::script(&[Step::Head, Step::Body, say(support::ok("late"))])])
            .client([send(request("PUT", "/").body(vec![b'x'; 300_000])), answer(ok("late"))]),
        Row::new("an early answer from an HTTP/2 pod")
            .h2_pod([Stream::Early(ANSWER)])
            .client(then(upload().to_vec(), &[all()])),
        Row::new("an answer of an HTTP/2 pod that is a head only")
            .h2_pod([Stream::TrailersOnly])
            .client(then(
                upload().to_vec(),
                &[answer(status(200).field("grpc-status", "7").body(""))],
            )),
    ]
}

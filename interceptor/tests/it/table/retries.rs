//! What is sent a second time, and what is not: never a request that a pod may have executed,
//! unless its function allows it.

use super::{
    pod::{Place, Pod, Step, Stream, say},
    row::{Act, Row, answer, get, post, request, send},
    shape::{error, ok},
};
use crate::support;

pub(super) fn rows() -> Vec<Row> {
    [connects(), resets(), streams()].concat()
}

fn connects() -> Vec<Row> {
    let done = say(support::ok("done"));
    let refusing = || Pod::serving().at(Place::Refusing);
    let used = |n| {
        let request = post("/once").body("hello");
        [send(request), answer(ok("done")), Act::PodsLeft(n)]
    };
    vec![
        Row::new("a refused connection: another pod")
            .pods([refusing(), Pod::serving()])
            .client([Act::Each(
                20,
                vec![send(post("/elsewhere").body("hello")), answer(ok("/elsewhere"))],
            )])
            .accepted(20)
            .arrived(20),
        Row::new("a refused connection: another pod that speaks HTTP/2")
            .h2_pod([])
            .pods([refusing(), Pod::http2([Stream::Echo])])
            .client([Act::Each(10, vec![send(post("/").body("hello")), answer(ok("hello"))])])
            .accepted(10)
            .replays(0)
            .arrived(10),
        Row::new("a refused connection: held until the only pod listens")
            .pods([refusing()])
            .client([
                send(post("/waited").body("hello")),
                Act::Held(1),
                Act::Listen,
                answer(ok("/waited")),
            ])
            .arrived(1),
        Row::new("an idle connection that the pod has closed is not used")
            .pods([Pod::script(&[Step::Take, done])])
            .client((1..=30).flat_map(used).collect::<Vec<_>>())
            .accepted(30)
            .connections(30),
    ]
}

/// The second request of a connection meets a reset.
fn resets() -> Vec<Row> {
    let fine = say(support::ok("fine"));
    let pod = move || {
        let first = [Step::Take, fine.clone(), Step::Take, Step::Reset];
        Pod::scripts([&first, &[Step::Always(support::ok("fine").into())]])
    };
    let closing = || Pod::scripts([&[Step::Take], &[Step::Serve]]);
    let gone = || answer(error(502, "upstream_closed"));
    let first = || [send(get("/1")), answer(ok("fine"))];
    let then = |acts: [Act; 2]| [first(), acts].concat();
    let row = |name| Row::new(name).accepted(2);
    let failed = |row: Row| row.errors(&[("upstream_closed", 1)]);
    let allowed = |row: Row| row.set(|s| s.spec.retry_idempotent = true);
    vec![
        failed(row("a reset instead of an answer: GET is not sent again"))
            .pods([pod()])
            .client(then([send(get("/2")), gone()]))
            .arrived(2)
            .connections(1),
        failed(row("a reset instead of an answer: POST is not sent again"))
            .pods([pod()])
            .client(then([send(post("/2").body("hello")), gone()]))
            .arrived(2)
            .connections(1),
        allowed(row("a reset instead of an answer: GET is sent again where that is allowed"))
            .pods([pod()])
            .client(then([send(get("/2")), answer(ok("fine"))]))
            .replays(1)
            .arrived(3)
            .connections(2),
        failed(allowed(row("a reset instead of an answer: POST is never sent again")))
            .pods([pod()])
            .client(then([send(post("/2").body("hello")), gone()]))
            .arrived(2)
            .connections(1),
        failed(allowed(row("a reset instead of an answer: a body is never sent again")))
            .pods([pod()])
            .client(then([send(request("PUT", "/2").body("hello")), gone()]))
            .arrived(2)
            .connections(1),
        allowed(Row::new("a close instead of an answer: sent again where that is allowed"))
            .pods([closing()])
            .client([send(request("DELETE", "/once")), answer(ok("/once"))])
            .replays(1)
            .arrived(2),
        failed(allowed(Row::new("a close instead of an answer: sent again once only")))
            .pods([Pod::scripts([&[Step::Take], &[Step::Take], &[Step::Serve]])])
            .client([send(get("/twice")), gone()])
            .replays(1)
            .arrived(2),
    ]
}

/// RFC 9113 section 8.7.
fn streams() -> Vec<Row> {
    let call = || send(post("/svc/Unary").body("hello"));
    vec![
        Row::new("a stream that the pod refused is sent again")
            .h2_pod([Stream::Refuse, Stream::Refuse, Stream::Echo])
            .client([call(), answer(ok("hello").trailers(&[("x-checked", "5")]))])
            .replays(2)
            .arrived(3),
        Row::new("a stream that the pod broke off is not sent again")
            .h2_pod([Stream::Break, Stream::Echo])
            .client([call(), answer(error(502, "upstream_closed"))])
            .errors(&[("upstream_closed", 1)])
            .arrived(1),
        Row::new("a stream that the pod broke off is sent again where that is allowed")
            .set(|s| s.spec.retry_idempotent = true)
            .h2_pod([Stream::Break, Stream::Echo])
            .client([send(get("/")), answer(ok(""))])
            .replays(1)
            .arrived(2),
    ]
}

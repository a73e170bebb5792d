//! Bodies larger than every buffer on the way: never faster than they are read, and whole.

use super::{
    pattern::pattern,
    pod::{Pod, Step},
    row::{Act, Do, Row, answer, get, head, request, rest, send},
    shape::{error, ok, status},
};

/// More than the kernel's buffers on both connections together.
const LARGE: usize = 50_000_000;

pub(super) fn rows() -> Vec<Row> {
    let put = || send(request("PUT", "/").length(LARGE));
    vec![
        Row::new("a large upload at the pod's pace")
            .pods([Pod::script(&[Step::Head, Step::Pass, Step::Sink(LARGE)])])
            .client([
                put(),
                Act::Do(Do::Fill),
                Act::Open,
                Act::Do(Do::Upload(LARGE)),
                answer(ok(LARGE.to_string())),
            ]),
        Row::new("a large upload to a pod that gives up")
            .pods([Pod::script(&[Step::Head, Step::Pass])])
            .client([put(), Act::Do(Do::Fill), Act::Open, answer(error(502, "upstream_closed"))])
            .errors(&[("upstream_closed", 1)]),
        Row::new("a large download at the client's pace")
            .pods([Pod::script(&[Step::Take, Step::Large(LARGE), Step::Drain])])
            .client([send(get("/")), head(status(200)), Act::Stalled, rest(ok(pattern(0, LARGE)))]),
    ]
}

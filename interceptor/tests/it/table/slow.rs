//! Clients that stand still: they keep nobody else out beyond the clocks, and leave nothing behind.

use std::time::Duration;

use super::{
    pod::{Pod, Step, Stream},
    row::{Act, Do, Row, Settings, answer, cut, get, post, send},
    shape::{error, ok},
    transport::Protocol,
};

/// More than the kernel's buffers on the client's connection.
const LARGE: usize = 20_000_000;
/// Streams that one connection may have.
const STREAMS: usize = 256;

pub(super) fn rows() -> Vec<Row> {
    [readers(), crowds(), limits()].concat()
}

fn short(settings: &mut Settings) {
    settings.config.body_timeout = Duration::from_millis(200);
}

fn no_window(settings: &mut Settings) {
    settings.window = Some(0);
}

fn large() -> Pod {
    Pod::script(&[Step::Take, Step::Large(LARGE)])
}

fn readers() -> Vec<Row> {
    let row = |name| Row::new(name).set(short).errors(&[("slow_reader", 1)]);
    // The pod may have written all of it into the kernel's buffers long before it is cut.
    let unread = || [send(get("/")), Act::Arrived(1), Act::Running(0), Act::PodsLeft(1), cut()];
    let windows = "there are no windows; a client that does not read is the row above";
    vec![
        row("an answer that is never read").pods([large()]).client(unread()),
        // Looked at five times a second, when 2 kB should have been taken.
        row("an answer that is read a byte at a time, now and then")
            .set(|s| s.config.body_min_rate = 10_000)
            .set(|s| s.window = Some(1))
            .pods([large()])
            .client([send(get("/")), Act::Do(Do::Sip)]),
        row("an answer that is never read, from an HTTP/2 pod")
            .h2_pod([Stream::Early(LARGE)])
            .client([send(get("/")), Act::Arrived(1), Act::Running(0), cut()]),
        row("an answer without a window")
            .set(no_window)
            .pods([large()])
            .client(unread())
            .unless(Protocol::Http1, windows),
        row("a small answer without a window")
            .set(no_window)
            .client([send(get("/")), Act::Arrived(1), Act::Running(0), cut()])
            .unless(Protocol::Http1, windows),
        row("an answer without a window, from an HTTP/2 pod")
            .set(no_window)
            .h2_pod([Stream::Early(100)])
            .client([send(get("/")), Act::Arrived(1), Act::Running(0), cut()])
            .unless(Protocol::Http1, windows),
        row("an answer of ours without a window")
            .set(no_window)
            .client([send(get("/").host("nobody.test")), cut()])
            .accepted(0)
            .errors(&[("unknown_host", 1)])
            .unless(Protocol::Http1, windows),
        Row::new("an answer without a window, which opens in time")
            .set(|s| s.window = Some(1))
            .client([send(get("/one-byte-at-a-time")), answer(ok("/one-byte-at-a-time"))])
            .unless(Protocol::Http1, windows),
    ]
}

/// As many as one HTTP/2 connection may have.
fn crowds() -> Vec<Row> {
    let count = u32::try_from(STREAMS).unwrap();
    let crowd = |name, request| {
        Row::new(name)
            .set(short)
            .pods([Pod::script(&[Step::Head, Step::Drain])])
            .client([
                Act::Each(STREAMS, vec![send(request)]),
                Act::Each(STREAMS, vec![answer(error(408, "request_timeout"))]),
                Act::Idle,
            ])
            .accepted(STREAMS as u64)
            .errors(&[("request_timeout", u32::try_from(STREAMS).unwrap())])
    };
    vec![
        crowd("256 bodies that never come give back their leases", post("/").length(5)),
        crowd("256 bodies of unknown length give back their leases", post("/").open()),
        Row::new("256 answers that are never read give back their leases")
            .set(short)
            .set(no_window)
            .client([
                Act::Each(STREAMS, vec![send(get("/"))]),
                Act::Each(STREAMS, vec![cut()]),
                Act::Idle,
            ])
            .accepted(STREAMS as u64)
            .errors(&[("slow_reader", count)])
            .unless(Protocol::Http1, "its clients are 256 of the row of one"),
    ]
}

fn limits() -> Vec<Row> {
    let row = |name| Row::new(name).set(short).set(|s| s.spec.concurrency = 1).accepted(2);
    let after = || [Act::As(1), send(get("/after")), answer(ok("/after")), Act::As(0)];
    vec![
        row("concurrency 1, and a body that never comes")
            .pods([Pod::scripts([&[Step::Head, Step::Drain], &[Step::Serve]])])
            .client(
                [
                    vec![send(post("/silent").length(5)), Act::Arrived(1)],
                    after().to_vec(),
                    vec![answer(error(408, "request_timeout"))],
                ]
                .concat(),
            )
            .errors(&[("request_timeout", 1)])
            .arrived(2),
        row("concurrency 1, and an answer that is never read")
            .pods([Pod::scripts([&[Step::Take, Step::Large(LARGE)], &[Step::Serve]])])
            .client(
                [vec![send(get("/silent")), Act::Arrived(1)], after().to_vec(), vec![cut()]]
                    .concat(),
            )
            .errors(&[("slow_reader", 1)])
            .arrived(2),
    ]
}

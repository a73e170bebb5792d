//! Clients that leave, at every point of a request's life: what was theirs is given back, nothing
//! of it is delivered later, and it counts as 499.

use super::{
    pod::{Place, Pod, Step, Stream, say},
    row::{
        Act, Do, Leave, Request, Row, answer, data, get, head, leave, part, post, request, send,
    },
    shape::{ok, status, target},
    transport::Protocol,
};

/// More than the kernel's buffers on both connections together.
const LARGE: usize = 50_000_000;
/// More than the 64 KiB that are read ahead, and little enough for the rest to fit into the
/// kernel's receive buffer: a FIN behind more than that cannot leave the client's machine.
const UNREAD: usize = 100_000;

const WAYS: &[Leave] = &[Leave::Stream, Leave::Fin, Leave::Reset];

pub(super) fn rows() -> Vec<Row> {
    WAYS.iter().flat_map(|how| [held(*how), running(*how)].concat()).collect()
}

fn row(what: &str, how: Leave) -> Row {
    let row = Row::new(format!("{what}: left by {how:?}")).errors(&[("client_gone", 1)]);
    match how {
        Leave::Stream => row.unless(Protocol::Http1, "a request ends with its connection only"),
        Leave::Fin | Leave::Reset => row,
    }
}

fn held(how: Leave) -> Vec<Row> {
    let part = || data("hello");
    let bodies: Vec<(&str, Request, Vec<Act>)> = vec![
        ("no body", get("/left"), vec![]),
        ("a whole body", post("/left").body("hello"), vec![]),
        ("a part of a body", post("/left").length(50), vec![part()]),
        ("a part of a body of unknown length", post("/left").open(), vec![part()]),
        (
            "more than is read ahead",
            post("/left").length(1_000_000),
            vec![data(vec![b'x'; UNREAD])],
        ),
        ("more chunks than are read ahead", post("/left").open(), {
            vec![data(vec![b'x'; UNREAD / 20]); 20]
        }),
    ];
    let one = |(what, request, then): (&str, Request, Vec<Act>)| {
        let leaves = [Act::Held(1), leave(how), Act::Idle, Act::Place];
        let stays = [send(get("/stayed")), answer(ok("/stayed"))];
        row(&format!("held with {what}"), how)
            .pods([Pod::serving().at(Place::Later)])
            .client([&[send(request)], &then[..], &leaves, &stays].concat())
            .accepted(2)
            .arrived(1)
            .got(0, target("/stayed"))
    };
    bodies.into_iter().map(one).collect()
}

fn running(how: Leave) -> Vec<Row> {
    let unread = row("while its body is not read", how)
        .pods([Pod::script(&[Step::Deaf])])
        .client([
            send(request("PUT", "/").length(LARGE)),
            Act::Do(Do::Fill),
            Act::Running(1),
            leave(how),
            Act::Idle,
        ])
        .arrived(0);
    let unread = match how {
        Leave::Fin => unread.unless(Protocol::Http1, "a FIN stays behind bytes that are not read"),
        Leave::Stream | Leave::Reset => unread,
    };
    let endless = "HTTP/1.1 200 OK\r\n\r\nfirst";
    vec![
        row("while the pod works", how).pods([Pod::script(&[Step::Take, Step::Drain])]).client([
            send(get("/")),
            Act::Arrived(1),
            leave(how),
            Act::PodsLeft(1),
        ]),
        row("while an HTTP/2 pod works", how).h2_pod([Stream::Silent]).client([
            send(get("/")),
            Act::Arrived(1),
            leave(how),
            Act::PodsLeft(1),
        ]),
        row("while its body comes", how).pods([Pod::script(&[Step::Head, Step::Drain])]).client([
            send(post("/").length(50)),
            data("hello"),
            Act::Arrived(1),
            leave(how),
            Act::PodsLeft(1),
        ]),
        unread,
        row("while the answer streams", how)
            .pods([Pod::script(&[Step::Take, say(endless), Step::Drain])])
            .client([
                send(get("/")),
                head(status(200)),
                part("first"),
                leave(how),
                Act::PodsLeft(1),
            ]),
        row("while its answer is not read", how)
            .pods([Pod::script(&[Step::Take, Step::Large(LARGE)])])
            .client([
                send(get("/")),
                head(status(200)),
                Act::Running(1),
                leave(how),
                Act::PodsLeft(1),
            ]),
    ]
}

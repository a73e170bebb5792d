//! The outcome table, on real sockets against functions written by hand.

mod connections;
mod function;
mod gate;

use std::{net::TcpListener as StdListener, time::Duration};

use http::{HeaderValue, StatusCode};

use self::function::{Function, both};
use super::*;

fn event(id: &str) -> Delivery {
    Delivery {
        id: HeaderValue::from_str(id).unwrap(),
        source: HeaderValue::from_static("/shop/orders"),
        kind: HeaderValue::from_static("run.kipper.postgres.row"),
        time: HeaderValue::from_static("2024-05-06T07:08:09Z"),
        attempt: 1,
        body: Bytes::from_static(b"{\"id\":1}"),
    }
}

fn retry(reason: Reason, status: u16, detail: &str) -> Outcome {
    let status = StatusCode::from_u16(status).ok();
    Outcome::Retry { reason, status, retry_after: None, detail: detail.to_owned() }
}

#[tokio::test]
async fn the_request_is_what_was_promised() {
    let function = Function::start().await;
    let target = function.target();
    let event = Delivery { attempt: 12, ..event("shop/orders/1") };
    let (outcome, seen) = both(target.deliver(&event), async {
        let mut peer = function.accept().await;
        let seen = peer.request().await;
        peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
        seen
    })
    .await;
    assert_eq!(outcome, Outcome::Done);
    let mut lines: Vec<_> = seen.head.lines().collect();
    assert_eq!(lines.remove(0), "POST /event HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", function.address());
    assert_eq!(
        lines,
        [
            "ce-id: shop/orders/1",
            "ce-source: /shop/orders",
            "ce-specversion: 1.0",
            "ce-time: 2024-05-06T07:08:09Z",
            "ce-type: run.kipper.postgres.row",
            "content-length: 8",
            "content-type: application/json",
            &host,
            "kipper-attempt: 12",
        ]
    );
    assert_eq!(seen.body, b"{\"id\":1}");
}

#[tokio::test]
async fn an_event_carries_the_token_that_its_runtime_knows() {
    let function = Function::start().await;
    let token = "0123456789abcdef".parse().unwrap();
    let target = Target::new(TargetConfig { token: Some(token), ..function.config() });
    assert!(!format!("{target:?}").contains("0123456789"), "{target:?}");
    let event = event("1");
    let (_, seen) = both(target.deliver(&event), async {
        let mut peer = function.accept().await;
        let seen = peer.request().await;
        peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
        seen
    })
    .await;
    assert_eq!(seen.header("kipper-event-token"), Some("0123456789abcdef"));
    for none in ["", "a b", "a\n", "ä"] {
        assert!(none.parse::<EventToken>().is_err(), "{none:?}");
    }
}

#[tokio::test]
async fn an_empty_body_has_a_length_too() {
    let function = Function::start().await;
    let target = function.target();
    let event = Delivery { body: Bytes::new(), ..event("1") };
    let (outcome, seen) = both(target.deliver(&event), async {
        let mut peer = function.accept().await;
        let seen = peer.request().await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        seen
    })
    .await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(seen.header("content-length"), Some("0"));
}

/// One row of the table: what the function answers, what comes of it. All on one connection.
#[tokio::test]
async fn every_answer_has_its_outcome() {
    let function = Function::start().await;
    let target = function.target();
    let permanent = |reason, status: u16, detail: &str| Outcome::Permanent {
        reason,
        status: StatusCode::from_u16(status).unwrap(),
        detail: detail.to_owned(),
    };
    let paused = |status: u16, reason, seconds| Outcome::Retry {
        reason,
        status: StatusCode::from_u16(status).ok(),
        retry_after: Some(Duration::from_secs(seconds)),
        detail: "later".to_owned(),
    };
    let table = [
        ("200 OK", "", "fine", Outcome::Done),
        ("202 Accepted", "retry-after: 5\r\n", "", Outcome::Done),
        ("301 Moved", "location: /x\r\n", "gone", permanent(Reason::Redirect, 301, "gone")),
        ("400 Bad", "", "no\nname", permanent(Reason::Rejected, 400, "no name")),
        ("401 Who", "", "", permanent(Reason::Rejected, 401, "")),
        ("404 Not Found", "", "no route", retry(Reason::NotFound, 404, "no route")),
        ("408 Slow", "", "", retry(Reason::RequestTimeout, 408, "")),
        ("409 Conflict", "", "", retry(Reason::Conflict, 409, "")),
        ("422 Bad", "retry-after: 5\r\n", "", permanent(Reason::Rejected, 422, "")),
        ("429 Slow down", "retry-after: 7\r\n", "later", paused(429, Reason::TooManyRequests, 7)),
        ("429 Slow down", "retry-after: -7\r\n", "", retry(Reason::TooManyRequests, 429, "")),
        ("500 Oops", "", "\u{7}stack", retry(Reason::ServerError, 500, "\u{fffd}stack")),
        ("503 Wait", "retry-after: 99999\r\n", "later", paused(503, Reason::ServerError, 3600)),
    ];
    let event = event("1");
    let mut peer = None;
    for (status, headers, body, expected) in table {
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}");
        let (outcome, used) = both(target.deliver(&event), async {
            let mut peer = match peer.take() {
                Some(peer) => peer,
                None => function.accept().await,
            };
            peer.request().await;
            peer.write(&answer).await;
            peer
        })
        .await;
        assert_eq!(outcome, expected, "{status}");
        peer = Some(used);
    }
}

#[tokio::test]
async fn interim_answers_are_passed_over_and_a_switch_of_protocols_is_no_answer() {
    let function = Function::start().await;
    let target = function.target();
    let event = event("1");
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let (outcome, mut peer) = both(target.deliver(&event), async {
        let mut peer = function.accept().await;
        peer.request().await;
        peer.write(interim).await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        peer
    })
    .await;
    assert_eq!(outcome, Outcome::Done);
    let (outcome, ()) = both(target.deliver(&event), async {
        peer.request().await;
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n";
        peer.write(&format!("{switch}\r\n")).await;
        peer.hung_up().await;
    })
    .await;
    assert_eq!(outcome, retry(Reason::BadResponse, 101, ""));
}

#[tokio::test]
async fn what_is_no_answer_is_tried_again() {
    let function = Function::start().await;
    let target = function.target();
    let event = event("1");
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: {}\r\n\r\n", "x".repeat(70_000));
    for answer in ["SSH-2.0-x\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", &long] {
        let (outcome, ()) = both(target.deliver(&event), async {
            let mut peer = function.accept().await;
            peer.request().await;
            peer.write(answer).await;
            peer.hung_up().await;
        })
        .await;
        assert!(
            matches!(outcome, Outcome::Retry { reason: Reason::BadResponse, status: None, .. }),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_function_that_is_slow_is_cut_off() {
    let function = Function::start().await;
    let mut config = function.config();
    config.deliver_timeout = Duration::from_millis(50);
    let target = Target::new(config);
    // The second one cannot even be written to its end.
    for body in [Bytes::from_static(b"{}"), Bytes::from(vec![b'1'; 16 << 20])] {
        let event = Delivery { body, ..event("1") };
        let (outcome, ()) = both(target.deliver(&event), async {
            let peer = function.accept().await;
            peer.hung_up().await;
        })
        .await;
        let expected = Outcome::Retry {
            reason: Reason::Timeout,
            status: None,
            retry_after: None,
            detail: "no answer within 50ms".to_owned(),
        };
        assert_eq!(outcome, expected);
    }
}

#[tokio::test]
async fn nobody_listening_is_no_attempt() {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let target = Function::target_at(address);
    let outcome = target.deliver(&event("1")).await;
    assert!(matches!(outcome, Outcome::NotSent { reason: Reason::Refused, .. }), "{outcome:?}");
    assert!(!target.answers().await);
}

#[tokio::test]
async fn a_full_backlog_is_no_attempt() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    let short = Duration::from_millis(100);
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, short) {
        filling.push(stream);
        assert!(filling.len() < 64, "the backlog has no end");
    }
    let mut config = Function::config_at(address);
    config.connect_timeout = short;
    let outcome = Target::new(config).deliver(&event("1")).await;
    assert!(
        matches!(outcome, Outcome::NotSent { reason: Reason::ConnectTimeout, .. }),
        "{outcome:?}"
    );
    let mut config = Function::config_at(address);
    config.deliver_timeout = short;
    let outcome = Target::new(config).deliver(&event("1")).await;
    assert!(
        matches!(outcome, Outcome::NotSent { reason: Reason::ConnectTimeout, .. }),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_no_attempt() {
    let url = "http://nobody.invalid:8080/event".parse().unwrap();
    let target = Target::new(TargetConfig { url, ..TargetConfig::default() });
    let outcome = target.deliver(&event("1")).await;
    assert!(
        matches!(
            outcome,
            Outcome::NotSent { reason: Reason::ConnectFailed | Reason::ConnectTimeout, .. }
        ),
        "{outcome:?}"
    );
}

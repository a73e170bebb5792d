//! The gate before the first delivery.

use super::{function::Peer, *};

/// Accepts a connection and answers the probe on it.
async fn answer_probe(function: &Function, answer: &str) -> Peer {
    let mut peer = function.accept().await;
    let seen = peer.request().await;
    assert!(seen.head.starts_with("GET /health HTTP/1.1\r\n"), "{}", seen.head);
    peer.write(answer).await;
    peer
}

#[tokio::test]
async fn every_probe_answer_has_its_meaning() {
    let function = Function::start().await;
    let target = function.target();
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok", true),
        ("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 405 Not Allowed\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 503 Starting\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 429 Slow down\r\ncontent-length: 0\r\n\r\n", false),
        ("+PONG\r\n", false),
        ("", false),
    ] {
        let (answers, _) = both(target.answers(), answer_probe(&function, answer)).await;
        assert_eq!(answers, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_probe_that_is_not_answered_has_failed() {
    let function = Function::start().await;
    let target = function.target();
    let (answers, ()) = both(target.answers(), async {
        function.accept().await.hung_up().await;
    })
    .await;
    assert!(!answers);
    let stalled = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    let (answers, peer) = both(target.answers(), answer_probe(&function, stalled)).await;
    assert!(answers, "the head is the answer");
    function::within(peer.hung_up()).await;
}

#[tokio::test]
async fn the_gate_opens_when_the_function_answers_and_its_connection_is_kept() {
    let function = Function::start().await;
    let mut config = function.config();
    config.health_path = "/health".parse().unwrap();
    let target = Target::new(config);
    let ((), mut peer) = both(target.wait_until_answering(), async {
        drop(function.accept().await);
        answer_probe(&function, "HTTP/1.1 503 Starting\r\ncontent-length: 0\r\n\r\n").await;
        answer_probe(&function, "HTTP/1.1 502 Starting\r\ncontent-length: 0\r\n\r\n").await;
        answer_probe(&function, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await
    })
    .await;
    // One is enough: the second probe's connection is closed.
    let again = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (answers, second) = both(target.answers(), answer_probe(&function, again)).await;
    assert!(answers);
    function::within(second.hung_up()).await;
    let event = event("1");
    let (outcome, ()) = both(target.deliver(&event), async {
        peer.request().await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    assert_eq!(outcome, Outcome::Done);
}

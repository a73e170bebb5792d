//! Connections that are kept, and every way in which one can end under a delivery.

use std::sync::Arc;

use super::{
    function::{Peer, within},
    *,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The function reads one event and answers it; returns the event's id.
async fn handle(peer: &mut Peer, answer: &str) -> String {
    let seen = peer.request().await;
    peer.write(answer).await;
    seen.header("ce-id").unwrap().to_owned()
}

/// A delivery over a connection the function has to accept first; returns the connection.
async fn over_a_fresh_one(function: &Function, target: &Target, id: &str, answer: &str) -> Peer {
    let event = event(id);
    let (outcome, peer) = both(target.deliver(&event), async {
        let mut peer = function.accept().await;
        assert_eq!(handle(&mut peer, answer).await, id);
        peer
    })
    .await;
    assert_eq!(outcome, Outcome::Done);
    peer
}

/// A delivery over a connection that was kept.
async fn over_a_kept_one(peer: &mut Peer, target: &Target, id: &str) {
    let event = event(id);
    let (outcome, seen) = both(target.deliver(&event), handle(peer, OK)).await;
    assert_eq!((outcome, seen.as_str()), (Outcome::Done, id));
}

#[tokio::test]
async fn connections_are_kept_and_the_last_used_goes_first() {
    let function = Function::start().await;
    let target = Arc::new(function.target());
    let deliver = |id: &str| {
        let (target, event) = (Arc::clone(&target), event(id));
        tokio::spawn(async move { target.deliver(&event).await })
    };
    let (first, mut one) = (deliver("1"), within(function.accept()).await);
    within(one.request()).await;
    let (second, mut two) = (deliver("2"), within(function.accept()).await);
    within(two.request()).await;
    within(one.write(OK)).await;
    assert_eq!(within(first).await.unwrap(), Outcome::Done);
    within(two.write(OK)).await;
    assert_eq!(within(second).await.unwrap(), Outcome::Done);
    for id in ["3", "4", "5"] {
        over_a_kept_one(&mut two, &target, id).await;
    }
    drop(two);
    over_a_fresh_one(&function, &target, "6", OK).await;
    drop(one);
}

#[tokio::test]
async fn a_connection_that_closed_while_free_costs_no_attempt() {
    let function = Function::start().await;
    let target = function.target();
    let mut peer = over_a_fresh_one(&function, &target, "first", OK).await;
    for turn in 0..50 {
        // Nothing lets the runtime notice before the delivery starts.
        if turn % 2 == 0 {
            drop(peer)
        } else {
            peer.reset()
        }
        // `handle` asserts the event's id: delivered once, and the second time to nobody else.
        peer = over_a_fresh_one(&function, &target, &turn.to_string(), OK).await;
        over_a_kept_one(&mut peer, &target, "kept").await;
    }
}

#[tokio::test]
async fn words_unasked_for_end_a_free_connection() {
    let function = Function::start().await;
    let target = function.target();
    let mut peer = over_a_fresh_one(&function, &target, "1", OK).await;
    peer.write("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n").await;
    over_a_fresh_one(&function, &target, "2", OK).await;
}

/// The function closes what it takes to be idle while the event is on its way: no attempt.
#[tokio::test]
async fn a_kept_connection_that_ends_without_a_word_is_replaced_once() {
    let function = Function::start().await;
    let target = function.target();
    let mut kept = over_a_fresh_one(&function, &target, "1", OK).await;
    for reset in [false, true] {
        let event = event("2");
        let (outcome, peer) = both(target.deliver(&event), async {
            kept.request().await;
            if reset {
                kept.reset()
            } else {
                drop(kept)
            }
            let mut peer = function.accept().await;
            assert_eq!(peer.request().await.header("kipper-attempt"), Some("1"));
            peer.write(OK).await;
            peer
        })
        .await;
        assert_eq!(outcome, Outcome::Done);
        kept = peer;
    }
    let event = event("3");
    let (outcome, ()) = both(target.deliver(&event), async {
        kept.request().await;
        drop(kept);
        let mut fresh = function.accept().await;
        fresh.request().await;
    })
    .await;
    assert!(matches!(outcome, Outcome::Retry { reason: Reason::Closed, .. }), "{outcome:?}");
    // Had it been sent a third time, this would see it first.
    over_a_fresh_one(&function, &target, "next", OK).await;
}

/// An event that kills its function has to die some day.
#[tokio::test]
async fn a_function_that_ends_with_an_event_in_its_hands_costs_an_attempt() {
    let function = Function::start().await;
    let target = function.target();
    let mut kept = over_a_fresh_one(&function, &target, "1", OK).await;
    let event = event("2");
    let (outcome, ()) = both(target.deliver(&event), async {
        kept.request().await;
        drop(function);
        drop(kept);
    })
    .await;
    assert!(
        matches!(outcome, Outcome::Retry { reason: Reason::Closed, status: None, .. }),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_part_of_an_answer_on_a_kept_connection_is_the_functions_last_word() {
    let function = Function::start().await;
    let target = function.target();
    let mut kept = over_a_fresh_one(&function, &target, "1", OK).await;
    let event = event("2");
    let (outcome, ()) = both(target.deliver(&event), async {
        kept.request().await;
        kept.write("HTTP/1.1 2").await;
        drop(kept);
    })
    .await;
    assert!(matches!(outcome, Outcome::Retry { reason: Reason::Closed, .. }), "{outcome:?}");
    over_a_fresh_one(&function, &target, "next", OK).await;
}

#[tokio::test]
async fn half_a_head_is_no_answer() {
    let function = Function::start().await;
    let target = function.target();
    let event = event("1");
    let (outcome, ()) = both(target.deliver(&event), async {
        let mut peer = function.accept().await;
        peer.request().await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-le").await;
    })
    .await;
    assert!(matches!(outcome, Outcome::Retry { reason: Reason::Closed, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_closed_connection_is_told_from_one_that_was_written_to() {
    let function = Function::start().await;
    let target = function.target();
    let event = event("1");
    let open = Connection::open(&target.config.url);
    let (mut connection, peer) = {
        let (connection, peer) = both(open, function.accept()).await;
        (connection.unwrap(), peer)
    };
    drop(peer);
    let request = target.request(&event, connection.spare_headers());
    let sent = within(connection.send(request)).await;
    assert!(matches!(sent, Err(SendError::Unanswered(Unanswered { written: false, .. }))));
}

#[tokio::test]
async fn a_connection_is_not_kept_when_the_function_says_so() {
    let function = Function::start().await;
    let target = function.target();
    for (id, answer) in [
        ("1", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
        ("2", "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ("3", "HTTP/1.1 200 OK\r\nkeep-alive: timeout=0\r\ncontent-length: 0\r\n\r\n"),
        ("4", "HTTP/1.1 200 OK\r\nkeep-alive: timeout=600\r\ncontent-length: 0\r\n\r\n"),
    ] {
        let mut peer = over_a_fresh_one(&function, &target, id, answer).await;
        if id == "4" {
            over_a_kept_one(&mut peer, &target, "5").await;
        } else {
            within(peer.hung_up()).await;
        }
    }
}

#[tokio::test]
async fn a_2xx_with_a_broken_body_is_done_and_ends_its_connection() {
    let function = Function::start().await;
    let target = function.target();
    // Closed in the body, and chunks that are none.
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let event = event("1");
        let (outcome, ()) = both(target.deliver(&event), async {
            let mut peer = function.accept().await;
            handle(&mut peer, answer).await;
        })
        .await;
        assert_eq!(outcome, Outcome::Done);
    }
    let mut peer = over_a_fresh_one(&function, &target, "2", OK).await;
    over_a_kept_one(&mut peer, &target, "3").await;
}

#[tokio::test]
async fn a_2xx_whose_body_stalls_is_done_at_the_deadline() {
    let function = Function::start().await;
    let event = event("1");
    let mut outcomes = Vec::new();
    // The longer ones are for a machine that is too busy to answer within the first.
    for timeout in [200, 2_000, 20_000].map(Duration::from_millis) {
        let mut config = function.config();
        config.deliver_timeout = timeout;
        let target = Target::new(config);
        let (outcome, ()) = both(target.deliver(&event), async {
            let mut peer = function.accept().await;
            handle(&mut peer, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
            peer.hung_up().await;
        })
        .await;
        if outcome == Outcome::Done {
            return;
        }
        outcomes.push(outcome);
    }
    panic!("{outcomes:?}");
}

#[tokio::test]
async fn a_body_is_read_up_to_its_bound() {
    let function = Function::start().await;
    let mut config = function.config();
    config.max_response_bytes = 1000;
    let target = Target::new(config);
    let answer = |status: &str, length: usize| {
        let body = "0123456789".repeat(length / 10);
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let mut peer = over_a_fresh_one(&function, &target, "1", &answer("200 OK", 1000)).await;
    let kept = event("2");
    let (outcome, _) =
        both(target.deliver(&kept), handle(&mut peer, &answer("500 Oops", 1000))).await;
    assert_eq!(outcome, retry(Reason::ServerError, 500, &"0123456789".repeat(20)));
    over_a_kept_one(&mut peer, &target, "3").await;
    let long = event("4");
    let (outcome, ()) = both(target.deliver(&long), async {
        handle(&mut peer, &answer("500 Oops", 1010)).await;
        peer.hung_up().await;
    })
    .await;
    assert_eq!(outcome, retry(Reason::ServerError, 500, &"0123456789".repeat(20)));
    let peer = over_a_fresh_one(&function, &target, "5", &answer("200 OK", 1010)).await;
    within(peer.hung_up()).await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_event_ends_its_connection() {
    let function = Function::start().await;
    let target = function.target();
    let long = Delivery { body: Bytes::from(vec![b'1'; 16 << 20]), ..event("1") };
    let (outcome, unread) = both(target.deliver(&long), async {
        let mut peer = function.accept().await;
        peer.begin().await;
        peer.write("HTTP/1.1 413 Too long\r\ncontent-length: 0\r\n\r\n").await;
        peer
    })
    .await;
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    let expected = Outcome::Permanent { reason: Reason::Rejected, status, detail: String::new() };
    assert_eq!(outcome, expected);
    // The next event does not wait behind the one that nobody reads.
    over_a_fresh_one(&function, &target, "2", OK).await;
    drop(unread);
}

#[tokio::test]
async fn connections_end_with_their_target_and_with_a_dropped_delivery() {
    let function = Function::start().await;
    let target = function.target();
    let free = over_a_fresh_one(&function, &target, "1", OK).await;
    let (mut used, dropped) = (free, event("2"));
    let (result, ()) = both(
        async {
            tokio::select! {
                outcome = target.deliver(&dropped) => Some(outcome),
                _ = used.request() => None,
            }
        },
        async {},
    )
    .await;
    assert_eq!(result, None);
    within(used.hung_up()).await;
    let free = over_a_fresh_one(&function, &target, "3", OK).await;
    drop(target);
    within(free.hung_up()).await;
}

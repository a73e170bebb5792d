//! What follows a delivery that fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::database::{Database, MARK_DONE, QUERY};
use crate::{
    function::{Function, Reply, status},
    poller::Poller,
    wait::until,
};

const ON_FAILED: &str = "WITH f AS (INSERT INTO failed VALUES ({{id}}, {{_error}}, {{_attempts}})) \
                         UPDATE orders SET status = 'failed' WHERE id = {{id}}";

fn with_dead_letters(database: &Database, function: &Function, attempts: u32) -> Vec<String> {
    let mut flags = database.flags_with(&function.url(), QUERY, Some(MARK_DONE));
    flags.push(format!("--on-failed={ON_FAILED}"));
    flags.push(format!("--max-attempts={attempts}"));
    flags
}

/// Answers `reply` to row 1 and 200 to all others.
async fn picky(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Function {
    Function::with(move |delivery| {
        let reply = if delivery.row_id() == 1 { reply() } else { status(200) };
        async move { reply }
    })
    .await
}

#[tokio::test]
async fn retryable_answers_end_among_the_dead_letters() {
    for code in [404, 408, 409, 429, 500, 503] {
        let (database, function) = (Database::new().await, picky(move || status(code)).await);
        database.fill(30).await;
        let poller = Poller::start(&with_dead_letters(&database, &function, 2));
        until("all settled", async || database.count("pending").await == 0).await;
        poller.stop().await;
        assert_eq!(database.count("done").await, 29, "{code}");
        let row = "SELECT id, error, attempts FROM failed";
        let row = database.client.query_one(row, &[]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i32>(2)), (1, 2), "{code}");
        assert!(row.get::<_, &str>(1).starts_with(&code.to_string()), "{code}");
        let attempts: Vec<u32> = function
            .deliveries()
            .iter()
            .filter(|delivery| delivery.row_id() == 1)
            .map(|delivery| delivery.attempt)
            .collect();
        assert_eq!(attempts, [1, 2], "{code}");
    }
}

#[tokio::test]
async fn other_client_errors_are_dead_at_once() {
    for code in [400, 401, 410, 422, 302] {
        let (database, function) = (Database::new().await, picky(move || status(code)).await);
        database.fill(5).await;
        let poller = Poller::start(&with_dead_letters(&database, &function, 10));
        until("all settled", async || database.count("pending").await == 0).await;
        poller.stop().await;
        assert_eq!(database.number("SELECT count(*) FROM failed WHERE attempts = 1").await, 1);
        assert_eq!(function.count(), 5, "{code}");
    }
}

/// A row that is dead can be put back by hand, and is delivered once.
#[tokio::test]
async fn a_redrive_delivers_once() {
    let well = Arc::new(AtomicBool::new(false));
    let answer = Arc::clone(&well);
    let function =
        picky(move || status(if answer.load(Ordering::Relaxed) { 200 } else { 400 })).await;
    let database = Database::new().await;
    database.fill(3).await;
    let poller = Poller::start(&with_dead_letters(&database, &function, 3));
    until("dead", async || database.count("failed").await == 1).await;
    well.store(true, Ordering::Relaxed);
    let redrive = "UPDATE orders SET status = 'pending' WHERE status = 'failed'";
    database.client.batch_execute(redrive).await.unwrap();
    until("done", async || database.count("done").await == 3).await;
    poller.stop().await;
    assert_eq!(function.by_id()["ns/fn/1"], 2);
}

/// `Retry-After` holds the second attempt back.
#[tokio::test]
async fn retry_after_is_honoured() {
    let first = Arc::new(AtomicBool::new(true));
    let function = picky(move || {
        let mut reply = status(if first.swap(false, Ordering::Relaxed) { 429 } else { 200 });
        reply.headers_mut().insert("retry-after", http::HeaderValue::from_static("2"));
        reply
    })
    .await;
    let database = Database::new().await;
    database.fill(1).await;
    let begin = std::time::Instant::now();
    let poller = Poller::start(&with_dead_letters(&database, &function, 3));
    until("done", async || database.count("done").await == 1).await;
    poller.stop().await;
    assert_eq!(function.count(), 2);
    assert!(begin.elapsed() >= Duration::from_secs(2));
}

/// A handler that hangs, or closes without an answer.
#[tokio::test]
async fn silence_is_a_failure_too() {
    let function = Function::with(|delivery| async move {
        match delivery.row_id() {
            1 if delivery.attempt == 1 => std::future::pending().await,
            2 if delivery.attempt == 1 => panic!("the connection closes"),
            _ => status(200),
        }
    })
    .await;
    let database = Database::new().await;
    database.fill(5).await;
    let mut flags = with_dead_letters(&database, &function, 5);
    flags.push("--deliver-timeout=500ms".to_owned());
    let poller = Poller::start(&flags);
    until("all done", async || database.count("done").await == 5).await;
    poller.stop().await;
    assert_eq!(function.count(), 7);
    assert_eq!(function.overlaps(), 0);
}

/// More rows that always fail than may be held: all others still come through.
#[tokio::test]
async fn poison_never_blocks_the_others() {
    let function = Function::with(|delivery| async move {
        status(if delivery.row_id() <= 40 && delivery.row_id() % 2 == 0 { 500 } else { 200 })
    })
    .await;
    let database = Database::new().await;
    database.fill(200).await;
    let mut flags = database.flags(&function.url());
    flags.push("--max-held=16".to_owned());
    let poller = Poller::start(&flags);
    until("the others done", async || database.count("done").await == 180).await;
    poller.stop().await;
    assert_eq!(database.count("pending").await, 20);
    assert_eq!(database.locks().await, 0);
}

/// While the function answers nothing but 503, nothing is dead-lettered, few locks are held, and it
/// recovers by itself. That ten minutes of it use up no attempt is a test of the dispatcher.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_uses_up_no_attempt() {
    let down = Arc::new(AtomicBool::new(true));
    let answer = Arc::clone(&down);
    let function = Function::with(move |_| {
        let code = if answer.load(Ordering::Relaxed) { 503 } else { 200 };
        async move { status(code) }
    })
    .await;
    let database = Database::new().await;
    database.fill(20_000).await;
    let poller = Poller::start(&with_dead_letters(&database, &function, 10));
    // Twenty failures open the breaker, and what runs beside them; the rest are probes.
    until("probes", async || function.count() >= 40).await;
    assert_eq!(database.count("failed").await, 0);
    assert!(database.locks().await <= 16);
    down.store(false, Ordering::Relaxed);
    until("all done", async || database.count("done").await == 20_000).await;
    poller.stop().await;
    assert_eq!(database.count("failed").await, 0);
    assert_eq!(function.overlaps(), 0);
}

/// Four pods whose handlers fail every row leave most of the server's lock table free.
#[tokio::test(flavor = "multi_thread")]
async fn failing_rows_do_not_fill_the_lock_table() {
    let function = Function::with(|_| async { status(500) }).await;
    let database = Database::new().await;
    database.fill(5_000).await;
    let flags = database.flags(&function.url());
    let pollers: Vec<Poller> = (0..4).map(|_| Poller::start(&flags)).collect();
    let mut most = 0;
    until("an outage for every pod, and probes", async || {
        most = most.max(database.locks().await);
        function.count() >= 4 * (20 + 8)
    })
    .await;
    let room = "SELECT (current_setting('max_locks_per_transaction')::int8 \
                * current_setting('max_connections')::int8)";
    assert!(most > 0 && most * 4 <= database.number(room).await, "{most} locks");
    // Somebody else still gets in.
    super::database::connect(&database.url).await;
    for poller in pollers {
        poller.stop().await;
    }
    assert_eq!(database.locks().await, 0);
}

/// Many rows that always fail stand before one that works: more than make an outage.
#[tokio::test(flavor = "multi_thread")]
async fn poison_in_front_hides_nothing_for_long() {
    let function = Function::with(|delivery| async move {
        status(if delivery.row_id() <= 60 { 500 } else { 200 })
    })
    .await;
    let database = Database::new().await;
    database.fill(61).await;
    let poller = Poller::start(&database.flags(&function.url()));
    until("the last one done", async || database.count("done").await == 1).await;
    poller.stop().await;
    assert_eq!(database.count("pending").await, 60);
    assert_eq!(database.locks().await, 0);
}

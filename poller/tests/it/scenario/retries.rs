//! What follows a delivery that fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    function::{Function, Reply, no_answer, status},
    poller::Poller,
    table::Table,
    wait::until,
};

fn with_dead_letters<T: Table>(database: &T, function: &Function, attempts: u32) -> Vec<String> {
    let mut flags = database.flags(&function.url());
    flags.push(format!("--on-failed={}", T::ON_FAILED));
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

pub(crate) async fn retryable_answers_end_among_the_dead_letters<T: Table>(
    new: impl AsyncFn() -> T,
) {
    for code in [404, 408, 409, 429, 500, 503] {
        let (database, function) = (new().await, picky(move || status(code)).await);
        database.fill(30).await;
        let poller = Poller::start(&with_dead_letters(&database, &function, 2));
        until("all settled", async || database.count("pending").await == 0).await;
        poller.stop().await;
        assert_eq!(database.count("done").await, 29, "{code}");
        assert_eq!(database.number("SELECT count(*) FROM failed").await, 1, "{code}");
        let row = format!("id = 1 AND attempts = 2 AND error LIKE '{code}%'");
        let row = format!("SELECT count(*) FROM failed WHERE {row}");
        assert_eq!(database.number(&row).await, 1, "{code}");
        let attempts: Vec<u32> = function
            .deliveries()
            .iter()
            .filter(|delivery| delivery.row_id() == 1)
            .map(|delivery| delivery.attempt)
            .collect();
        assert_eq!(attempts, [1, 2], "{code}");
    }
}

pub(crate) async fn other_client_errors_are_dead_at_once<T: Table>(new: impl AsyncFn() -> T) {
    for code in [400, 401, 410, 422, 302] {
        let (database, function) = (new().await, picky(move || status(code)).await);
        database.fill(5).await;
        let poller = Poller::start(&with_dead_letters(&database, &function, 10));
        until("all settled", async || database.count("pending").await == 0).await;
        poller.stop().await;
        assert_eq!(database.number("SELECT count(*) FROM failed WHERE attempts = 1").await, 1);
        assert_eq!(function.count(), 5, "{code}");
    }
}

/// A row that is dead can be put back by hand, and is delivered once.
pub(crate) async fn a_redrive_delivers_once(database: impl Table) {
    let well = Arc::new(AtomicBool::new(false));
    let answer = Arc::clone(&well);
    let function =
        picky(move || status(if answer.load(Ordering::Relaxed) { 200 } else { 400 })).await;
    database.fill(3).await;
    let poller = Poller::start(&with_dead_letters(&database, &function, 3));
    until("dead", async || database.count("failed").await == 1).await;
    well.store(true, Ordering::Relaxed);
    let redrive = "UPDATE orders SET status = 'pending' WHERE status = 'failed'";
    database.run(redrive).await;
    until("done", async || database.count("done").await == 3).await;
    poller.stop().await;
    assert_eq!(function.by_id()["ns/fn/1"], 2);
}

/// A row that is mended while it waits for its next attempt is delivered as it is then.
pub(crate) async fn a_mended_row_is_delivered_as_it_is(database: impl Table) {
    let function = Function::with(|delivery| async move {
        status(if delivery.row["note"] == "mended" { 200 } else { 500 })
    })
    .await;
    database.fill(1).await;
    let poller = Poller::start(&with_dead_letters(&database, &function, 5));
    until("a failed attempt", async || function.count() >= 1).await;
    database.run("UPDATE orders SET note = 'mended' WHERE id = 1").await;
    until("done", async || database.count("done").await == 1).await;
    poller.stop().await;
    let deliveries = function.deliveries();
    let last = deliveries.last().unwrap();
    assert_eq!((last.row["note"].as_str(), last.attempt), (Some("mended"), 2));
    assert_eq!(deliveries.len(), 2);
    assert_eq!(database.locks().await, 0);
}

/// A row that does not match any more when its next attempt is due is dropped: neither delivered nor
/// marked. What it is put back for later is a new event.
pub(crate) async fn a_row_that_left_is_not_delivered_again(database: impl Table) {
    let function = Function::with(|_| async { status(500) }).await;
    database.fill(1).await;
    let poller = Poller::start(&with_dead_letters(&database, &function, 5));
    until("a failed attempt", async || function.count() >= 1).await;
    database.run("UPDATE orders SET status = 'cancelled' WHERE id = 1").await;
    until("given up", async || database.locks().await == 0).await;
    assert_eq!(function.count(), 1);
    assert_eq!(database.count("cancelled").await, 1);
    assert_eq!(database.number("SELECT count(*) FROM failed").await, 0);
    database.run("UPDATE orders SET status = 'pending' WHERE id = 1").await;
    until("a new event", async || function.count() >= 2).await;
    assert_eq!(function.deliveries()[1].attempt, 1);
    poller.stop().await;
}

/// `Retry-After` holds the second attempt back.
pub(crate) async fn retry_after_is_honoured(database: impl Table) {
    let first = Arc::new(AtomicBool::new(true));
    let function = picky(move || {
        let mut reply = status(if first.swap(false, Ordering::Relaxed) { 429 } else { 200 });
        reply.headers_mut().insert("retry-after", http::HeaderValue::from_static("2"));
        reply
    })
    .await;
    database.fill(1).await;
    let begin = std::time::Instant::now();
    let poller = Poller::start(&with_dead_letters(&database, &function, 3));
    until("done", async || database.count("done").await == 1).await;
    poller.stop().await;
    assert_eq!(function.count(), 2);
    assert!(begin.elapsed() >= Duration::from_secs(2));
}

/// A handler that hangs, or closes without an answer.
pub(crate) async fn silence_is_a_failure_too(database: impl Table) {
    let function = Function::with(|delivery| async move {
        match delivery.row_id() {
            1 if delivery.attempt == 1 => std::future::pending().await,
            2 if delivery.attempt == 1 => no_answer(),
            _ => status(200),
        }
    })
    .await;
    database.fill(5).await;
    let mut flags = with_dead_letters(&database, &function, 5);
    flags.push("--deliver-timeout=1s".to_owned());
    let poller = Poller::start(&flags);
    until("all done", async || database.count("done").await == 5).await;
    poller.stop().await;
    // On a slow machine others may take more than the second too.
    let attempts = |id| function.deliveries().iter().filter(|one| one.row_id() == id).count();
    assert!(attempts(1) >= 2 && attempts(2) >= 2, "{:?}", function.by_id());
    assert_eq!(function.overlaps(), 0);
}

/// More rows that always fail than may be held: all others still come through.
pub(crate) async fn poison_never_blocks_the_others(database: impl Table) {
    let function = Function::with(|delivery| async move {
        status(if delivery.row_id() <= 40 && delivery.row_id() % 2 == 0 { 500 } else { 200 })
    })
    .await;
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
pub(crate) async fn an_outage_uses_up_no_attempt(database: impl Table) {
    let down = Arc::new(AtomicBool::new(true));
    let answer = Arc::clone(&down);
    let function = Function::with(move |_| {
        let code = if answer.load(Ordering::Relaxed) { 503 } else { 200 };
        async move { status(code) }
    })
    .await;
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

/// Four pods whose handlers fail every row leave most of the server's `room` for locks free, and
/// others still connect.
pub(crate) async fn failing_rows_do_not_fill_the_lock_table(
    database: impl Table,
    room: i64,
    connect: impl AsyncFnOnce(),
) {
    let function = Function::with(|_| async { status(500) }).await;
    database.fill(5_000).await;
    let flags = database.flags(&function.url());
    let pollers: Vec<Poller> = (0..4).map(|_| Poller::start(&flags)).collect();
    let mut most = 0;
    until("an outage for every pod, and probes", async || {
        most = most.max(database.locks().await);
        function.count() >= 4 * (20 + 8)
    })
    .await;
    assert!(most > 0 && most * 4 <= room, "{most} locks");
    connect().await;
    for poller in pollers {
        poller.stop().await;
    }
    assert_eq!(database.locks().await, 0);
}

/// Many rows that always fail stand before one that works: more than make an outage.
pub(crate) async fn poison_in_front_hides_nothing_for_long(database: impl Table) {
    let function = Function::with(|delivery| async move {
        status(if delivery.row_id() <= 60 { 500 } else { 200 })
    })
    .await;
    database.fill(61).await;
    let poller = Poller::start(&database.flags(&function.url()));
    until("the last one done", async || database.count("done").await == 1).await;
    poller.stop().await;
    assert_eq!(database.count("pending").await, 60);
    assert_eq!(database.locks().await, 0);
}

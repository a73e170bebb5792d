//! Several pollers on one table: each row once, none by two at a time.

use std::{sync::Arc, time::Duration};

use crate::{
    function::{Function, status},
    poller::Poller,
    table::{MARK_DONE, QUERY, Table},
    wait::until,
};

async fn stop(pollers: Vec<Poller>) {
    for poller in pollers {
        poller.stop().await;
    }
}

fn start(count: usize, flags: &[String]) -> Vec<Poller> {
    (0..count).map(|_| Poller::start(flags)).collect()
}

pub(crate) async fn four_pollers(database: impl Table) {
    let function = Function::start().await;
    database.fill(10_000).await;
    let pollers = start(4, &database.flags(&function.url()));
    until("all marked", async || database.count("done").await == 10_000).await;
    stop(pollers).await;
    assert_eq!(function.count(), 10_000);
    assert_eq!(function.by_id().len(), 10_000);
    assert_eq!(function.overlaps(), 0);
    assert_eq!(database.locks().await, 0);
}

/// Two queries with different text and key order, as during a rollout: the same locks.
pub(crate) async fn rollout(database: impl Table) {
    let function = Function::start().await;
    database.fill(3_000).await;
    let other = "SELECT id, customer FROM orders WHERE status = 'pending' ORDER BY id DESC";
    let mut pollers = start(2, &database.flags(&function.url()));
    pollers.extend(start(2, &database.flags_with(&function.url(), other, Some(MARK_DONE))));
    until("all marked", async || database.count("done").await == 3_000).await;
    stop(pollers).await;
    assert_eq!((function.count(), function.overlaps()), (3_000, 0));
}

/// Slow handlers: work is left for pods that come later.
pub(crate) async fn fair_shares(database: impl Table) {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let function = Function::with(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.unwrap().forget();
            status(200)
        }
    })
    .await;
    database.fill(40).await;
    let pollers = start(1, &database.flags(&function.url()));
    until("eight run", async || function.count() == 8).await;
    assert!(database.locks().await <= 16, "{}", database.locks().await);
    let late = start(3, &database.flags(&function.url()));
    until("all pods run", async || function.count() >= 8 + 16).await;
    gate.add_permits(1_000);
    until("all marked", async || database.count("done").await == 40).await;
    stop(pollers).await;
    stop(late).await;
    assert_eq!((function.count(), function.overlaps()), (40, 0));
}

/// Handlers that change, finish or re-queue their own row, insert others, or take their time.
pub(crate) async fn meddling_handlers(database: impl Table) {
    database.fill(2_000).await;
    let database = Arc::new(database);
    let own = Arc::clone(&database);
    let function = Function::with(move |delivery| {
        let own = Arc::clone(&own);
        async move {
            let id = delivery.row_id();
            let on = format!("WHERE id = {id}");
            let sql = match id % 6 {
                0 => format!("UPDATE orders SET note = 'changed', tries = tries + 1 {on}"),
                1 => format!("UPDATE orders SET status = 'done' {on}"),
                2 => format!("UPDATE orders SET status = 'pending', note = 'again' {on}"),
                3 if id <= 2_000 => {
                    format!("INSERT INTO orders (customer, note) VALUES ('child', 'of {id}')")
                }
                4 => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    format!("UPDATE orders SET status = 'working' {on}")
                }
                _ => return status(200),
            };
            own.run(&sql).await;
            status(200)
        }
    })
    .await;
    let pollers = start(4, &database.flags(&function.url()));
    let open = "SELECT count(*) FROM orders WHERE status <> 'done'";
    until("all marked", async || database.number(open).await == 0).await;
    stop(pollers).await;
    let rows = database.number("SELECT count(*) FROM orders").await;
    assert!(rows > 2_000);
    assert_eq!(i64::try_from(function.count()).unwrap(), rows);
    assert_eq!(function.overlaps(), 0);
}

/// Without a mark a row that stays is delivered once by this process, and again when it changed.
pub(crate) async fn no_mark(database: impl Table) {
    let function = Function::start().await;
    database.fill(10).await;
    let poller = Poller::start(&database.flags_with(&function.url(), QUERY, None));
    // Once it is released its state after the delivery is known.
    until("delivered", async || function.count() == 10 && database.locks().await == 0).await;
    database.run("UPDATE orders SET note = 'x' WHERE id = 3").await;
    until("the changed one", async || function.count() == 11).await;
    database.run("UPDATE orders SET status = 'off' WHERE id = 4").await;
    // Two more looks: the row was seen not to match.
    database.fill(1).await;
    until("a new one", async || function.count() == 12).await;
    database.fill(1).await;
    until("another new one", async || function.count() == 13).await;
    database.run("UPDATE orders SET status = 'pending' WHERE id = 4").await;
    until("the one that came back", async || function.count() == 14).await;
    poller.stop().await;
    assert_eq!(function.by_id()["ns/fn/3"], 2);
    assert_eq!(function.by_id()["ns/fn/4"], 2);
    assert_eq!(function.by_id().len(), 12);
}

/// A mark after which the row still matches: delivered once, until the row changes.
pub(crate) async fn mark_that_changes_little(database: impl Table) {
    let function = Function::start().await;
    database.fill(5).await;
    let mark = "UPDATE orders SET tries = tries + 1 WHERE id = {{id}}";
    let poller = Poller::start(&database.flags_with(&function.url(), QUERY, Some(mark)));
    let tries = "SELECT sum(tries) FROM orders";
    until("marked", async || database.number(tries).await == 5).await;
    database.run("UPDATE orders SET note = 'x' WHERE id = 3").await;
    until("again", async || database.number(tries).await == 6).await;
    database.fill(1).await;
    until("a new one", async || database.number(tries).await == 7).await;
    poller.stop().await;
    assert_eq!(function.by_id()["ns/fn/3"], 2);
    assert_eq!(function.count(), 7);
}

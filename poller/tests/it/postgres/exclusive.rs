//! Several pollers on one table: each row once, none by two at a time.

use std::{sync::Arc, time::Duration};

use super::database::{Database, MARK_DONE, QUERY, connect};
use crate::{
    function::{Function, status},
    poller::Poller,
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

#[tokio::test(flavor = "multi_thread")]
async fn four_pollers_deliver_ten_thousand_rows_once_each() {
    let (database, function) = (Database::new().await, Function::start().await);
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
#[tokio::test(flavor = "multi_thread")]
async fn old_and_new_pods_of_a_rollout_keep_each_other_out() {
    let (database, function) = (Database::new().await, Function::start().await);
    database.fill(3_000).await;
    let other = "SELECT id, customer FROM orders WHERE status = 'pending' ORDER BY id DESC";
    let mut pollers = start(2, &database.flags(&function.url()));
    pollers.extend(start(2, &database.flags_with(&function.url(), other, Some(MARK_DONE))));
    until("all marked", async || database.count("done").await == 3_000).await;
    stop(pollers).await;
    assert_eq!((function.count(), function.overlaps()), (3_000, 0));
}

/// Slow handlers: work is left for pods that come later.
#[tokio::test(flavor = "multi_thread")]
async fn no_pod_takes_more_than_twice_what_it_can_run() {
    let database = Database::new().await;
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
#[tokio::test(flavor = "multi_thread")]
async fn handlers_may_do_anything_to_their_rows() {
    let database = Database::new().await;
    database.fill(2_000).await;
    let own = Arc::new(connect(&database.url).await);
    let function = Function::with(move |delivery| {
        let own = Arc::clone(&own);
        async move {
            let id = delivery.row_id();
            let sql = match id % 6 {
                0 => "UPDATE orders SET note = 'changed', tries = tries + 1 WHERE id = $1",
                1 => "UPDATE orders SET status = 'done' WHERE id = $1",
                2 => "UPDATE orders SET status = 'pending', note = 'again' WHERE id = $1",
                3 if id < 2_000 => {
                    "INSERT INTO orders (customer, note) SELECT 'child', $1::int8::text"
                }
                4 => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    "UPDATE orders SET status = 'working' WHERE id = $1"
                }
                _ => "SELECT 1 FROM orders WHERE id = $1",
            };
            own.execute(sql, &[&id]).await.unwrap();
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
#[tokio::test]
async fn without_a_mark_a_row_comes_again_only_when_it_changed() {
    let (database, function) = (Database::new().await, Function::start().await);
    database.fill(10).await;
    let poller = Poller::start(&database.flags_with(&function.url(), QUERY, None));
    until("delivered", async || function.count() == 10).await;
    database.client.batch_execute("UPDATE orders SET note = 'x' WHERE id = 3").await.unwrap();
    until("the changed one", async || function.count() == 11).await;
    database.client.batch_execute("UPDATE orders SET status = 'off' WHERE id = 4").await.unwrap();
    // Two more looks: the row was seen not to match.
    database.fill(1).await;
    until("a new one", async || function.count() == 12).await;
    database.fill(1).await;
    until("another new one", async || function.count() == 13).await;
    database
        .client
        .batch_execute("UPDATE orders SET status = 'pending' WHERE id = 4")
        .await
        .unwrap();
    until("the one that came back", async || function.count() == 14).await;
    poller.stop().await;
    assert_eq!(function.by_id()["ns/fn/3"], 2);
    assert_eq!(function.by_id()["ns/fn/4"], 2);
    assert_eq!(function.by_id().len(), 12);
}

/// A mark after which the row still matches: delivered once, until the row changes.
#[tokio::test]
async fn a_row_that_matches_after_its_mark_waits_for_a_change() {
    let (database, function) = (Database::new().await, Function::start().await);
    database.fill(5).await;
    let mark = "UPDATE orders SET tries = tries + 1 WHERE id = {{id}}";
    let poller = Poller::start(&database.flags_with(&function.url(), QUERY, Some(mark)));
    let tries = "SELECT sum(tries)::int8 FROM orders";
    until("marked", async || database.number(tries).await == 5).await;
    database.client.batch_execute("UPDATE orders SET note = 'x' WHERE id = 3").await.unwrap();
    until("again", async || database.number(tries).await == 6).await;
    database.fill(1).await;
    until("a new one", async || database.number(tries).await == 7).await;
    poller.stop().await;
    assert_eq!(function.by_id()["ns/fn/3"], 2);
    assert_eq!(function.count(), 7);
}

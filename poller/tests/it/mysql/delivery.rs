//! What the function is sent, and that every row is marked.

use super::database::{Database, POLLER};
use crate::{
    function::Function,
    poller::Poller,
    scenario::{delivery, reports},
    table::{MARK_DONE, Table as _},
    wait::until,
};

#[tokio::test]
async fn every_row_is_delivered_once_and_marked() {
    delivery::every_row_once(Database::new().await).await;
}

#[tokio::test]
async fn rows_come_in_the_order_of_the_query() {
    delivery::order_of_the_query(Database::new().await).await;
}

#[tokio::test]
async fn large_rows_stay_under_the_byte_bound() {
    delivery::large_rows(Database::new().await).await;
}

#[tokio::test]
async fn a_function_that_is_not_up_costs_no_attempt() {
    delivery::function_that_is_not_up(Database::new().await).await;
}

#[tokio::test]
async fn a_key_that_is_not_unique_is_never_delivered() {
    delivery::key_that_is_not_unique(Database::new().await).await;
}

#[tokio::test]
async fn the_delivery_is_a_cloud_event() {
    let (database, function) = (Database::new().await, Function::start().await);
    database.run("INSERT INTO orders (id, note) VALUES (42, 'n')").await;
    let poller = Poller::start(&database.flags(&function.url()));
    until("marked", async || database.count("done").await == 1).await;
    poller.stop().await;
    let delivery = &function.deliveries()[0];
    let header = |name: &str| delivery.headers[name].to_str().unwrap();
    assert_eq!(delivery.id, "ns/fn/42");
    assert_eq!(delivery.attempt, 1);
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("ce-source"), "/kipper/ns/fn/mysql");
    assert_eq!(header("ce-type"), "run.kipper.mysql");
    let expected = r#"{"id":42,"customer":"acme","status":"pending","note":"n","tries":0}"#;
    assert_eq!(delivery.body, expected);
}

/// The window on the query grows until it reaches rows that can be claimed.
#[tokio::test]
async fn rows_that_cannot_be_claimed_hide_no_others() {
    let (database, function) = (Database::new().await, Function::start().await);
    database.run("ALTER TABLE orders ADD nr int").await;
    database.fill(3_000).await;
    database.run("UPDATE orders SET nr = id WHERE id > 2980").await;
    let mut flags = database.flags(&function.url());
    flags.extend(["--key=nr".to_owned(), "--max-held=8".to_owned()]);
    let poller = Poller::start(&flags);
    until("those behind marked", async || database.count("done").await == 20).await;
    poller.stop().await;
    assert_eq!((function.count(), database.count("pending").await), (20, 2_980));
}

/// Queries of other shapes than one SELECT: what is put around them leaves them as they are.
#[tokio::test]
async fn queries_of_any_shape() {
    for query in [
        "SELECT id, note FROM orders WHERE status = 'pending' AND id % 2 = 0 UNION ALL \
         SELECT id, customer FROM orders WHERE status = 'pending' AND id % 2 = 1 ORDER BY id",
        "WITH open AS (SELECT * FROM orders WHERE status = 'pending') SELECT * FROM open",
        "(SELECT * FROM orders WHERE status = 'pending');",
        "SELECT o.id, COUNT(*) AS n FROM orders o WHERE status = 'pending' GROUP BY o.id -- each",
        "SELECT o.id, p.customer FROM orders o LEFT JOIN orders p ON p.id = o.id + 1 \
         WHERE o.status = 'pending' /* all */",
    ] {
        let (database, function) = (Database::new().await, Function::start().await);
        database.fill(30).await;
        let mut flags = database.flags_with(&function.url(), query, Some(MARK_DONE));
        flags.push("--key=id".to_owned());
        let poller = Poller::start(&flags);
        until(query, async || database.count("done").await == 30).await;
        poller.stop().await;
        assert_eq!((function.count(), function.by_id().len()), (30, 30), "{query}");
    }
}

/// The connection is encrypted, and verified against the authority that was given.
#[tokio::test]
async fn over_tls() {
    let (server, database) = Database::alone(&[]).await;
    let function = Function::start().await;
    database.run(&format!("ALTER USER {POLLER} REQUIRE SSL")).await;
    database.fill(5).await;
    let mut flags = database.flags(&function.url());
    let refused = Poller::start(&flags).error().await;
    assert!(refused.to_string().contains("Access denied"), "{refused}");
    flags.push(format!("--source-ca={}", server.ca_file().display()));
    let poller = Poller::start(&flags);
    until("all marked", async || database.count("done").await == 5).await;
    poller.stop().await;
    assert_eq!(function.count(), 5);
}

#[tokio::test]
async fn the_backlog_is_counted_to_a_bound() {
    delivery::backlog(Database::new().await).await;
}

#[tokio::test]
async fn what_it_cannot_keep_up_with_is_reported() {
    reports::backlog(Database::new().await).await;
}

#[tokio::test]
async fn reports_that_nobody_takes_delay_nothing() {
    reports::refused(Database::new().await).await;
}

//! What the function is sent, and that every row is marked.

use clap::Parser as _;
use kipper_poller::{Backlog, Config, check};

use crate::{
    function::{Function, status},
    poller::{Poller, TARGET},
    table::{MARK_DONE, QUERY, Table},
    wait::until,
};

pub(crate) async fn every_row_once(database: impl Table) {
    let function = Function::start().await;
    database.fill(500).await;
    let poller = Poller::start(&database.flags(&function.url()));
    until("all marked", async || database.count("done").await == 500).await;
    // One that comes later is found too.
    database.fill(1).await;
    until("the late one marked", async || database.count("done").await == 501).await;
    poller.stop().await;
    assert_eq!(function.count(), 501);
    assert!(function.by_id().values().all(|count| *count == 1));
    assert_eq!(database.locks().await, 0);
}

/// The order of the query is the order of the deliveries, as far as there is one at a time.
pub(crate) async fn order_of_the_query(database: impl Table) {
    let function = Function::start().await;
    database.fill(50).await;
    let query = "SELECT * FROM orders WHERE status = 'pending' ORDER BY id DESC -- newest first";
    let mut flags = database.flags_with(&function.url(), query, Some(MARK_DONE));
    flags.push("--concurrency=1".to_owned());
    let poller = Poller::start(&flags);
    until("all marked", async || database.count("done").await == 50).await;
    poller.stop().await;
    let ids: Vec<i64> = function.deliveries().iter().map(|d| d.row_id()).collect();
    assert_eq!(ids, (1..=50).rev().collect::<Vec<i64>>());
}

/// Bodies are bounded by bytes, not by rows; one that is larger than the bound is delivered alone.
pub(crate) async fn large_rows(database: impl Table) {
    let function = Function::start().await;
    database.fill(40).await;
    // Small ones first: what the poller has learnt of sizes is wrong when the large ones come.
    database.run("UPDATE orders SET note = repeat('x', 300000) WHERE id > 20").await;
    let mut flags = database.flags(&function.url());
    flags.push("--max-held-bytes=200000".to_owned());
    let poller = Poller::start(&flags);
    until("all marked", async || database.count("done").await == 40).await;
    poller.stop().await;
    assert_eq!(function.count(), 40);
}

/// Nothing is claimed before the function answers.
pub(crate) async fn function_that_is_not_up(database: impl Table) {
    database.fill(3).await;
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let poller = Poller::start(&database.flags(&format!("http://{addr}/event")));
    until("connected", async || database.sessions().await == 2).await;
    // The lock of the start's own check goes; one of a claim would stay.
    let mut looks_without_a_lock = 0;
    until("no lock", async || {
        looks_without_a_lock += 1;
        if database.locks().await > 0 {
            looks_without_a_lock = 0;
        }
        looks_without_a_lock == 20
    })
    .await;
    let function = Function::listen(addr, |_| async { status(200) }).await;
    until("all marked", async || database.count("done").await == 3).await;
    poller.stop().await;
    assert!(function.deliveries().iter().all(|delivery| delivery.attempt == 1));
}

/// A key that names two rows: neither is delivered, and all others are.
pub(crate) async fn key_that_is_not_unique(database: impl Table) {
    let function = Function::start().await;
    database.fill(20).await;
    database.run("UPDATE orders SET customer = 'c3' WHERE id = 7").await;
    let mut flags = database.flags(&function.url());
    flags.push("--key=customer".to_owned());
    let poller = Poller::start(&flags);
    until("the others marked", async || database.count("done").await == 18).await;
    poller.stop().await;
    assert_eq!(database.count("pending").await, 2);
    assert_eq!(function.count(), 18);
    assert_eq!(database.locks().await, 0);
}

/// What the number of pods is made from: counted, but no further than needed, and claiming nothing.
pub(crate) async fn backlog(database: impl Table) {
    // It ends in a comment, which must not hide what follows.
    let query = format!("{QUERY} -- the oldest first;");
    let flags = database.flags_with(TARGET, &query, Some(MARK_DONE));
    let flags = ["kipper-poll".to_owned()].into_iter().chain(flags);
    let config = Config::try_parse_from(flags).unwrap();
    check(&config).await.unwrap();
    let mut backlog = Backlog::new(&config, 25).unwrap();
    assert_eq!(backlog.count().await.unwrap(), 0);
    database.fill(20).await;
    assert_eq!(backlog.count().await.unwrap(), 20);
    database.fill(20).await;
    assert_eq!(backlog.count().await.unwrap(), 25);
    database.run("UPDATE orders SET status = 'done'").await;
    assert_eq!(backlog.count().await.unwrap(), 0);
    assert_eq!(database.locks().await, 0);
    // Those of the check end in their own time.
    until("one connection for all counts", async || database.sessions().await == 1).await;
}

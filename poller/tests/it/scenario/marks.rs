//! Marks that fail, block, or change nothing.

use std::time::Duration;

use crate::{
    function::Function,
    poller::Poller,
    table::{QUERY, Table},
    wait::until,
};

/// A mark that fails for a while: no second delivery, no lost mark. What breaks it fails marks of
/// every third row.
pub(crate) async fn mark_that_fails(database: impl Table, broken: &[&str], mended: &str) {
    let function = Function::start().await;
    for sql in broken {
        database.run(sql).await;
    }
    database.fill(30).await;
    let poller = Poller::start(&database.flags(&function.url()));
    until("the others marked", async || database.count("done").await == 20).await;
    assert_eq!(function.count(), 30);
    assert!(database.locks().await >= 10);
    database.run(mended).await;
    until("all marked", async || database.count("done").await == 30).await;
    poller.stop().await;
    assert_eq!(function.count(), 30);
    assert_eq!(database.locks().await, 0);
}

/// Marks that fail for good hold claims, and claiming stops at the bound instead of delivering what
/// cannot be marked.
pub(crate) async fn claiming_stops_at_what_may_be_held(database: impl Table) {
    let function = Function::start().await;
    database.run("ALTER TABLE orders ADD CONSTRAINT never CHECK (status <> 'done')").await;
    database.fill(100).await;
    let mut flags = database.flags(&function.url());
    flags.push("--max-held=20".to_owned());
    let poller = Poller::start(&flags);
    until("the bound", async || function.count() == 20).await;
    // Time for another claim, if there were one.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(function.count(), 20);
    assert_eq!(database.locks().await, 20);
    database.run("ALTER TABLE orders DROP CONSTRAINT never").await;
    until("all marked", async || database.count("done").await == 100).await;
    poller.stop().await;
    assert_eq!(function.count(), 100);
}

/// Marks of several pods meet on a shared parent row, in orders that deadlock. The setup makes table
/// `parents (id, n)` with five rows, and counts each mark in one of them.
pub(crate) async fn deadlocks(database: impl Table, setup: &[&str]) {
    let function = Function::start().await;
    for sql in setup {
        database.run(sql).await;
    }
    database.fill(2_000).await;
    let flags = database.flags(&function.url());
    let pollers: Vec<Poller> = (0..4).map(|_| Poller::start(&flags)).collect();
    until("all marked", async || database.count("done").await == 2_000).await;
    for poller in pollers {
        poller.stop().await;
    }
    assert_eq!((function.count(), function.overlaps()), (2_000, 0));
    // Each mark was committed once.
    assert_eq!(database.number("SELECT sum(n) FROM parents").await, 2_000);
}

/// A mark that changes no row is said, and does no harm.
pub(crate) async fn mark_that_changes_nothing(database: impl Table) {
    let function = Function::start().await;
    database.fill(3).await;
    let mark = "UPDATE orders SET status = 'done' WHERE id = {{id}} AND customer = 'nobody'";
    let poller = Poller::start(&database.flags_with(&function.url(), QUERY, Some(mark)));
    until("delivered", async || function.count() == 3).await;
    database.fill(1).await;
    until("another", async || function.count() == 4).await;
    poller.stop().await;
    assert_eq!(database.count("pending").await, 4);
    assert_eq!(function.count(), 4);
}

/// `next_run`: the row matches again later, and is delivered again then. The setup makes table
/// `jobs (id, next_run, runs)` with two rows.
pub(crate) async fn mark_that_re_schedules(
    database: impl Table,
    setup: &[&str],
    query: &str,
    mark: &str,
) {
    let function = Function::start().await;
    for sql in setup {
        database.run(sql).await;
    }
    let poller = Poller::start(&database.flags_with(&function.url(), query, Some(mark)));
    let fewest = "SELECT min(runs) FROM jobs";
    until("three runs each", async || database.number(fewest).await >= 3).await;
    poller.stop().await;
    let runs = database.number("SELECT sum(runs) FROM jobs").await;
    assert_eq!(i64::try_from(function.count()).unwrap(), runs);
}

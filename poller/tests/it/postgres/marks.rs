//! Marks that fail, block, or change nothing.

use std::time::Duration;

use super::database::{Database, QUERY, connect};
use crate::{function::Function, poller::Poller, wait::until};

/// A mark that fails for a while: no second delivery, no lost mark.
#[tokio::test]
async fn a_mark_that_fails_is_tried_until_it_works() {
    let (database, function) = (Database::new().await, Function::start().await);
    let broken = "CREATE TABLE allowed (ok bool); INSERT INTO allowed VALUES (false); \
        CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        IF NEW.status = 'done' AND NEW.id % 3 = 0 AND NOT (SELECT bool_and(ok) FROM allowed) THEN \
        RAISE EXCEPTION 'not now'; END IF; RETURN NEW; END $$; \
        CREATE TRIGGER guard BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION guard()";
    database.client.batch_execute(broken).await.unwrap();
    database.fill(30).await;
    let poller = Poller::start(&database.flags(&function.url()));
    until("the others marked", async || database.count("done").await == 20).await;
    assert_eq!(function.count(), 30);
    assert!(database.locks().await >= 10);
    database.client.batch_execute("UPDATE allowed SET ok = true").await.unwrap();
    until("all marked", async || database.count("done").await == 30).await;
    poller.stop().await;
    assert_eq!(function.count(), 30);
    assert_eq!(database.locks().await, 0);
}

/// Marks that fail for good hold claims, and claiming stops at the bound instead of delivering what
/// cannot be marked.
#[tokio::test]
async fn claiming_stops_at_what_may_be_held() {
    let (database, function) = (Database::new().await, Function::start().await);
    let check = "ALTER TABLE orders ADD CONSTRAINT never CHECK (status <> 'done')";
    database.client.batch_execute(check).await.unwrap();
    database.fill(100).await;
    let mut flags = database.flags(&function.url());
    flags.push("--max-held=20".to_owned());
    let poller = Poller::start(&flags);
    until("the bound", async || function.count() == 20).await;
    // Time for another claim, if there were one.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(function.count(), 20);
    assert_eq!(database.locks().await, 20);
    let lift = "ALTER TABLE orders DROP CONSTRAINT never";
    database.client.batch_execute(lift).await.unwrap();
    until("all marked", async || database.count("done").await == 100).await;
    poller.stop().await;
    assert_eq!(function.count(), 100);
}

/// Marks of several pods meet on a shared parent row, in orders that deadlock.
#[tokio::test(flavor = "multi_thread")]
async fn deadlocks_between_marks_lose_nothing() {
    let (database, function) = (Database::new().await, Function::start().await);
    let setup = "CREATE TABLE parents (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); \
        INSERT INTO parents SELECT n FROM generate_series(0, 4) n; \
        CREATE FUNCTION up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        UPDATE parents SET n = n + 1 WHERE id = (NEW.id * 7 + NEW.tries) % 5; RETURN NEW; END $$; \
        CREATE TRIGGER up AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION up()";
    database.client.batch_execute(setup).await.unwrap();
    database.fill(2_000).await;
    let flags = database.flags(&function.url());
    let pollers: Vec<Poller> = (0..4).map(|_| Poller::start(&flags)).collect();
    until("all marked", async || database.count("done").await == 2_000).await;
    for poller in pollers {
        poller.stop().await;
    }
    assert_eq!((function.count(), function.overlaps()), (2_000, 0));
    // Each mark was committed once.
    assert_eq!(database.number("SELECT sum(n)::int8 FROM parents").await, 2_000);
}

/// Somebody else's transaction keeps a row locked: only its own mark waits.
#[tokio::test]
async fn a_locked_row_delays_no_other_mark_for_long() {
    let (database, function) = (Database::new().await, Function::start().await);
    database.fill(50).await;
    let mut other = connect(&database.url).await;
    let block = other.transaction().await.unwrap();
    block.execute("SELECT 1 FROM orders WHERE id = 25 FOR UPDATE", &[]).await.unwrap();
    let poller = Poller::start(&database.flags(&function.url()));
    until("the others marked", async || database.count("done").await == 49).await;
    block.rollback().await.unwrap();
    until("all marked", async || database.count("done").await == 50).await;
    poller.stop().await;
    assert_eq!(function.count(), 50);
}

/// A mark that changes no row is said, and does no harm.
#[tokio::test]
async fn a_mark_that_changes_nothing() {
    let (database, function) = (Database::new().await, Function::start().await);
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

/// `next_run`: the row matches again later, and is delivered again then.
#[tokio::test]
async fn a_mark_that_re_schedules() {
    let (database, function) = (Database::new().await, Function::start().await);
    let setup = "CREATE TABLE jobs (id int PRIMARY KEY, next_run timestamptz NOT NULL DEFAULT now(), \
                 runs int NOT NULL DEFAULT 0); INSERT INTO jobs VALUES (1), (2)";
    database.client.batch_execute(setup).await.unwrap();
    let query = "SELECT id FROM jobs WHERE next_run <= now()";
    let mark =
        "UPDATE jobs SET runs = runs + 1, next_run = now() + interval '50 ms' WHERE id = {{id}}";
    let poller = Poller::start(&database.flags_with(&function.url(), query, Some(mark)));
    until("three runs each", async || {
        database.number("SELECT min(runs)::int8 FROM jobs").await >= 3
    })
    .await;
    poller.stop().await;
    let runs = database.number("SELECT sum(runs)::int8 FROM jobs").await;
    assert_eq!(i64::try_from(function.count()).unwrap(), runs);
}

//! Marks that fail, block, or change nothing.

use mysql_async::prelude::Queryable as _;

use super::database::Database;
use crate::{function::Function, poller::Poller, scenario::marks, table::Table as _, wait::until};

#[tokio::test]
async fn a_mark_that_fails_is_tried_until_it_works() {
    let broken = [
        "CREATE TABLE allowed (ok bool)",
        "INSERT INTO allowed VALUES (false)",
        "CREATE TRIGGER guard BEFORE UPDATE ON orders FOR EACH ROW BEGIN \
         IF NEW.status = 'done' AND NEW.id % 3 = 0 AND NOT (SELECT min(ok) FROM allowed) THEN \
         SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not now'; END IF; END",
    ];
    let mended = "UPDATE allowed SET ok = true";
    marks::mark_that_fails(Database::new().await, &broken, mended).await;
}

#[tokio::test]
async fn claiming_stops_at_what_may_be_held() {
    marks::claiming_stops_at_what_may_be_held(Database::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlocks_between_marks_lose_nothing() {
    let setup = [
        "CREATE TABLE parents (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)",
        "INSERT INTO parents (id) SELECT seq FROM seq_0_to_4",
        "CREATE TRIGGER up AFTER UPDATE ON orders FOR EACH ROW \
         UPDATE parents SET n = n + 1 WHERE id = (NEW.id * 7 + NEW.tries) % 5",
    ];
    marks::deadlocks(Database::new().await, &setup).await;
}

/// Somebody else's transaction keeps a row locked: only its own mark waits.
#[tokio::test]
async fn a_locked_row_delays_no_other_mark_for_long() {
    let (database, function) = (Database::new().await, Function::start().await);
    database.fill(50).await;
    let mut other = database.pool.get_conn().await.unwrap();
    other.query_drop("START TRANSACTION").await.unwrap();
    other.query_drop("SELECT 1 FROM orders WHERE id = 25 FOR UPDATE").await.unwrap();
    let poller = Poller::start(&database.flags(&function.url()));
    until("the others marked", async || database.count("done").await == 49).await;
    other.query_drop("ROLLBACK").await.unwrap();
    until("all marked", async || database.count("done").await == 50).await;
    poller.stop().await;
    assert_eq!(function.count(), 50);
}

#[tokio::test]
async fn a_mark_that_changes_nothing() {
    marks::mark_that_changes_nothing(Database::new().await).await;
}

#[tokio::test]
async fn a_mark_that_re_schedules() {
    let setup = [
        "CREATE TABLE jobs (id int PRIMARY KEY, next_run datetime(3) NOT NULL DEFAULT '2026-01-01', \
         runs int NOT NULL DEFAULT 0)",
        "INSERT INTO jobs (id) VALUES (1), (2)",
    ];
    let query = "SELECT id FROM jobs WHERE next_run <= now(3)";
    let mark = "UPDATE jobs SET runs = runs + 1, next_run = now(3) + INTERVAL 50000 MICROSECOND \
                WHERE id = {{id}}";
    marks::mark_that_re_schedules(Database::new().await, &setup, query, mark).await;
}

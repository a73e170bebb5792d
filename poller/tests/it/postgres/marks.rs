//! Marks that fail, block, or change nothing.

use super::database::{Database, connect};
use crate::{
    function::Function,
    poller::{Poller, TARGET, refused},
    scenario::marks,
    table::{QUERY, Table as _},
    wait::until,
};

#[tokio::test]
async fn a_mark_that_fails_is_tried_until_it_works() {
    let broken = "CREATE TABLE allowed (ok bool); INSERT INTO allowed VALUES (false); \
        CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        IF NEW.status = 'done' AND NEW.id % 3 = 0 AND NOT (SELECT bool_and(ok) FROM allowed) THEN \
        RAISE EXCEPTION 'not now'; END IF; RETURN NEW; END $$; \
        CREATE TRIGGER guard BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION guard()";
    let mended = "UPDATE allowed SET ok = true";
    marks::mark_that_fails(Database::new().await, &[broken], mended).await;
}

#[tokio::test]
async fn claiming_stops_at_what_may_be_held() {
    marks::claiming_stops_at_what_may_be_held(Database::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlocks_between_marks_lose_nothing() {
    let setup = "CREATE TABLE parents (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); \
        INSERT INTO parents SELECT n FROM generate_series(0, 4) n; \
        CREATE FUNCTION up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        UPDATE parents SET n = n + 1 WHERE id = (NEW.id * 7 + NEW.tries) % 5; RETURN NEW; END $$; \
        CREATE TRIGGER up AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION up()";
    marks::deadlocks(Database::new().await, &[setup]).await;
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

#[tokio::test]
async fn a_mark_that_changes_nothing() {
    marks::mark_that_changes_nothing(Database::new().await).await;
}

#[tokio::test]
async fn a_mark_that_re_schedules() {
    let setup = "CREATE TABLE jobs (id int PRIMARY KEY, next_run timestamptz NOT NULL DEFAULT now(), \
                 runs int NOT NULL DEFAULT 0); INSERT INTO jobs VALUES (1), (2)";
    let query = "SELECT id FROM jobs WHERE next_run <= now()";
    let mark =
        "UPDATE jobs SET runs = runs + 1, next_run = now() + interval '50 ms' WHERE id = {{id}}";
    marks::mark_that_re_schedules(Database::new().await, &[setup], query, mark).await;
}

/// `PREPARE` and `EXPLAIN` know no such statement, the protocol does.
#[tokio::test]
async fn a_procedure_marks() {
    let (database, function) = (Database::new().await, Function::start().await);
    let procedure = "CREATE PROCEDURE fin(nr bigint) LANGUAGE sql \
        AS $$ UPDATE orders SET status = 'done' WHERE id = nr $$";
    database.run(procedure).await;
    database.fill(20).await;
    let flags = database.flags_with(&function.url(), QUERY, Some("CALL fin({{id}})"));
    let poller = Poller::start(&flags);
    until("all marked", async || database.count("done").await == 20).await;
    poller.stop().await;
    assert_eq!(function.count(), 20);
    // What can be known of one at start is.
    for (mark, says) in [
        ("CALL nothing({{id}})", "nothing"),
        ("CALL fin({{nr}})", "nr"),
        ("CALL fin({{id}}", "syntax"),
    ] {
        refused(&database.flags_with(TARGET, QUERY, Some(mark)), says).await;
    }
}

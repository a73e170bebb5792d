//! What is refused at start, with a line that says why, and what is set right instead.

use super::database::{Database, account};
use crate::{
    function::Function,
    poller::{Poller, Process, TARGET, refused},
    scenario::delivery,
    table::{MARK_DONE, QUERY, Table as _},
    wait::until,
};

#[tokio::test]
async fn queries_that_would_lose_or_repeat_rows() {
    let database = Database::new().await;
    database.run("CREATE TABLE bare (id int, v text)").await;
    database.run("CREATE VIEW seen AS SELECT * FROM orders").await;
    database.run("CREATE TABLE `lines` (id int PRIMARY KEY, order_id bigint)").await;
    let check = async |query: &str, says: &str| {
        refused(&database.flags_with(TARGET, query, None), says).await;
    };
    check("SELECT * FROM orders LIMIT 10", "LIMIT").await;
    check("SELECT * FROM orders LIMIT 1, 2 # all", "LIMIT").await;
    check("SELECT * FROM orders FETCH FIRST 3 ROWS ONLY", "FETCH").await;
    check("SELECT * FROM orders FOR UPDATE", "FOR UPDATE").await;
    check("SELECT * FROM orders LOCK IN SHARE MODE", "LOCK IN SHARE MODE").await;
    check("SELECT * FROM orders INTO OUTFILE '/tmp/x'", "INTO").await;
    check("SELECT id, id FROM orders", "\"id\"").await;
    check("SELECT id, 1 AS ID FROM orders", "\"ID\"").await;
    check("SELECT * FROM bare", "primary key").await;
    check("SELECT * FROM seen", "primary key").await;
    check("SELECT * FROM (SELECT * FROM orders) o", "primary key").await;
    check("SELECT customer FROM orders", "primary key").await;
    check("SELECT o.id, l.id AS line FROM orders o JOIN `lines` l ON l.order_id = o.id", "several")
        .await;
    check("SELECT o.id, p.id AS next FROM orders o JOIN orders p ON p.id = o.id + 1", "several")
        .await;
    check("SELECT * FROM nothing", "nothing").await;
    check("SELECT * FROM orders; DROP TABLE orders", "statement").await;
    check("DELETE FROM orders RETURNING *", "SELECT").await;
    check("SELECT * FROM orders) __kp; DROP TABLE orders; --", "").await;
    check("SELECT * FROM orders WHERE id = {{id}}", "{{").await;
    check("SELECT /*!50000 * */ FROM orders", "executable comment").await;
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 0);
}

#[tokio::test]
async fn marks_that_could_not_work() {
    let database = Database::new().await;
    let check = async |mark: &str, says: &str| {
        refused(&database.flags_with(TARGET, QUERY, Some(mark)), says).await;
    };
    check("UPDATE orders SET status = 'done' WHERE id = {{nr}}", "nr").await;
    check("UPDATE orders SET note = 'of {{id}}'", "concat").await;
    check("UPDATE orders SET note = \"of {{id}}\"", "concat").await;
    check("UPDATE `{{customer}}` SET status = 'done'", "name").await;
    check("UPDATE nothing SET status = 'done' WHERE id = {{id}}", "nothing").await;
    check("UPDATE orders SET status = 'done' WHERE id = {{_error}}", "_error").await;
    check("UPDATE orders SET status = 'done' WHERE id = {{id}}; DELETE FROM orders", "statement")
        .await;
    let key = [database.flags(TARGET), vec!["--key=nr".to_owned()]].concat();
    refused(&key, "nr").await;
}

/// The server looks at grants when a statement is prepared, down to the columns.
#[tokio::test]
async fn missing_grants() {
    let (server, database) = Database::alone(&[]).await;
    let name = &database.name;
    for sql in [
        "CREATE USER reader IDENTIFIED BY 'reader'",
        &format!("GRANT SELECT ON {name}.orders TO reader"),
        "CREATE USER noter IDENTIFIED BY 'noter'",
        &format!("GRANT SELECT, UPDATE (note) ON {name}.orders TO noter"),
        "CREATE USER other IDENTIFIED BY 'other'",
        &format!("GRANT SELECT ON {name}.failed TO other"),
        "CREATE USER nobody IDENTIFIED BY 'nobody'",
    ] {
        database.run(sql).await;
    }
    let check = async |user: &str, password: &str, says: &str| {
        refused(&database.flags_at(&account(&server, name, user, password), TARGET), says).await;
    };
    check("reader", "reader", "mark-done: UPDATE command denied").await;
    check("noter", "noter", "mark-done: UPDATE command denied").await;
    check("other", "other", "query: SELECT command denied").await;
    check("nobody", "nobody", "Access denied").await;
    check("reader", "wrong", "Access denied").await;
    refused(&database.flags_at(&account(&server, "nowhere", "admin", "x"), TARGET), "denied").await;
}

#[tokio::test]
async fn a_server_that_is_read_only() {
    let (_server, database) = Database::alone(&["read-only = 1"]).await;
    refused(&database.flags(TARGET), "read only").await;
}

/// Settings of the server that would deliver rows again and again, or read statements in another way
/// than this side does, are set right for the session.
#[tokio::test]
async fn a_server_with_settings_of_its_own() {
    let lines = [
        "autocommit = 0",
        "init-connect = 'SET autocommit = 0'",
        "transaction-isolation = SERIALIZABLE",
        "character-set-server = latin1",
    ];
    let (_server, database) = Database::alone(&lines).await;
    let mode = "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,NO_ZERO_DATE,PIPES_AS_CONCAT";
    database.run(&format!("SET GLOBAL sql_mode = '{mode}'")).await;
    delivery::every_row_once(database).await;
}

/// One line on stderr and exit code 64, before anything is claimed.
#[tokio::test]
async fn the_process_says_it_in_one_line() {
    let database = Database::new().await;
    let unknown = "UPDATE orders SET status = 'done' WHERE id = {{nr}}";
    for (flags, says) in [
        (database.flags_with(TARGET, "SELECT * FROM orders LIMIT 1", Some(MARK_DONE)), "LIMIT"),
        (database.flags_with(TARGET, QUERY, Some(unknown)), "unknown column nr"),
        (database.flags_at(&database.url.replace("p%40ss", "wrong"), TARGET), "Access denied"),
        (database.flags_at("mysql://127.0.0.1/", TARGET), "database"),
    ] {
        let output = Process::output(&flags);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}");
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("error: ") && last.contains(says), "{text}");
        assert!(!text.contains("p@ss") && !text.contains("p%40ss"), "a password in {text}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let (server, database) = Database::alone(&[]).await;
    let function = Function::start().await;
    server.kill().unwrap();
    let poller = Poller::start(&database.flags(&function.url()));
    server.start_again().unwrap();
    let database = database.again(&server);
    database.run("INSERT INTO orders () VALUES ()").await;
    until("delivered", async || function.count() == 1).await;
    poller.stop().await;
}

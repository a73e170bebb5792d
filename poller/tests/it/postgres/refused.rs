//! What is refused at start, with a line that says why.

use clap::Parser as _;
use kipper_poller::{Config, check};
use kipper_servers::{
    pgbouncer::{self, PgBouncer},
    postgres::{Options, Postgres},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::database::Database;
use crate::{
    poller::{Poller, Process, TARGET, refused},
    table::{MARK_DONE, QUERY, Table as _},
    wait::until,
};

#[tokio::test]
async fn queries_that_would_lose_or_repeat_rows() {
    let database = Database::new().await;
    let tables = "CREATE TABLE bare (id int, v text); CREATE VIEW seen AS SELECT * FROM orders; \
                  CREATE TABLE lines (id int PRIMARY KEY, order_id int8)";
    database.client.batch_execute(tables).await.unwrap();
    let check = async |query: &str, says: &str| {
        refused(&database.flags_with(TARGET, query, None), says).await;
    };
    check("SELECT * FROM orders LIMIT 10", "LIMIT").await;
    check("SELECT * FROM orders OFFSET 1 -- LIMIT", "OFFSET").await;
    check("SELECT * FROM orders FETCH FIRST 3 ROWS ONLY", "FETCH").await;
    check("SELECT * FROM orders FOR UPDATE", "FOR UPDATE").await;
    check("SELECT id, id FROM orders", "\"id\"").await;
    check("SELECT * FROM bare", "primary key").await;
    check("SELECT * FROM seen", "primary key").await;
    check("SELECT customer FROM orders", "primary key").await;
    check("SELECT o.id, l.id AS line FROM orders o JOIN lines l ON l.order_id = o.id", "several")
        .await;
    check("SELECT * FROM nothing", "nothing").await;
    check("SELECT * FROM orders; DROP TABLE orders", "statement").await;
    check("DELETE FROM orders RETURNING *", "SELECT").await;
    check("SELECT * FROM orders) __kp; DROP TABLE orders; --", "").await;
    check("SELECT * FROM orders WHERE id = {{id}}", "{{").await;
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 0);
}

#[tokio::test]
async fn marks_that_could_not_work() {
    let database = Database::new().await;
    let check = async |mark: &str, says: &str| {
        refused(&database.flags_with(TARGET, QUERY, Some(mark)), says).await;
    };
    check("UPDATE orders SET status = 'done' WHERE id = {{nr}}", "nr").await;
    check("UPDATE orders SET note = 'of {{id}}'", "longer literal").await;
    check("UPDATE {{customer}} SET status = 'done'", "").await;
    check("UPDATE nothing SET status = 'done' WHERE id = {{id}}", "nothing").await;
    check("UPDATE orders SET status = 'done' WHERE id = {{_error}}", "_error").await;
    check("UPDATE orders SET status = 'done' WHERE id = {{id}}; DELETE FROM orders", "statement")
        .await;
    let key = [database.flags(TARGET), vec!["--key=nr".to_owned()]].concat();
    refused(&key, "nr").await;
}

/// No connection goes without TLS unless its URL says so, and nothing in a URL is ignored.
#[tokio::test]
async fn urls_that_mean_something_else_elsewhere() {
    let database = Database::new().await;
    for (parameter, says) in [
        ("sslmode=prefer", "sslmode=require"),
        ("schema=shop", "options=-csearch_path%3Dshop"),
        ("pgbouncer=true", "session mode"),
    ] {
        let url = format!("{}?{parameter}", database.url);
        refused(&database.flags_at(&url, TARGET), says).await;
    }
    // Nobody public has vouched for this server.
    let url = format!("{}?sslmode=verify-full", database.url);
    let flags = ["kipper-poll".to_owned()].into_iter().chain(database.flags_at(&url, TARGET));
    let error = check(&Config::try_parse_from(flags).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// A server that has no TLS says so with one byte (PostgreSQL manual, 54.2.10).
#[tokio::test]
async fn a_server_without_tls_where_tls_is_asked_for() {
    let database = Database::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 8]).await.unwrap();
            stream.write_all(b"N").await.unwrap();
        }
    };
    let url = format!("postgres://u:p@{address}/db?sslmode=require");
    let flags = database.flags_at(&url, TARGET);
    tokio::select! {
        () = refused(&flags, "sslmode=disable") => {}
        () = server => {}
    }
}

#[tokio::test]
async fn keys_that_are_no_single_value() {
    let database = Database::new().await;
    database.run("CREATE TABLE tagged (tags int[] PRIMARY KEY, j json)").await;
    let query = "SELECT * FROM tagged";
    refused(&database.flags_with(TARGET, query, None), "\"tags\" is an array").await;
    let by_json = [database.flags_with(TARGET, query, None), vec!["--key=j".to_owned()]].concat();
    refused(&by_json, "jsonb").await;
}

/// `PREPARE` does not look at grants; the check at start does.
#[tokio::test]
async fn missing_grants() {
    let database = Database::new().await;
    let name: String =
        database.client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let sql = format!(
        "CREATE ROLE {name}_reader LOGIN PASSWORD 'reader'; GRANT SELECT ON orders TO {name}_reader; \
         CREATE ROLE {name}_nobody LOGIN PASSWORD 'nobody'"
    );
    database.client.batch_execute(&sql).await.unwrap();
    let as_user = |user: &str, password: &str| {
        let (_, server) = database.url.rsplit_once('@').unwrap();
        database.flags_at(&format!("postgres://{name}_{user}:{password}@{server}"), TARGET)
    };
    refused(&as_user("reader", "reader"), "permission denied").await;
    refused(&as_user("nobody", "nobody"), "permission denied").await;
    refused(&as_user("nobody", "wrong"), "password").await;
}

#[tokio::test]
async fn a_standby() {
    let primary = Postgres::start(Options::default()).unwrap();
    let database = Database::on(&primary).await;
    let standby = primary.standby().unwrap();
    let name: String =
        database.client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let flags = database.flags_at(&standby.url(&name), TARGET);
    until("the database is there", async || {
        tokio_postgres::connect(&standby.url(&name), tokio_postgres::NoTls).await.is_ok()
    })
    .await;
    refused(&flags, "standby").await;
}

/// Session locks mean nothing where every transaction may have another server session.
#[tokio::test]
async fn a_pooler_in_transaction_mode() {
    let server = Postgres::start(Options::default()).unwrap();
    let database = Database::on(&server).await;
    let pooler = PgBouncer::start(&server, &pgbouncer::Options::default()).unwrap();
    let name: String =
        database.client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let flags = database.flags_at(&pooler.url(&name), TARGET);
    refused(&flags, "transaction mode").await;
}

/// One line on stderr and exit code 64, before anything is claimed.
#[tokio::test]
async fn the_process_says_it_in_one_line() {
    let database = Database::new().await;
    let flags = database.flags_with(TARGET, "SELECT * FROM orders LIMIT 1", Some(MARK_DONE));
    let output = Process::output(&flags);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("error: ") && last.contains("LIMIT"), "{text}");
    assert!(!text.contains("quoted"), "a password in {text}");
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let server = Postgres::start(Options::default()).unwrap();
    let database = Database::on(&server).await;
    let function = crate::function::Function::start().await;
    server.stop_immediate().unwrap();
    let poller = Poller::start(&database.flags(&function.url()));
    server.start_again().unwrap();
    let client = super::database::connect(&database.url).await;
    client.batch_execute("INSERT INTO orders DEFAULT VALUES").await.unwrap();
    until("delivered", async || function.count() == 1).await;
    poller.stop().await;
}

//! What the function is sent, and that every row is marked.

use super::database::Database;
use crate::{
    function::Function,
    poller::Poller,
    scenario::{delivery, reports},
    table::{QUERY, Table as _},
    wait::until,
};

#[tokio::test]
async fn every_row_is_delivered_once_and_marked() {
    delivery::every_row_once(Database::new().await).await;
}

#[tokio::test]
async fn the_delivery_is_a_cloud_event() {
    let (database, function) = (Database::new().await, Function::start().await);
    database.client.batch_execute("INSERT INTO orders (id, note) VALUES (42, 'n')").await.unwrap();
    let poller = Poller::start(&database.flags(&function.url()));
    until("marked", async || database.count("done").await == 1).await;
    poller.stop().await;
    let delivery = &function.deliveries()[0];
    let header = |name: &str| delivery.headers[name].to_str().unwrap();
    assert_eq!(delivery.id, "ns/fn/42");
    assert_eq!(delivery.attempt, 1);
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("ce-specversion"), "1.0");
    assert_eq!(header("ce-source"), "/kipper/ns/fn/postgres");
    assert_eq!(header("ce-type"), "run.kipper.postgres");
    assert!(humantime::parse_rfc3339(header("ce-time")).is_ok());
    let expected = r#"{"id":42,"customer":"acme","status":"pending","note":"n","tries":0}"#;
    assert_eq!(delivery.body, expected);
}

/// `row_to_json` on the server: numbers keep every digit, JSON stays as it was written.
#[tokio::test]
async fn any_type_comes_as_json_and_goes_back_as_a_parameter() {
    let (database, function) = (Database::new().await, Function::start().await);
    let setup = r#"
        CREATE TYPE mood AS ENUM ('fine', 'so so');
        CREATE TABLE everything (
            u uuid PRIMARY KEY, n numeric, big int8, f float8, t timestamptz, d date, i interval,
            b bytea, e mood, a int[], ts text[], j json, jb jsonb, bo bool, nothing text,
            seen bool NOT NULL DEFAULT false);
        INSERT INTO everything VALUES ('6b1f5e0c-9d5c-4b0e-8f52-000000000001',
            123456789012345678901234567890.123456789, 9007199254740993, 0.1, '2026-01-02 03:04:05.678901+02',
            '2026-01-02', '1 day 02:03:04', '\xdeadbeef', 'so so', '{1,NULL,3}', '{"a,b","q\"x",NULL}',
            '{"z": 1, "a": 2.50}', '{"k": [1, 2]}', true, NULL)"#;
    database.client.batch_execute(setup).await.unwrap();
    let query = "SELECT * FROM everything WHERE NOT seen";
    // Every column must be found again by its own value.
    let mark = "UPDATE everything SET seen = true WHERE u = {{u}} AND n = {{n}} AND big = {{big}} \
        AND f = {{f}} AND t = {{t}} AND d = {{d}} AND i = {{i}} AND b = {{b}} AND e = {{e}} \
        AND a = {{a}} AND ts = {{ts}} AND j::text = {{j}} AND jb = {{jb}} AND bo = '{{bo}}' \
        AND nothing IS NOT DISTINCT FROM {{nothing}}";
    let poller = Poller::start(&database.flags_with(&function.url(), query, Some(mark)));
    let seen = "SELECT count(*) FROM everything WHERE seen";
    until("marked", async || database.number(seen).await == 1).await;
    poller.stop().await;
    let body = String::from_utf8(function.deliveries()[0].body.to_vec()).unwrap();
    for part in [
        r#""n":123456789012345678901234567890.123456789"#,
        r#""big":9007199254740993"#,
        r#""t":"2026-01-02T01:04:05.678901+00:00""#,
        r#""b":"\\xdeadbeef""#,
        r#""a":[1,null,3]"#,
        r#""j":{"z": 1, "a": 2.50}"#,
        r#""nothing":null"#,
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
}

/// Values are bound: what looks like SQL in a row stays a value.
#[tokio::test]
async fn a_value_is_never_part_of_a_statement() {
    let (database, function) = (Database::new().await, Function::start().await);
    let evil =
        ["'; DROP TABLE orders; --", "{{id}}", "$1", "\\", "a\u{0}".trim_end_matches('\0'), "'"];
    for text in evil {
        let sql = "INSERT INTO orders (customer, note) VALUES ($1, $1)";
        database.client.execute(sql, &[&text]).await.unwrap();
    }
    let mark =
        "UPDATE orders SET status = 'done', note = {{customer}} WHERE customer = {{customer}}";
    let poller = Poller::start(&database.flags_with(&function.url(), QUERY, Some(mark)));
    let count = i64::try_from(evil.len()).unwrap();
    until("all marked", async || database.count("done").await == count).await;
    poller.stop().await;
    assert_eq!(database.number("SELECT count(*) FROM orders WHERE note = customer").await, count);
}

#[tokio::test]
async fn keys_of_several_columns_and_of_any_text() {
    let (database, function) = (Database::new().await, Function::start().await);
    let setup = r#"
        CREATE TABLE parts (a text, b int, seen bool NOT NULL DEFAULT false, PRIMARY KEY (b, a));
        INSERT INTO parts VALUES ('x', 1), ('x', 2), ('["', 1), ('a,b', 1), ('', 1), ('ä"\', 1), ('NULL', 1),
            (repeat('long', 100), 1)"#;
    database.client.batch_execute(setup).await.unwrap();
    let query = "SELECT a AS \"A b\", b FROM parts WHERE NOT seen";
    let mark = "UPDATE parts SET seen = true WHERE a = {{A b}} AND b = {{b}}";
    let poller = Poller::start(&database.flags_with(&function.url(), query, Some(mark)));
    let seen = "SELECT count(*) FROM parts WHERE seen";
    until("all marked", async || database.number(seen).await == 8).await;
    poller.stop().await;
    assert_eq!(function.by_id().len(), 8);
    assert_eq!(function.count(), 8);
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
async fn what_it_cannot_keep_up_with_is_reported() {
    reports::backlog(Database::new().await).await;
}

#[tokio::test]
async fn reports_that_nobody_takes_delay_nothing() {
    reports::refused(Database::new().await).await;
}

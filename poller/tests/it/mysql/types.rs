//! Values of every type: into JSON, back into marks, and as keys.

use clap::Parser as _;
use mysql_async::prelude::Queryable as _;

use super::database::Database;
use crate::{
    function::Function,
    poller::Poller,
    table::{QUERY, Table as _},
    wait::until,
};

/// Takes values as they are written, zero dates too.
const AS_GIVEN: &str = "SET STATEMENT time_zone = '+00:00', sql_mode = '' FOR";

/// The protocol's own values: numbers keep every digit, JSON stays as it was written.
#[tokio::test]
async fn any_type_comes_as_json_and_goes_back_as_a_parameter() {
    let (database, function) = (Database::new().await, Function::start().await);
    let columns = [
        (
            "n",
            "decimal(50,9)",
            "123456789012345678901234567890.123456789",
            r#""n":123456789012345678901234567890.123456789"#,
        ),
        ("z", "decimal(8,2) unsigned zerofill", "12.5", r#""z":12.50"#),
        ("big", "bigint", "9007199254740993", r#""big":9007199254740993"#),
        ("ubig", "bigint unsigned", "18446744073709551615", r#""ubig":18446744073709551615"#),
        ("tiny", "tinyint(1)", "1", r#""tiny":1"#),
        ("small", "smallint(5) unsigned zerofill", "7", r#""small":7"#),
        ("medium", "mediumint", "-8388608", r#""medium":-8388608"#),
        ("f", "float", "0.1", r#""f":0.1"#),
        ("d", "double", "0.1", r#""d":0.1"#),
        ("huge", "double", "1e300", r#""huge":1e300"#),
        ("day", "date", "'2026-01-02'", r#""day":"2026-01-02""#),
        ("dt", "datetime", "'2026-01-02 03:04:05'", r#""dt":"2026-01-02T03:04:05""#),
        (
            "dt6",
            "datetime(6)",
            "'2026-01-02 03:04:05.678901'",
            r#""dt6":"2026-01-02T03:04:05.678901""#,
        ),
        (
            "ts",
            "timestamp(3) NULL",
            "'2026-01-02 03:04:05.678'",
            r#""ts":"2026-01-02T03:04:05.678+00:00""#,
        ),
        ("zero", "date", "'0000-00-00'", r#""zero":"0000-00-00""#),
        ("zerot", "datetime", "'0000-00-00 00:00:00'", r#""zerot":"0000-00-00T00:00:00""#),
        ("part", "date", "'2026-00-00'", r#""part":"2026-00-00""#),
        ("t", "time(2)", "'-838:59:58.25'", r#""t":"-838:59:58.25""#),
        ("t0", "time", "'00:00:00'", r#""t0":"00:00:00""#),
        ("y", "year", "2026", r#""y":2026"#),
        ("e", "enum('fine','so so')", "'so so'", r#""e":"so so""#),
        ("s", "set('a','b','c')", "'a,c'", r#""s":"a,c""#),
        ("bits", "bit(10)", "b'1000000101'", r#""bits":517"#),
        ("wide", "bit(64)", "b'1'", r#""wide":1"#),
        ("unset", "bit(1)", "b'0'", r#""unset":false"#),
        ("flag", "bit(1)", "b'1'", r#""flag":true"#),
        ("bin", "binary(4)", "x'deadbeef'", r#""bin":"3q2+7w==""#),
        ("vb", "varbinary(9)", "x'00ff27'", r#""vb":"AP8n""#),
        ("blb", "blob", "x'c328'", r#""blb":"wyg=""#),
        ("c", "char(5)", "'ab'", r#""c":"ab""#),
        ("latin", "varchar(20) CHARACTER SET latin1", "'ä€'", r#""latin":"ä€""#),
        ("txt", "text", "'q\"\\\\ 😀\\n'", r#""txt":"q\"\\ 😀\n""#),
        ("j", "json", "'{\"z\": 1,  \"a\": 2.50}'", r#""j":{"z": 1,  "a": 2.50}"#),
        (
            "u",
            "uuid",
            "'6b1f5e0c-9d5c-4b0e-8f52-000000000001'",
            r#""u":"6b1f5e0c-9d5c-4b0e-8f52-000000000001""#,
        ),
        ("ip", "inet6", "'2001:db8::1'", r#""ip":"2001:db8::1""#),
        ("nothing", "int", "NULL", r#""nothing":null"#),
    ];
    let list = |of: fn(&(&str, &str, &str, &str)) -> String| -> Vec<String> {
        columns.iter().map(of).collect()
    };
    let definitions = list(|(name, ty, _, _)| format!("`{name}` {ty}")).join(", ");
    database
        .run(&format!(
            "CREATE TABLE everything (id int PRIMARY KEY, {definitions}, \
             differing text)"
        ))
        .await;
    let values = list(|(_, _, value, _)| (*value).to_owned()).join(", ");
    let insert = format!("INSERT INTO everything VALUES (1, {values}, NULL)");
    database.run(&format!("{AS_GIVEN} {insert}")).await;
    // Every column must be equal to its own value.
    let differing = list(|(name, ..)| format!("IF(`{name}` <=> {{{{{name}}}}}, NULL, '{name}')"));
    let differing = format!("CONCAT_WS(' ', {})", differing.join(", "));
    let mark = format!("UPDATE everything SET differing = {differing} WHERE id = {{{{id}}}}");
    let query = "SELECT * FROM everything WHERE differing IS NULL";
    let poller = Poller::start(&database.flags_with(&function.url(), query, Some(&mark)));
    let open = "SELECT count(*) FROM everything WHERE differing IS NULL";
    until("marked", async || database.number(open).await == 0).await;
    poller.stop().await;
    let body = String::from_utf8(function.deliveries()[0].body.to_vec()).unwrap();
    for (_, _, _, json) in columns {
        assert!(body.contains(json), "{json} in {body}");
    }
    let differing = database.rows("SELECT differing FROM everything").await.remove(0);
    assert_eq!(mysql_async::from_row::<String>(differing), "");
}

/// Values are bound: what looks like SQL in a row stays a value.
#[tokio::test]
async fn a_value_is_never_part_of_a_statement() {
    let (database, function) = (Database::new().await, Function::start().await);
    let long = "x".repeat(1 << 20);
    let evil = [
        "'; DROP TABLE orders; --",
        "\" OR 1 = 1 #",
        "{{id}}",
        "?",
        ":id",
        "\\",
        "\\'",
        "`",
        "/*! */",
        "a\u{0}b",
        "\u{1a}\r\n\t",
        "ä😀\u{202e}",
        "",
        " ",
        long.as_str(),
    ];
    let mut conn = database.pool.get_conn().await.unwrap();
    for text in evil {
        conn.exec_drop("INSERT INTO orders (note) VALUES (?)", (text,)).await.unwrap();
    }
    drop(conn);
    database.run("ALTER TABLE orders ADD copy longtext").await;
    let mark = "UPDATE orders SET status = 'done', copy = '{{note}}' \
                WHERE BINARY note = {{note}} AND id = {{id}}";
    let poller = Poller::start(&database.flags_with(&function.url(), QUERY, Some(mark)));
    let count = i64::try_from(evil.len()).unwrap();
    until("all marked", async || database.count("done").await == count).await;
    poller.stop().await;
    let same = "SELECT count(*) FROM orders WHERE BINARY copy = BINARY note";
    assert_eq!(database.number(same).await, count);
    let note = |row: &serde_json::Value| row["note"].as_str().unwrap().to_owned();
    let mut sent: Vec<String> =
        function.deliveries().iter().map(|delivery| note(&delivery.row)).collect();
    sent.sort();
    let mut evil = evil.map(str::to_owned);
    evil.sort();
    assert_eq!(sent, evil);
}

/// A row is found again by its key, whatever the key's type, and so is its mark.
#[tokio::test]
async fn keys_of_any_type() {
    let (database, function) = (Database::new().await, Function::start().await);
    let types = [
        ("int", ["-1", "0", "2147483647"]),
        ("bigint unsigned", ["0", "9223372036854775807", "18446744073709551615"]),
        (
            "decimal(40,5)",
            [
                "-0.00001",
                "12345678901234567890123456789012345.1",
                "12345678901234567890123456789012345.2",
            ],
        ),
        ("float", ["0.1", "-3.4e38", "16777216"]),
        ("double", ["0.1", "1e300", "-1e-300"]),
        ("bit(9)", ["b'0'", "b'1'", "b'111111111'"]),
        ("varchar(50)", ["''", r#"'it''s "x"'"#, "'ä😀'"]),
        ("varchar(50) COLLATE utf8mb4_nopad_bin", ["'a'", "'A'", "'a '"]),
        ("varchar(50) CHARACTER SET latin1", ["'ä'", "'€'", "'z'"]),
        ("char(3)", ["'a'", "'b'", "'abc'"]),
        ("varbinary(16)", ["''", "x'00'", "x'ff00c328'"]),
        ("binary(4)", ["x'00000000'", "x'deadbeef'", "'ab'"]),
        ("date", ["'0000-00-00'", "'2026-01-02'", "'9999-12-31'"]),
        (
            "datetime(6)",
            ["'0000-00-00'", "'2026-01-02 03:04:05.678901'", "'2026-01-02 03:04:05.7'"],
        ),
        (
            "timestamp(3)",
            ["'2026-01-02 03:04:05.1'", "'2026-01-02 03:04:05'", "'2026-10-25 01:30:00'"],
        ),
        ("time(2)", ["'-838:59:58.25'", "'00:00:00'", "'100:00:00.5'"]),
        ("year", ["1901", "2026", "2155"]),
        ("enum('a','b''','c')", ["'a'", "'b'''", "'c'"]),
        ("set('a','b')", ["''", "'a'", "'a,b'"]),
        (
            "uuid",
            [
                "'6b1f5e0c-9d5c-4b0e-8f52-000000000001'",
                "'6b1f5e0c-9d5c-4b0e-8f52-000000000002'",
                "'6b1f5e0c-9d5c-4b0e-8f52-000000000003'",
            ],
        ),
        ("inet6", ["'::'", "'::1'", "'2001:db8::1'"]),
    ];
    for (ty, [first, second, third]) in types {
        let table = "CREATE OR REPLACE TABLE keyed (seen bool NOT NULL DEFAULT 0, k";
        database.run(&format!("{table} {ty} PRIMARY KEY)")).await;
        let insert = format!("INSERT INTO keyed (k) VALUES ({first}), ({second}), ({third})");
        database.run(&format!("{AS_GIVEN} {insert}")).await;
        let query = "SELECT * FROM keyed WHERE NOT seen";
        let mark = "UPDATE keyed SET seen = true WHERE k = {{k}}";
        let before = function.count();
        let poller = Poller::start(&database.flags_with(&function.url(), query, Some(mark)));
        let seen = "SELECT count(*) FROM keyed WHERE seen";
        until(ty, async || database.number(seen).await == 3).await;
        poller.stop().await;
        assert_eq!(function.count() - before, 3, "{ty}");
    }
}

#[tokio::test]
async fn keys_of_several_columns_and_of_any_text() {
    let (database, function) = (Database::new().await, Function::start().await);
    database
        .run(
            "CREATE TABLE parts (a varchar(400) COLLATE utf8mb4_bin, b int, n decimal(9,2), \
             seen bool NOT NULL DEFAULT false, PRIMARY KEY (b, a, n))",
        )
        .await;
    database
        .run(
            r#"INSERT INTO parts (a, b, n) VALUES ('x', 1, 1), ('x', 2, 1), ('x', 2, 1.5),
            ('["', 1, 1), ('a,b', 1, 1), ('', 1, 1), ('ä"\\', 1, 1), ('NULL', 1, 1),
            (repeat('long', 100), 1, 1)"#,
        )
        .await;
    let query = "SELECT a AS `A b`, b, n FROM parts WHERE NOT seen";
    let mark = "UPDATE parts SET seen = true WHERE a = {{A b}} AND b = {{b}} AND n = {{n}}";
    let poller = Poller::start(&database.flags_with(&function.url(), query, Some(mark)));
    let seen = "SELECT count(*) FROM parts WHERE seen";
    until("all marked", async || database.number(seen).await == 9).await;
    poller.stop().await;
    assert_eq!((function.by_id().len(), function.count()), (9, 9));
    assert!(function.by_id().keys().any(|id| id.contains("1.50")));
}

/// The server's own time zone decides what is due, as in any client and in KEDA's count; what a
/// TIMESTAMP means is told in UTC.
#[tokio::test]
async fn the_time_zone_of_the_server_decides_what_is_due() {
    let (_server, database) = Database::alone(&["default-time-zone=+09:00"]).await;
    let function = Function::start().await;
    database
        .run(
            "CREATE TABLE due (id int PRIMARY KEY, at datetime, ts timestamp(3) NULL, zero \
             timestamp NULL, seen bool DEFAULT 0, marked datetime)",
        )
        .await;
    database
        .run(
            "INSERT INTO due (id, at, ts) VALUES (1, NOW() - INTERVAL 1 MINUTE, \
             '2026-01-02 12:04:05.678'), (2, NOW() + INTERVAL 1 HOUR, NULL)",
        )
        .await;
    let query = "SELECT id, at, ts, zero FROM due WHERE at <= NOW() AND NOT seen";
    let mark = "UPDATE due SET seen = 1, marked = NOW() WHERE id = {{id}} AND ts = {{ts}}";
    let flags = database.flags_with(&function.url(), query, Some(mark));
    let config = ["kipper-poll".to_owned()].into_iter().chain(flags.clone());
    let config = kipper_poller::Config::try_parse_from(config).unwrap();
    let mut backlog = kipper_poller::Backlog::new(&config, 10).unwrap();
    assert_eq!(backlog.count().await.unwrap(), 1);
    let poller = Poller::start(&flags);
    until("marked", async || database.number("SELECT count(*) FROM due WHERE seen").await == 1)
        .await;
    poller.stop().await;
    let body = String::from_utf8(function.deliveries()[0].body.to_vec()).unwrap();
    assert!(body.contains(r#""ts":"2026-01-02T03:04:05.678+00:00","zero":null}"#), "{body}");
    assert_eq!(function.count(), 1);
    let marked = "SELECT count(*) FROM due WHERE marked >= at AND marked < at + INTERVAL 1 HOUR";
    assert_eq!(database.number(marked).await, 1);
}

//! Settings of the role and the database decide which rows a query selects, and nothing else.

use clap::Parser as _;
use kipper_poller::{Backlog, Config};

use super::database::{Database, connect};
use crate::{
    function::Function,
    poller::{Poller, TARGET},
    table::{QUERY, Table as _},
    wait::until,
};

impl Database {
    async fn name(&self) -> String {
        self.client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0)
    }
}

/// A row that is due by the clock on the wall of the database, and one that will be in an hour.
const DUE: &str = "SELECT * FROM due WHERE at <= now()::timestamp AND NOT seen";
const MARK: &str = "UPDATE due SET seen = true, marked = now()::timestamp WHERE id = {{id}}";

async fn fill(database: &Database) {
    let sql = "CREATE TABLE due (id int PRIMARY KEY, at timestamp, seen bool DEFAULT false, \
               marked timestamp); \
               INSERT INTO due VALUES (1, now()::timestamp - interval '1 minute'), \
               (2, now()::timestamp + interval '1 hour')";
    // As the role and the database say, so in a session that begins after they do.
    connect(&database.url).await.batch_execute(sql).await.unwrap();
}

async fn only_what_is_due(database: &Database) {
    fill(database).await;
    let function = Function::start().await;
    let flags = database.flags_with(&function.url(), DUE, Some(MARK));
    let config = ["kipper-poll".to_owned()].into_iter().chain(flags.clone());
    let mut backlog = Backlog::new(&Config::try_parse_from(config).unwrap(), 10).unwrap();
    assert_eq!(backlog.count().await.unwrap(), 1, "the count is psql's");
    let poller = Poller::start(&flags);
    until("marked", async || database.number("SELECT count(*) FROM due WHERE seen").await == 1)
        .await;
    poller.stop().await;
    let ids: Vec<i64> = function.deliveries().iter().map(|delivery| delivery.row_id()).collect();
    assert_eq!(ids, [1]);
    assert_eq!(backlog.count().await.unwrap(), 0);
    // The mark's clock is the same.
    let marked = "SELECT count(*) FROM due WHERE marked >= at AND marked < at + interval '1 hour'";
    assert_eq!(database.number(marked).await, 1);
}

#[tokio::test]
async fn the_time_zone_of_the_database_decides_what_is_due() {
    for zone in ["Asia/Tokyo", "America/Los_Angeles"] {
        let database = Database::new().await;
        let name = database.name().await;
        database.run(&format!("ALTER DATABASE {name} SET timezone = '{zone}'")).await;
        only_what_is_due(&database).await;
    }
}

#[tokio::test]
async fn the_time_zone_and_formats_of_the_role_decide_what_is_due() {
    let mut database = Database::new().await;
    let name = database.name().await;
    database
        .run(&format!(
            "CREATE ROLE {name}_tokyo LOGIN SUPERUSER PASSWORD 'tokyo'; \
             ALTER DATABASE {name} SET timezone = 'America/Los_Angeles'; \
             ALTER ROLE {name}_tokyo SET timezone = 'Asia/Tokyo'; \
             ALTER ROLE {name}_tokyo SET datestyle = 'SQL, DMY'; \
             ALTER ROLE {name}_tokyo SET intervalstyle = 'sql_standard'; \
             ALTER ROLE {name}_tokyo SET bytea_output = 'escape'"
        ))
        .await;
    let (_, server) = database.url.rsplit_once('@').unwrap();
    database.url = format!("postgres://{name}_tokyo:tokyo@{server}");
    only_what_is_due(&database).await;
}

/// Whatever a session's formats are, a row has one key, one body, and marks that find it.
#[tokio::test]
async fn keys_and_json_are_in_one_form() {
    let database = Database::new().await;
    let name = database.name().await;
    let function = Function::start().await;
    database
        .run(&format!(
            "CREATE TABLE forms (t timestamptz, d date, i interval, b bytea, r tstzrange, \
             ts timestamptz[], f float8, seen bool NOT NULL DEFAULT false, PRIMARY KEY (t, d)); \
             INSERT INTO forms VALUES ('2026-01-02 03:04:05.678901+02', '2026-01-02', \
             '-1 day 02:03:04', '\\xdeadbeef', '[2026-01-02 03:04:05+02,)', \
             '{{2026-01-02 03:04:05+02}}', 0.1); \
             ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'; \
             ALTER DATABASE {name} SET datestyle = 'SQL, DMY'; \
             ALTER DATABASE {name} SET intervalstyle = 'sql_standard'; \
             ALTER DATABASE {name} SET extra_float_digits = -10; \
             ALTER DATABASE {name} SET bytea_output = 'escape'"
        ))
        .await;
    // In the session's own formats: what is text in the query is what psql would show.
    let query = "SELECT *, t::text AS shown FROM forms WHERE NOT seen AND d::text = '02/01/2026'";
    let mark = "UPDATE forms SET seen = true WHERE t = {{t}} AND d = {{d}} AND i = {{i}} \
        AND b = {{b}} AND r = {{r}} AND ts = {{ts}} AND f = {{f}}";
    let poller = Poller::start(&database.flags_with(&function.url(), query, Some(mark)));
    let seen = "SELECT count(*) FROM forms WHERE seen";
    until("marked", async || database.number(seen).await == 1).await;
    poller.stop().await;
    let delivery = &function.deliveries()[0];
    assert_eq!(function.count(), 1);
    // A key of two columns has a space in it, which an id has not.
    let key = r#"["2026-01-02 01:04:05.678901+00", "2026-01-02"]"#;
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(delivery.id, format!("ns/fn/sha256:{digest}"));
    let body = String::from_utf8(delivery.body.to_vec()).unwrap();
    for part in [
        r#""t":"2026-01-02T01:04:05.678901+00:00""#,
        r#""d":"2026-01-02""#,
        r#""i":"-1 days +02:03:04""#,
        r#""b":"\\xdeadbeef""#,
        r#""r":"[\"2026-01-02 01:04:05+00\",)""#,
        r#""ts":["2026-01-02T01:04:05+00:00"]"#,
        r#""f":0.1"#,
        r#""shown":"02/01/2026 10:04:05.678901 JST""#,
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
}

/// A trigger that runs at the commit runs as the user's statements do.
#[tokio::test]
async fn what_runs_at_the_commit_has_the_settings_of_the_database() {
    let database = Database::new().await;
    let name = database.name().await;
    let function = Function::start().await;
    database
        .run(&format!(
            "ALTER TABLE orders ADD at timestamptz DEFAULT now(); CREATE TABLE zones (zone text); \
             CREATE FUNCTION note_zone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO zones VALUES (current_setting('timezone')); RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER zones AFTER UPDATE ON orders DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION note_zone(); \
             ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'"
        ))
        .await;
    database.fill(3).await;
    let poller = Poller::start(&database.flags(&function.url()));
    until("marked", async || database.count("done").await == 3).await;
    poller.stop().await;
    let zones = "SELECT count(*) FROM zones WHERE zone = 'Asia/Tokyo'";
    assert_eq!(database.number(zones).await, 3);
}

/// The search path too.
#[tokio::test]
async fn tables_are_found_as_psql_finds_them() {
    let database = Database::new().await;
    let name = database.name().await;
    database
        .run(&format!(
            "CREATE SCHEMA shop; ALTER TABLE orders SET SCHEMA shop; \
             ALTER DATABASE {name} SET search_path = shop; \
             INSERT INTO shop.orders DEFAULT VALUES"
        ))
        .await;
    let config = |url: &str| {
        let flags = database.flags_at(url, TARGET);
        let flags = ["kipper-poll".to_owned()].into_iter().chain(flags);
        Config::try_parse_from(flags).unwrap()
    };
    assert!(QUERY.contains("FROM orders"));
    let mut backlog = Backlog::new(&config(&database.url), 10).unwrap();
    assert_eq!(backlog.count().await.unwrap(), 1);
    // What a URL of another client asks for is said as this one understands it.
    let url = format!("{}?options=-csearch_path%3Dpublic", database.url);
    let mut backlog = Backlog::new(&config(&url), 10).unwrap();
    assert!(backlog.count().await.unwrap_err().to_string().contains("orders"));
}

//! One server for all tests, a database for each.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use kipper_servers::postgres::{Options, Postgres};
use tokio_postgres::{Client, NoTls};

use crate::table::Table;

static SERVER: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(Options::default()).unwrap());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A database with an empty table `orders (id, customer, status, note)`.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) client: Client,
}

impl Database {
    pub(crate) async fn new() -> Self {
        Self::on(&SERVER).await
    }

    pub(crate) async fn on(server: &Postgres) -> Self {
        let name = format!("it{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&server.url("postgres")).await;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let url = server.url(&name);
        let client = connect(&url).await;
        client
            .batch_execute(
                "CREATE TABLE orders (id bigserial PRIMARY KEY, customer text NOT NULL DEFAULT 'acme', \
                 status text NOT NULL DEFAULT 'pending', note text, tries int NOT NULL DEFAULT 0); \
                 CREATE INDEX ON orders (id) WHERE status = 'pending'; \
                 CREATE TABLE failed (id bigint, error text, attempts int)",
            )
            .await
            .unwrap();
        Self { url, client }
    }
}

impl Table for Database {
    const TRIGGER: &'static str = "postgres";
    const ON_FAILED: &'static str = "WITH f AS (INSERT INTO failed VALUES ({{id}}, {{_error}}, \
        {{_attempts}})) UPDATE orders SET status = 'failed' WHERE id = {{id}}";

    fn url(&self) -> &str {
        &self.url
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    async fn number(&self, sql: &str) -> i64 {
        let sql = format!("SELECT ({sql})::int8");
        self.client.query_one(&sql, &[]).await.unwrap().get(0)
    }

    async fn fill(&self, rows: i64) {
        let sql =
            "INSERT INTO orders (customer) SELECT 'c' || n FROM generate_series(1, $1::int8) n";
        self.client.execute(sql, &[&rows]).await.unwrap();
        self.client.batch_execute("ANALYZE orders").await.unwrap();
    }

    async fn locks(&self) -> i64 {
        self.number(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
             WHERE l.locktype = 'advisory' AND d.datname = current_database()",
        )
        .await
    }

    async fn sessions(&self) -> i64 {
        self.number(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kipper-poll' \
             AND datname = current_database()",
        )
        .await
    }
}

/// A connection of the test's own.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

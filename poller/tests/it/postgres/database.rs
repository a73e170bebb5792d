//! One server for all tests, a database for each.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use kipper_servers::postgres::{Options, Postgres};
use tokio_postgres::{Client, NoTls};

use crate::poller::flags;

static SERVER: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(Options::default()).unwrap());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// What most tests poll.
pub(crate) const QUERY: &str = "SELECT * FROM orders WHERE status = 'pending' ORDER BY id";
pub(crate) const MARK_DONE: &str = "UPDATE orders SET status = 'done' WHERE id = {{id}}";

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

    /// Adds pending rows.
    pub(crate) async fn fill(&self, rows: i64) {
        let sql =
            "INSERT INTO orders (customer) SELECT 'c' || n FROM generate_series(1, $1::int8) n";
        self.client.execute(sql, &[&rows]).await.unwrap();
        self.client.batch_execute("ANALYZE orders").await.unwrap();
    }

    /// First value of the first row.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn count(&self, status: &str) -> i64 {
        let sql = "SELECT count(*) FROM orders WHERE status = $1";
        self.client.query_one(sql, &[&status]).await.unwrap().get(0)
    }

    /// Advisory locks held in this database.
    pub(crate) async fn locks(&self) -> i64 {
        self.number(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
             WHERE l.locktype = 'advisory' AND d.datname = current_database()",
        )
        .await
    }

    /// Flags of a poller with the usual query and mark.
    pub(crate) fn flags(&self, target: &str) -> Vec<String> {
        self.flags_with(target, QUERY, Some(MARK_DONE))
    }

    /// The same by another way to the server.
    pub(crate) fn flags_at(&self, url: &str, target: &str) -> Vec<String> {
        let mut flags = self.flags(target);
        flags.retain(|flag| !flag.starts_with("--source-url="));
        flags.push(format!("--source-url={url}"));
        flags
    }

    pub(crate) fn flags_with(&self, target: &str, query: &str, mark: Option<&str>) -> Vec<String> {
        let mut flags = flags(target);
        flags.push("--trigger=postgres".to_owned());
        flags.push(format!("--source-url={}", self.url));
        flags.push(format!("--query={query}"));
        flags.extend(mark.map(|mark| format!("--mark-done={mark}")));
        flags
    }
}

/// A connection of the test's own.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

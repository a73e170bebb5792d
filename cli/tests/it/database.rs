//! One PostgreSQL for all tests, a database for each.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use kipper_servers::postgres::{Options, Postgres};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::support::require;

static SERVER: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(Options::default()).unwrap());
static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) const QUERY: &str = "SELECT * FROM orders WHERE status = 'pending' ORDER BY id";
pub(crate) const MARK_DONE: &str = "UPDATE orders SET status = 'done' WHERE id = {{id}}";
pub(crate) const ON_FAILED: &str = "UPDATE orders SET status = 'failed' WHERE id = {{id}}";

/// A database with an empty table `orders`.
pub(crate) struct Database {
    pub(crate) url: String,
    runtime: Runtime,
    client: Client,
}

impl Database {
    pub(crate) fn new() -> Self {
        Self::on(&SERVER)
    }

    pub(crate) fn on(server: &Postgres) -> Self {
        require(&["kipper-poll"]);
        let name = format!("kip{}", NEXT.fetch_add(1, Relaxed));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let admin = connect(&runtime, &server.url("postgres"));
        runtime.block_on(admin.batch_execute(&format!("CREATE DATABASE {name}"))).unwrap();
        let url = server.url(&name);
        let client = connect(&runtime, &url);
        let table = "CREATE TABLE orders (id bigserial PRIMARY KEY, customer text, amount numeric, \
                     status text NOT NULL DEFAULT 'pending')";
        runtime.block_on(client.batch_execute(table)).unwrap();
        Self { url, runtime, client }
    }

    /// Connects anew, after its server was started again.
    pub(crate) fn reconnect(&mut self) {
        self.client = connect(&self.runtime, &self.url);
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }

    /// Adds pending rows.
    pub(crate) fn fill(&self, rows: u32) {
        self.execute(&format!(
            "INSERT INTO orders (customer, amount) SELECT 'c' || n, n FROM generate_series(1, {rows}) n"
        ));
    }

    fn number(&self, sql: &str) -> i64 {
        self.runtime.block_on(self.client.query_one(sql, &[])).unwrap().get(0)
    }

    /// Rows with this status.
    pub(crate) fn count(&self, status: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM orders WHERE status = '{status}'"))
    }

    /// Events that are claimed.
    pub(crate) fn locks(&self) -> i64 {
        self.number(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
             WHERE l.locktype = 'advisory' AND d.datname = current_database()",
        )
    }
}

fn connect(runtime: &Runtime, url: &str) -> Client {
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    })
}

//! One server for all tests, a database for each.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use kipper_servers::mariadb::{MariaDb, Options};
use mysql_async::{Opts, OptsBuilder, Pool, Row, prelude::Queryable as _};

use crate::table::Table;

static SERVER: LazyLock<MariaDb> = LazyLock::new(|| MariaDb::start(&options(&[])).unwrap());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The poller's account: what it needs in its database, and nothing else.
pub(crate) const POLLER: &str = "poller";
const POLLER_PASSWORD: &str = "p@ss/word";

/// Locks can be seen, and there is room for tests at the same time.
fn options(lines: &[&str]) -> Options {
    let lines = ["plugin-load-add=metadata_lock_info", "max-connections=500"].iter().chain(lines);
    Options { config: lines.map(|line| (*line).to_owned()).collect(), ..Options::default() }
}

/// A database with an empty table `orders (id, customer, status, note, tries)`.
pub(crate) struct Database {
    pub(crate) name: String,
    /// The poller's.
    pub(crate) url: String,
    /// For the administrator.
    pub(crate) pool: Pool,
}

impl Database {
    pub(crate) async fn new() -> Self {
        Self::on(&SERVER).await
    }

    /// On a server of its own, with these lines in its configuration.
    pub(crate) async fn alone(lines: &[&str]) -> (MariaDb, Self) {
        let server = MariaDb::start(&options(lines)).unwrap();
        let database = Self::on(&server).await;
        (server, database)
    }

    /// The same after the server was away.
    pub(crate) fn again(self, server: &MariaDb) -> Self {
        Self { pool: pool(&server.url(&self.name)), ..self }
    }

    async fn on(server: &MariaDb) -> Self {
        let name = format!("it{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let admin = pool(&server.url("mysql"));
        for sql in [
            format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"),
            format!("CREATE USER IF NOT EXISTS '{POLLER}'@'%' IDENTIFIED BY '{POLLER_PASSWORD}'"),
            format!("GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON {name}.* TO '{POLLER}'@'%'"),
        ] {
            admin.get_conn().await.unwrap().query_drop(sql).await.unwrap();
        }
        admin.disconnect().await.unwrap();
        let url = account(server, &name, POLLER, "p%40ss%2Fword");
        let database = Self { pool: pool(&server.url(&name)), name, url };
        for sql in [
            "CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, \
             customer varchar(200) NOT NULL DEFAULT 'acme', \
             status varchar(20) NOT NULL DEFAULT 'pending', note longtext, \
             tries int NOT NULL DEFAULT 0, KEY (status))",
            "CREATE TABLE failed (id bigint, error text, attempts int)",
            "CREATE PROCEDURE dead_letter(i bigint, e text, a int) BEGIN \
             INSERT INTO failed VALUES (i, e, a); \
             UPDATE orders SET status = 'failed' WHERE id = i; END",
        ] {
            database.run(sql).await;
        }
        database
    }

    pub(crate) async fn rows(&self, sql: &str) -> Vec<Row> {
        self.pool.get_conn().await.unwrap().query(sql).await.unwrap()
    }
}

/// The URL of an account of a server; the password is fit for a URL.
pub(crate) fn account(server: &MariaDb, database: &str, user: &str, password: &str) -> String {
    format!("mysql://{user}:{password}@127.0.0.1:{}/{database}", server.port())
}

fn pool(url: &str) -> Pool {
    let opts = OptsBuilder::from_opts(Opts::from_url(url).unwrap()).prefer_socket(false);
    Pool::new(opts.setup(vec!["SET autocommit = 1"]))
}

impl Table for Database {
    const TRIGGER: &'static str = "mysql";
    const ON_FAILED: &'static str = "CALL dead_letter({{id}}, {{_error}}, {{_attempts}})";

    fn url(&self) -> &str {
        &self.url
    }

    async fn run(&self, sql: &str) {
        self.pool.get_conn().await.unwrap().query_drop(sql).await.unwrap();
    }

    async fn number(&self, sql: &str) -> i64 {
        let mut conn = self.pool.get_conn().await.unwrap();
        conn.query_first::<i64, _>(sql).await.unwrap().unwrap()
    }

    async fn fill(&self, rows: i64) {
        let sql = "INSERT INTO orders (customer) SELECT CONCAT('c', seq) FROM seq_1_to_";
        self.run(&format!("{sql}{rows}")).await;
        self.rows("ANALYZE TABLE orders").await;
    }

    async fn locks(&self) -> i64 {
        self.number(
            "SELECT count(*) FROM information_schema.metadata_lock_info l \
             JOIN information_schema.processlist p ON p.id = l.thread_id \
             WHERE l.lock_type = 'User lock' AND p.db = DATABASE()",
        )
        .await
    }

    async fn sessions(&self) -> i64 {
        let sql = "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE()";
        self.number(&format!("{sql} AND user = '{POLLER}'")).await
    }
}

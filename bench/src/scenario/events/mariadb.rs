//! Rows of MariaDB.

use kipper_measure::figures::{Figure, Goal};
use kipper_servers::mariadb::{MariaDb, Options};
use mysql_async::{Conn, Opts, prelude::Queryable as _};
use tokio::runtime::Runtime;

use super::{
    bed::{Bed, figure},
    drain::Poller,
};

const DATABASE: &str = "bench";
const QUERY: &str = "SELECT * FROM orders WHERE status = 'pending' ORDER BY id";
const MARK_DONE: &str = "UPDATE orders SET status = 'done' WHERE id = {{id}}";

/// Rate of a poller that may hold 1,000 rows, on a server whose commits reach the disk.
pub(super) fn batches(bed: &Bed, runtime: &Runtime) -> Result<Vec<Figure>, anyhow::Error> {
    let mut rates = Vec::new();
    runtime.block_on(async {
        let config = vec!["innodb-flush-log-at-trx-commit = 1".to_owned()];
        let server = MariaDb::start(&Options { config, ..Default::default() })?;
        let mut admin = connect(&server.url("mysql")).await?;
        admin.query_drop(format!("CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")).await?;
        let url = server.url(DATABASE);
        let mut client = connect(&url).await?;
        let table = "CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, \
                     customer varchar(200) NOT NULL, status varchar(20) NOT NULL DEFAULT 'pending', \
                     note text NOT NULL, KEY (status, id))";
        client.query_drop(table).await?;
        for _ in 0..bed.size.rounds {
            fill(&mut client, bed.size.events).await?;
            let drained = drain(bed, &url)?;
            println!("{:.0}/s", drained);
            let left = "SELECT count(*) FROM orders WHERE status <> 'done'";
            let left: Option<u64> = client.query_first(left).await?;
            anyhow::ensure!(left == Some(0), "{left:?} rows are not marked");
            rates.push(drained);
        }
        anyhow::Ok(())
    })?;
    let rate = figure("events_mariadb", &rates, "rows/s", Goal::AtLeast(8_000.0));
    Ok(rate.into_iter().collect())
}

async fn connect(url: &str) -> Result<Conn, anyhow::Error> {
    Ok(Conn::new(Opts::from_url(url)?).await?)
}

/// Nothing but so many pending rows of 1 KB.
async fn fill(client: &mut Conn, rows: usize) -> Result<(), anyhow::Error> {
    client.query_drop("TRUNCATE orders").await?;
    client
        .query_drop(format!(
            "INSERT INTO orders (customer, note) \
             SELECT CONCAT('customer ', seq), REPEAT(MD5(seq), 32) FROM seq_1_to_{rows}"
        ))
        .await?;
    Ok(client.query_drop("ANALYZE TABLE orders").await?)
}

fn drain(bed: &Bed, url: &str) -> Result<f64, anyhow::Error> {
    let flags = [
        ("--trigger", "mysql"),
        ("--source-url", url),
        ("--query", QUERY),
        ("--mark-done", MARK_DONE),
        ("--max-held", "1000"),
    ];
    let flags: Vec<String> =
        flags.iter().flat_map(|(flag, value)| [*flag, *value]).map(str::to_owned).collect();
    let handler = format!("http://{}/event", bed.handler.addr);
    Ok(Poller::start(bed, &handler, &flags)?.drain(bed, bed.size.events)?.rate)
}

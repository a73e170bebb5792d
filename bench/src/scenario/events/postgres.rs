//! Rows of PostgreSQL.

use kipper_measure::figures::{Figure, Goal, Ratio, median};
use kipper_servers::postgres::{Options, Postgres};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use super::{
    bed::{Bed, figure},
    consumer,
    drain::{Drained, Poller},
};

const QUERY: &str = "SELECT * FROM orders WHERE status = 'pending' ORDER BY id";
const MARK_DONE: &str = "UPDATE orders SET status = 'done' WHERE id = {{id}}";
/// What is claimed ahead where the rate matters more than other pods.
const MANY_HELD: usize = 1_000;
/// Rows of 1 MB, and the bytes that may be held of them.
const LARGE_ROWS: usize = 1_000;
const LARGE_BYTES: usize = 1 << 20;
const HELD_BYTES: usize = 16 << 20;
const MEMORY_GOAL_MIB: f64 = 48.0;

/// A server whose commits reach the disk, with one table.
pub(super) struct Table {
    pub(super) url: String,
    pub(super) client: Client,
    _server: Postgres,
}

impl Table {
    pub(super) async fn start() -> Result<Self, anyhow::Error> {
        let config = vec!["fsync = on".to_owned()];
        let server = Postgres::start(Options { config, ..Default::default() })?;
        let url = server.url("postgres");
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        tokio::spawn(connection);
        let table = "CREATE TABLE orders (id bigserial PRIMARY KEY, customer text NOT NULL, \
                     status text NOT NULL DEFAULT 'pending', note text NOT NULL); \
                     CREATE INDEX ON orders (id) WHERE status = 'pending'";
        client.batch_execute(table).await?;
        Ok(Self { url, client, _server: server })
    }

    /// Nothing but so many pending rows of this size, as after a quiet night.
    pub(super) async fn fill(&self, rows: usize, bytes: usize) -> Result<(), anyhow::Error> {
        let rows = i64::try_from(rows)?;
        let note = i64::try_from(bytes)?;
        self.client.batch_execute("TRUNCATE orders RESTART IDENTITY").await?;
        // Text that the server does not make smaller than it is.
        let sql = "INSERT INTO orders (customer, note) SELECT 'customer ' || n, \
                   (SELECT string_agg(md5(n::text || '/' || m), '') FROM generate_series(1, $2::int8 / 32) m) \
                   FROM generate_series(1, $1::int8) n";
        self.client.execute(sql, &[&rows, &note]).await?;
        self.client.batch_execute("VACUUM ANALYZE orders").await?;
        Ok(self.client.batch_execute("CHECKPOINT").await?)
    }

    pub(super) fn flags(&self, more: &[String]) -> Vec<String> {
        let pairs = [
            ("--trigger", "postgres"),
            ("--source-url", self.url.as_str()),
            ("--query", QUERY),
            ("--mark-done", MARK_DONE),
        ];
        let own = pairs.iter().flat_map(|(flag, value)| [*flag, *value]).map(str::to_owned);
        own.chain(more.iter().cloned()).collect()
    }

    /// Fills the table and has a poller empty it.
    async fn drain(&self, bed: &Bed, more: &[String]) -> Result<Drained, anyhow::Error> {
        self.fill(bed.size.events, 1_024).await?;
        let drained = self.poll(bed, bed.size.events, more)?;
        let left = "SELECT count(*) FROM orders WHERE status <> 'done'";
        let left: i64 = self.client.query_one(left, &[]).await?.get(0);
        anyhow::ensure!(left == 0, "{left} rows are not marked");
        Ok(drained)
    }

    fn poll(&self, bed: &Bed, rows: usize, more: &[String]) -> Result<Drained, anyhow::Error> {
        let handler = format!("http://{}/event", bed.handler.addr);
        Poller::start(bed, &handler, &self.flags(more))?.drain(bed, rows)
    }
}

fn held(events: usize) -> Vec<String> {
    vec!["--max-held".to_owned(), events.to_string()]
}

/// Marks committed together: rate, ratio, memory, and what the usual bound of held events costs.
pub(super) fn batches(bed: &Bed, runtime: &Runtime) -> Result<Vec<Figure>, anyhow::Error> {
    let (mut many, mut usual, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    runtime.block_on(async {
        let table = Table::start().await?;
        for _ in 0..bed.size.rounds {
            many.push(table.drain(bed, &held(MANY_HELD)).await?);
            usual.push(table.drain(bed, &[]).await?);
            table.fill(bed.size.events, 1_024).await?;
            plain.push(consumer::consume(bed, &table.client).await?);
            print(&many, &usual, &plain);
        }
        anyhow::Ok(())
    })?;
    let rates = |samples: &[Drained]| samples.iter().map(|sample| sample.rate).collect::<Vec<_>>();
    let peaks: Vec<f64> = many.iter().chain(&usual).map(|sample| sample.peak_mib).collect();
    let peak = peaks.into_iter().fold(0.0, f64::max);
    let ratio = |ours: &[Drained], theirs: &[f64]| {
        Ratio::by_round(rates(ours).into_iter().map(Some), theirs.iter().copied().map(Some))
    };
    let mut figures = Vec::new();
    figures.extend(figure("events_postgres", &rates(&many), "rows/s", Goal::AtLeast(15_000.0)));
    figures.extend(
        ratio(&many, &plain)
            .map(|ratio| Figure::ratio("events_postgres_vs_plain", ratio, Goal::AtLeast(10.0))),
    );
    figures.extend(
        ratio(&usual, &rates(&many)).map(|ratio| {
            Figure::ratio("events_postgres_held_256_vs_1000", ratio, Goal::AtLeast(0.5))
        }),
    );
    figures.extend(figure("events_postgres_peak", &[peak], "MiB", Goal::AtMost(MEMORY_GOAL_MIB)));
    Ok(figures)
}

fn print(many: &[Drained], usual: &[Drained], plain: &[f64]) {
    if let (Some(many), Some(usual), Some(plain)) = (many.last(), usual.last(), plain.last()) {
        println!(
            "{MANY_HELD} held: {:.0}/s, {:.1} us CPU, {:.1} MiB; 256 held: {:.0}/s, {:.1} us CPU, \
             {:.1} MiB; plain consumer: {plain:.0}/s",
            many.rate, many.cpu_micros, many.peak_mib, usual.rate, usual.cpu_micros, usual.peak_mib,
        );
    }
}

/// Every mark its own commit.
pub(super) fn each(bed: &Bed, runtime: &Runtime) -> Result<Vec<Figure>, anyhow::Error> {
    let more = ["--mark-commit", "each", "--max-held", "1000"].map(str::to_owned);
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let table = Table::start().await?;
        for _ in 0..bed.size.rounds {
            let drained = table.drain(bed, &more).await?;
            table.fill(bed.size.events, 1_024).await?;
            let consumed = consumer::consume(bed, &table.client).await?;
            println!("each: {:.0}/s; plain consumer: {consumed:.0}/s", drained.rate);
            ours.push(drained.rate);
            plain.push(consumed);
        }
        anyhow::Ok(())
    })?;
    println!("median: {:.0}/s", median(ours.iter().copied()).unwrap_or_default());
    let ratio = Ratio::by_round(ours.iter().copied().map(Some), plain.iter().copied().map(Some));
    let figure = |ratio| Figure::ratio("events_postgres_each_vs_plain", ratio, Goal::AtLeast(4.0));
    Ok(ratio.map(figure).into_iter().collect())
}

/// Rows of 1 MB: memory is bounded by bytes.
pub(super) fn large(bed: &Bed, runtime: &Runtime) -> Result<Vec<Figure>, anyhow::Error> {
    let more = ["--max-held-bytes".to_owned(), HELD_BYTES.to_string()];
    let drained = runtime.block_on(async {
        let table = Table::start().await?;
        table.fill(LARGE_ROWS, LARGE_BYTES).await?;
        table.poll(bed, LARGE_ROWS, &more)
    })?;
    println!("{:.0}/s, {:.1} MiB", drained.rate, drained.peak_mib);
    let bound = MEMORY_GOAL_MIB + HELD_BYTES as f64 / f64::from(1 << 20);
    let peak = figure("events_postgres_1mb_peak", &[drained.peak_mib], "MiB", Goal::AtMost(bound));
    Ok(peak.into_iter().collect())
}

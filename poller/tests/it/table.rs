//! What scenarios need of a database: table `orders (id, customer, status, note, tries)` and table
//! `failed (id, error, attempts)`, both empty at first.

use crate::poller::flags;

/// What most tests poll.
pub(crate) const QUERY: &str = "SELECT * FROM orders WHERE status = 'pending' ORDER BY id";
pub(crate) const MARK_DONE: &str = "UPDATE orders SET status = 'done' WHERE id = {{id}}";

/// A database of one test.
pub(crate) trait Table: Send + Sync + 'static {
    /// The poller's.
    const TRIGGER: &'static str;
    /// Writes to `failed` and sets the row's status to `failed`.
    const ON_FAILED: &'static str;

    /// For the poller.
    fn url(&self) -> &str;

    /// Runs a statement.
    fn run(&self, sql: &str) -> impl Future<Output = ()> + Send;

    /// The one value of a query.
    fn number(&self, sql: &str) -> impl Future<Output = i64> + Send;

    /// Adds pending rows; the first ones are numbered from 1.
    fn fill(&self, rows: i64) -> impl Future<Output = ()> + Send;

    /// Locks of pollers in this database.
    fn locks(&self) -> impl Future<Output = i64> + Send;

    /// Connections of pollers to this database.
    fn sessions(&self) -> impl Future<Output = i64> + Send;

    /// How many orders have this status.
    fn count(&self, status: &str) -> impl Future<Output = i64> + Send {
        let sql = format!("SELECT count(*) FROM orders WHERE status = '{status}'");
        async move { self.number(&sql).await }
    }

    /// Flags of a poller with the usual query and mark.
    fn flags(&self, target: &str) -> Vec<String> {
        self.flags_with(target, QUERY, Some(MARK_DONE))
    }

    /// The same by another way to the server.
    fn flags_at(&self, url: &str, target: &str) -> Vec<String> {
        let mut flags = self.flags(target);
        flags.retain(|flag| !flag.starts_with("--source-url="));
        flags.push(format!("--source-url={url}"));
        flags
    }

    fn flags_with(&self, target: &str, query: &str, mark: Option<&str>) -> Vec<String> {
        let mut flags = flags(target);
        flags.push(format!("--trigger={}", Self::TRIGGER));
        flags.push(format!("--source-url={}", self.url()));
        flags.push(format!("--query={query}"));
        flags.extend(mark.map(|mark| format!("--mark-done={mark}")));
        flags
    }
}

//! How many rows wait, as KEDA's own scaler counts them: a bounded COUNT over the user's query.
//!
//! For a caller that plays KEDA. Claims nothing and holds no lock; rows that are being handled
//! count as long as they match.

use kipper_statement::{Dialect, Query};
use tokio_postgres::Client;

use super::{
    config::PostgresConfig,
    connection::{Connector, Role, explain, invalid},
    plan::about,
};
use crate::source::SourceError;

/// Counts waiting rows, over one connection that is kept.
pub struct Backlog {
    connector: Connector,
    sql: String,
    client: Option<Client>,
}

impl Backlog {
    /// Counts up to `bound` rows. Connects with the first count.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] for a URL or a query that cannot work.
    pub fn new(config: &PostgresConfig, bound: u64) -> Result<Self, SourceError> {
        let query = Query::parse(Dialect::Postgres, &config.query)
            .map_err(|error| invalid(error.to_string()))?;
        let connector = Connector::new(&config.url, config.authority.as_deref())?;
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM (\n{}\n) __kp LIMIT {bound}) n",
            query.text()
        );
        Ok(Self { connector, sql, client: None })
    }

    /// Rows that wait now, the bound at most. Connects again where the connection is gone.
    ///
    /// # Errors
    /// When the server is away, or refuses the query.
    pub async fn count(&mut self) -> Result<u64, SourceError> {
        let client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.connector.connect(Role::Claims).await?,
        };
        let row = client.query_one(&self.sql, &[]).await;
        let row = row.map_err(|error| about("query", Role::Claims, &error))?;
        let count: i64 = row.try_get(0).map_err(|error| explain(Role::Claims, &error))?;
        self.client = Some(client);
        Ok(u64::try_from(count).unwrap_or_default())
    }
}

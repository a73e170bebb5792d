//! How many rows wait, as KEDA's own scaler counts them: a bounded COUNT over the user's query.
//!
//! For a caller that plays KEDA. Claims nothing and holds no lock; rows that are being handled
//! count as long as they match.

use kipper_statement::{Dialect, Query};
use mysql_async::Value;

use super::{
    config::MysqlConfig,
    connection::{Connector, Link, Role, invalid},
    server,
};
use crate::source::SourceError;

/// Counts waiting rows, over one connection that is kept.
pub struct Backlog {
    connector: Connector,
    sql: String,
    bound: u64,
    link: Option<Link>,
}

impl Backlog {
    /// Counts up to `bound` rows. Connects with the first count.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] for a URL or a query that cannot work.
    pub fn new(config: &MysqlConfig, bound: u64) -> Result<Self, SourceError> {
        let query = Query::parse(Dialect::Mysql, &config.query)
            .map_err(|error| invalid(error.to_string()))?;
        let connector = Connector::new(&config.url, config.authority.as_deref())?;
        let sql =
            format!("SELECT COUNT(*) FROM (SELECT 1 FROM (\n{}\n) __kp LIMIT ?) n", query.text());
        Ok(Self { connector, sql, bound, link: None })
    }

    /// Rows that wait now, the bound at most. Connects again where the connection is gone.
    ///
    /// # Errors
    /// When the server is away, or refuses the query.
    pub async fn count(&mut self) -> Result<u64, SourceError> {
        let link = match self.link.take().filter(|link| !link.is_closed()) {
            Some(link) => link,
            None => Box::pin(self.connector.connect(Role::Claims)).await?,
        };
        let rows = link.turn().await.rows(&self.sql, vec![Value::UInt(self.bound)]).await;
        let rows = rows.map_err(|error| error.about("query"))?;
        self.link = Some(link);
        Ok(server::number(&rows).and_then(|count| u64::try_from(count).ok()).unwrap_or_default())
    }
}

//! How many events wait, as KEDA's own scaler counts them: the list's length and the leases.
//!
//! For a caller that plays KEDA. Claims nothing; events that are being handled count until they are
//! marked.

use fred::types::Value;

use super::{
    answer::number,
    config::RedisConfig,
    connection::{Connection, Connector},
    keys::Keys,
};
use crate::source::SourceError;

/// Counts waiting events, over one connection that is kept.
pub struct Backlog {
    connector: Connector,
    keys: Keys,
    connection: Option<Connection>,
}

impl Backlog {
    /// Connects with the first count.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] for a URL or an authority that cannot work.
    pub fn new(config: &RedisConfig) -> Result<Self, SourceError> {
        let connector = Connector::new(&config.url, config.authority.as_deref())?;
        Ok(Self { connector, keys: Keys::new(&config.list), connection: None })
    }

    /// Items in the list, and events that are claimed or were given back. Connects again where the
    /// connection is gone.
    ///
    /// # Errors
    /// When the server is away, or refuses to tell.
    pub async fn count(&mut self) -> Result<u64, SourceError> {
        let connection = match self.connection.take().filter(|link| !link.is_closed()) {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        let mut sum = 0;
        // In this order an item that is claimed in between counts twice, not never.
        for (command, key) in [("LLEN", &self.keys.list), ("ZCARD", &self.keys.leases)] {
            let answer = connection.call(command, vec![Value::from(key.clone())]).await?;
            let answer = answer.map_err(SourceError::Failed)?;
            sum += number(&answer).and_then(|count| u64::try_from(count).ok()).unwrap_or_default();
        }
        self.connection = Some(connection);
        Ok(sum)
    }
}

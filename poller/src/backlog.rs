//! What can be done with a source without polling it: check the trigger, and count what waits as
//! KEDA does.
//!
//! What is known of each kind of source for this stands here and in `poll`, nowhere else.

use crate::{
    config::{Config, Trigger},
    error::Error,
    source::{SourceError, minio, mysql, postgres, redis},
};

/// Opens the source once and checks everything that can be checked before the first event.
///
/// # Errors
/// [`Error::is_usage`] tells what only the user can mend from a source that is away.
pub async fn check(config: &Config) -> Result<(), Error> {
    config.check()?;
    // On the heap: once per trigger, and much larger than what callers do besides.
    match config.trigger {
        Trigger::Postgres => {
            drop(Box::pin(postgres::Postgres::open(config.postgres()?)).await?);
        }
        Trigger::Mysql => drop(Box::pin(mysql::Mysql::open(config.mysql()?)).await?),
        Trigger::Redis => drop(Box::pin(redis::Redis::open(config.redis()?)).await?),
        Trigger::Minio => Box::pin(minio::Minio::check(config.minio()?)).await?,
    }
    Ok(())
}

/// How many events wait, by the same count that KEDA would scale on.
pub enum Backlog {
    /// Rows of PostgreSQL.
    Postgres(postgres::Backlog),
    /// Rows of MySQL and MariaDB.
    Mysql(mysql::Backlog),
    /// Items of a Redis list, those in work too.
    Redis(redis::Backlog),
    /// Events of a bucket, those in work too.
    Minio(minio::Backlog),
}

impl Backlog {
    /// Counts up to `bound` events, where counting further would cost. Connects with the first count.
    ///
    /// # Errors
    /// When the trigger cannot work.
    pub fn new(config: &Config, bound: u64) -> Result<Self, Error> {
        Ok(match config.trigger {
            Trigger::Postgres => {
                Self::Postgres(postgres::Backlog::new(&config.postgres()?, bound)?)
            }
            Trigger::Mysql => Self::Mysql(mysql::Backlog::new(&config.mysql()?, bound)?),
            Trigger::Redis => Self::Redis(redis::Backlog::new(&config.redis()?)?),
            Trigger::Minio => Self::Minio(minio::Backlog::new(&config.minio()?)?),
        })
    }

    /// Events that wait now, over a connection that is kept.
    ///
    /// # Errors
    /// When the source is away or refuses.
    pub async fn count(&mut self) -> Result<u64, SourceError> {
        match self {
            Self::Postgres(backlog) => backlog.count().await,
            Self::Mysql(backlog) => backlog.count().await,
            Self::Redis(backlog) => backlog.count().await,
            Self::Minio(backlog) => backlog.count().await,
        }
    }
}

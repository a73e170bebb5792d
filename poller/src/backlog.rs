//! How many events wait, counted as KEDA counts them, without polling.

use futures_util::{FutureExt as _, future::BoxFuture};
use kipper_trigger::Kind;

use crate::{
    config::Config,
    error::Error,
    source::{SourceError, minio, mysql, postgres, redis},
};

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
            Kind::Postgres => Self::Postgres(postgres::Backlog::new(&config.postgres()?, bound)?),
            Kind::Mysql => Self::Mysql(mysql::Backlog::new(&config.mysql()?, bound)?),
            Kind::Redis => Self::Redis(redis::Backlog::new(&config.redis()?)?),
            Kind::Minio => Self::Minio(minio::Backlog::new(&config.minio()?)?),
        })
    }

    /// Events that wait now, over a connection that is kept.
    ///
    /// # Errors
    /// When the source is away or refuses.
    pub fn count(&mut self) -> BoxFuture<'_, Result<u64, SourceError>> {
        match self {
            Self::Postgres(backlog) => backlog.count().boxed(),
            Self::Mysql(backlog) => backlog.count().boxed(),
            Self::Redis(backlog) => backlog.count().boxed(),
            Self::Minio(backlog) => backlog.count().boxed(),
        }
    }
}

//! The poller as a part of another process, and what can be done with a source without polling it:
//! check the trigger, and count what waits as KEDA does.
//!
//! What is known of each kind of source for this stands here and in `run`, nowhere else.

use futures_util::{FutureExt as _, future::BoxFuture};
use kipper_trigger::Kind;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    error::Error,
    metrics::Metrics,
    reach::Reach,
    run::{Connected, poll},
    source::{SourceError, minio, mysql, postgres, redis},
};

/// Runs a poller without ports until `shutdown` and the drain after it. `connected` is called once
/// the source is there. Dropping the future gives up what it holds, as the end of its process would.
///
/// # Errors
/// When the trigger cannot work. A source that is away is waited for.
pub fn run_embedded<'a>(
    config: &'a Config,
    metrics: Metrics,
    connected: impl FnOnce() + Send + 'a,
    shutdown: CancellationToken,
) -> BoxFuture<'a, Result<(), Error>> {
    let mut once = Some(connected);
    let connected = move || {
        if let Some(connected) = once.take() {
            connected();
        }
    };
    embedded(config, metrics, Box::new(connected), shutdown)
}

fn embedded<'a>(
    config: &'a Config,
    metrics: Metrics,
    connected: Connected<'a>,
    shutdown: CancellationToken,
) -> BoxFuture<'a, Result<(), Error>> {
    async move {
        config.check()?;
        // A drain that may be taken back is asked for by nobody: whoever embeds has the token.
        let (_, drains) = mpsc::channel(1);
        let reach = Reach::new(None, metrics.clone());
        poll(config, metrics, reach, connected, shutdown, drains).await
    }
    .boxed()
}

/// Opens the source once and checks everything that can be checked before the first event.
///
/// # Errors
/// [`Error::is_usage`] tells what only the user can mend from a source that is away.
pub fn check(config: &Config) -> BoxFuture<'_, Result<(), Error>> {
    async move {
        config.check()?;
        match config.trigger {
            Kind::Postgres => {
                drop(postgres::Postgres::open(config.postgres()?).boxed().await?);
            }
            Kind::Mysql => drop(mysql::Mysql::open(config.mysql()?).boxed().await?),
            Kind::Redis => drop(redis::Redis::open(config.redis()?).boxed().await?),
            Kind::Minio => {
                let bucket = config.bucket.as_deref().unwrap_or_default();
                minio::Minio::check(config.minio()?, bucket).boxed().await?;
            }
        }
        Ok(())
    }
    .boxed()
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

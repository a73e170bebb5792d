//! The poller as a part of another process, and the check of a trigger without polling it.
//!
//! What is known of each kind of source for this stands here, in `backlog` and in `run`, nowhere else.

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
    source::{minio, mysql, postgres, redis},
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

//! How many events wait, as the bucket watcher counts them for KEDA.
//!
//! For a caller that plays KEDA. Claims nothing; events in work count too.

use kipper_bucket::{S3, S3Error, names};

use super::{
    config::MinioConfig,
    failure::{failed, refused},
};
use crate::source::SourceError;

/// Events counted at most; more of them change nobody's decision.
pub const MAX_BACKLOG: u64 = 10_000;

/// Counts events, those in work too: what a function is scaled by. For a caller that plays KEDA.
pub struct Backlog {
    s3: S3,
    bucket: String,
    prefix: String,
}

impl Backlog {
    /// Connects with the first count.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] for an endpoint that cannot work.
    pub fn new(config: &MinioConfig) -> Result<Self, SourceError> {
        let s3 = S3::new(&config.endpoint).map_err(refused)?;
        let prefix = names::pending(&config.namespace, &config.function);
        Ok(Self { s3, bucket: config.state_bucket.clone(), prefix })
    }

    /// Events that wait or are in work, [`MAX_BACKLOG`] at most.
    ///
    /// # Errors
    /// When the server is away, or refuses to tell.
    pub async fn count(&mut self) -> Result<u64, SourceError> {
        match self.s3.count(&self.bucket, &self.prefix, MAX_BACKLOG).await {
            // Nothing was stored yet.
            Err(S3Error::NoBucket { .. }) => Ok(0),
            count => count.map_err(failed),
        }
    }
}

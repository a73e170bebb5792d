//! What the bucket watcher and the poller agree on: the objects that are bucket events.
//!
//! The watcher stores each event as one small object under [`names::pending`] in the state bucket;
//! the poller takes a lease inside it, delivers it and deletes it. Here are their names, their JSON
//! and the S3 client both use. Nothing here decides when an event is stored, claimed or deleted.

#![warn(missing_docs)]

mod client;
mod clock;
mod error;
mod escape;
mod event;
pub mod names;
mod notification;

pub use client::{Condition, Listed, Object, Page, S3};
pub use clock::ServerClock;
pub use error::S3Error;
pub use escape::{escape, unescape};
pub use event::{Change, Event, Failure, Lease, Origin, Record, nonce};
pub use notification::Rule;

/// Where an S3 service is and who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http(s)://host:port`; buckets are paths under it.
    pub url: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
    /// Certificate authority (PEM), which then is the only one trusted.
    pub authority: Option<String>,
}

/// Without the secret.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.url)
            .field("access_key", &self.access_key)
            .field("authority", &self.authority.is_some())
            .finish_non_exhaustive()
    }
}

//! Watches buckets for functions that are triggered by them: KEDA has no scaler for S3, and a poller
//! at zero replicas sees nothing.
//!
//! What happens in a bucket is reported by its service (`webhook`) and seen in lists (`watch`), made
//! one event by what is known of the bucket (`inventory`, durable in `journal`), and stored as an
//! object that a poller claims. One watcher is active at a time (`leader`); how many events wait is
//! counted by every one ([`Pending`]), because KEDA asks any of them. This crate knows nothing of the
//! process around it, which gives it a place for its metrics and answers KEDA.

mod config;
mod error;
mod inventory;
mod journal;
mod leader;
mod listing;
mod memory;
mod metrics;
mod notification;
mod pending;
mod rules;
mod secrets;
mod senders;
mod trigger;
mod watch;
mod watcher;
mod webhook;

/// What reads bytes of strangers and is private otherwise, for `fuzz/`.
#[doc(hidden)]
pub mod fuzzing {
    /// The events that a notification tells of.
    pub fn events(body: &[u8]) -> Option<Vec<kipper_bucket::Event>> {
        let found = crate::notification::parse(body).ok()?;
        Some(found.into_iter().map(|notification| notification.event).collect())
    }
}

pub use config::{BucketArgs, WebhookToken};
pub use error::Error;
pub use leader::Leader;
pub use pending::Pending;
pub use trigger::{BucketTrigger, Triggers};
pub use watcher::{BucketSources, BucketWatcher};

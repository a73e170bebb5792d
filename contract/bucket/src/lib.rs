//! What the bucket watcher and the poller agree on: the objects that are bucket events.
//!
//! The watcher stores each event as one small object under [`names::pending`] in the state bucket;
//! the poller takes a lease inside it, delivers it and deletes it. Here are their names, their JSON
//! and the S3 client both use. Nothing here decides when an event is stored, claimed or deleted.

#![warn(missing_docs)]

mod budget;
mod client;
mod clock;
mod endpoint;
mod error;
mod escape;
mod event;
pub mod names;
mod notification;
mod pages;
mod region;
mod transport;

pub use budget::{Account, Budget, OverBudget};
pub use client::{Condition, Listed, Object, Page, S3};
pub use clock::{ServerClock, bounded_ms, rfc3339};
pub use endpoint::Endpoint;
pub use error::S3Error;
pub use escape::{escape, unescape};
pub use event::{Change, Event, Failure, Lease, Origin, Record, nonce};
pub use notification::Rule;
pub use pages::Pages;

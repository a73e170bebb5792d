//! What feeds a function, whichever source it is: numbered events, from 1.

use kipper_cluster::sandbox::Sandbox;
use kipper_function::service::ServiceKind;
use serde_json::Value;

use super::{jobs::Jobs, orders::Orders, photos::Photos};

/// A source, and how many events it has been given.
pub(super) struct Feed {
    source: Source,
    last: usize,
}

enum Source {
    Orders(Orders),
    Jobs(Jobs),
    Photos(Photos),
}

impl Feed {
    /// One for this function alone.
    pub(super) async fn create(sandbox: &Sandbox, function: &str, kind: ServiceKind) -> Self {
        let source = match kind {
            ServiceKind::Redis => Source::Jobs(Jobs::create(sandbox).await),
            ServiceKind::Minio => Source::Photos(Photos::create(sandbox, function).await),
            _ => Source::Orders(Orders::create(sandbox, kind).await),
        };
        Self { source, last: 0 }
    }

    /// The number of an event, as an expression over `event`.
    pub(super) fn id(&self) -> &'static str {
        if matches!(self.source, Source::Photos(_)) { "event.key" } else { "event.id" }
    }

    pub(super) fn trigger(&self) -> Value {
        match &self.source {
            Source::Orders(orders) => orders.trigger(),
            Source::Jobs(jobs) => jobs.trigger(),
            Source::Photos(photos) => photos.trigger(),
        }
    }

    /// Waits until what is added is noticed.
    pub(super) async fn until_watched(&self) {
        if let Source::Photos(photos) = &self.source {
            photos.until_watched().await;
        }
    }

    pub(super) async fn add(&mut self, count: usize) {
        let ids = self.last + 1..=self.last + count;
        self.last += count;
        match &self.source {
            Source::Orders(orders) => orders.insert(ids).await,
            Source::Jobs(jobs) => jobs.push(ids).await,
            Source::Photos(photos) => {
                for id in ids {
                    photos.upload(&id.to_string()).await;
                }
            }
        }
    }

    /// Events there have been.
    pub(super) fn last(&self) -> usize {
        self.last
    }

    /// Events that the source still has, those in work too.
    pub(super) async fn left(&self) -> usize {
        match &self.source {
            Source::Orders(orders) => orders.unfinished().await,
            Source::Jobs(jobs) => jobs.left().await,
            Source::Photos(photos) => photos.pending().await,
        }
    }
}

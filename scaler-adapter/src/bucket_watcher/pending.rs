//! How many events wait for each function: what KEDA is told.
//!
//! Counted by listing the event objects, on every adapter, because KEDA asks any of them; what this
//! adapter stores itself counts at once. KEDA is answered from here without asking anybody.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use kipper_bucket::{S3, S3Error, names};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::trigger::BucketTrigger;
use crate::functions::FunctionKey;

/// Counted at most; more change nobody's decision.
const MAX_COUNT: u64 = 10_000;
/// Between two counts while events wait.
const BUSY_INTERVAL: Duration = Duration::from_secs(2);
/// Between two counts of nothing.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);
/// A count that could not be repeated for so long says nothing any more.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Functions counted at once.
const MAX_COUNTING: usize = 16;
/// Functions known at most.
const MAX_FUNCTIONS: usize = 100_000;

/// A count and when it was true.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    events: u64,
    at: Instant,
}

/// See the module.
pub(crate) struct Pending {
    functions: DashMap<FunctionKey, watch::Sender<Option<Count>>>,
    counting: Semaphore,
}

impl Pending {
    pub(crate) fn new() -> Arc<Self> {
        let counting = Semaphore::new(MAX_COUNTING);
        Arc::new(Self { functions: DashMap::new(), counting })
    }

    /// Events that wait or are in work; `None` while that is not known.
    pub(crate) fn count(&self, function: &FunctionKey) -> Option<u64> {
        let count = (*self.functions.get(function)?.borrow())?;
        (count.at.elapsed() < MAX_AGE).then_some(count.events)
    }

    /// Told of every new count. `None` when there are as many functions as there may be.
    pub(crate) fn subscribe(
        &self,
        function: &FunctionKey,
    ) -> Option<watch::Receiver<Option<Count>>> {
        if let Some(known) = self.functions.get(function) {
            return Some(known.subscribe());
        }
        if self.functions.len() >= MAX_FUNCTIONS {
            return None;
        }
        let entry = self.functions.entry(function.clone());
        Some(entry.or_insert_with(|| watch::Sender::new(None)).subscribe())
    }

    /// So many events were stored just now.
    pub(crate) fn added(&self, function: &FunctionKey, events: u64) {
        let entry = self.functions.entry(function.clone());
        entry.or_insert_with(|| watch::Sender::new(None)).send_modify(|count| {
            let before = count.map_or(0, |count| count.events);
            *count = Some(Count { events: before.saturating_add(events), at: Instant::now() });
        });
    }

    /// Counts one function's events until it is dropped.
    pub(crate) async fn keep_counting(&self, trigger: &BucketTrigger, s3: &S3, bucket: &str) {
        let function = trigger.key();
        let prefix = names::pending(&trigger.namespace, &trigger.function);
        let Some(mut told) = self.subscribe(&function) else { return };
        loop {
            told.borrow_and_update();
            // The semaphore is never closed.
            let permit = self.counting.acquire().await.ok();
            let counted = s3.count(bucket, &prefix, MAX_COUNT).await;
            drop(permit);
            let events = match counted {
                Ok(events) => Some(events),
                Err(S3Error::NoBucket { .. }) => Some(0),
                Err(error) => {
                    tracing::debug!(%prefix, "events not counted: {error}");
                    None
                }
            };
            // What was stored while it was counted may be missing in it.
            if let (Some(events), Ok(false)) = (events, told.has_changed())
                && let Some(count) = self.functions.get(&function)
            {
                count.send_replace(Some(Count { events, at: Instant::now() }));
            }
            let idle = events == Some(0) && matches!(told.has_changed(), Ok(false));
            tokio::time::sleep(if idle { IDLE_INTERVAL } else { BUSY_INTERVAL }).await;
        }
    }

    /// Forgets a function that is not triggered by a bucket any more, unless somebody listens.
    pub(crate) fn forget(&self, function: &FunctionKey) {
        self.functions.remove_if(function, |_, count| count.receiver_count() == 0);
        if let Some(count) = self.functions.get(function) {
            count.send_replace(None);
        }
    }
}

impl Count {
    pub(crate) fn is_active(self) -> bool {
        self.events > 0
    }
}

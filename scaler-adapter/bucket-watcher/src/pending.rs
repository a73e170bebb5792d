//! How many events wait for each function, which is what KEDA scales by.
//!
//! Counted by listing the event objects, in every adapter, because KEDA asks any of them; what this
//! one stores itself counts at once. An answer to KEDA comes from here and waits for nothing.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use kipper_bucket::{S3, S3Error, names};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use crate::trigger::{BucketTrigger, FunctionKey};

/// Counted at most; more would change no decision.
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

/// One function's count and when it was true.
struct Counted {
    events: watch::Sender<Option<u64>>,
    at: Instant,
}

/// The number of events that wait for each function, counted by this process.
pub struct Pending {
    functions: DashMap<FunctionKey, Counted>,
    counting: Semaphore,
}

impl Pending {
    pub(crate) fn new() -> Arc<Self> {
        let counting = Semaphore::new(MAX_COUNTING);
        Arc::new(Self { functions: DashMap::new(), counting })
    }

    /// Events that wait or are being handled; `None` while the number is unknown.
    pub fn count(&self, namespace: &str, function: &str) -> Option<u64> {
        let counted = self.functions.get(&FunctionKey::new(namespace, function))?;
        let events = (*counted.events.borrow())?;
        (counted.at.elapsed() < MAX_AGE).then_some(events)
    }

    /// Receives every new count. `None` when as many functions are known as the limit allows.
    pub fn subscribe(
        &self,
        namespace: &str,
        function: &str,
    ) -> Option<watch::Receiver<Option<u64>>> {
        self.receive(FunctionKey::new(namespace, function))
    }

    fn receive(&self, function: FunctionKey) -> Option<watch::Receiver<Option<u64>>> {
        if let Some(known) = self.functions.get(&function) {
            return Some(known.events.subscribe());
        }
        if self.functions.len() >= MAX_FUNCTIONS {
            return None;
        }
        Some(self.functions.entry(function).or_insert_with(Counted::unknown).events.subscribe())
    }

    /// So many events were stored just now.
    pub(crate) fn added(&self, function: &FunctionKey, events: u64) {
        let mut entry = self.functions.entry(function.clone()).or_insert_with(Counted::unknown);
        let before = entry.events.borrow().unwrap_or_default();
        entry.set(Some(before.saturating_add(events)));
    }

    /// Counts one function's events until it is dropped.
    pub(crate) async fn keep_counting(&self, trigger: &BucketTrigger, s3: &S3, bucket: &str) {
        let function = trigger.key();
        let prefix = names::pending(&trigger.namespace, &trigger.function);
        let Some(mut told) = self.receive(function.clone()) else { return };
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
                && let Some(mut counted) = self.functions.get_mut(&function)
            {
                counted.set(Some(events));
            }
            let idle = events == Some(0) && matches!(told.has_changed(), Ok(false));
            tokio::time::sleep(if idle { IDLE_INTERVAL } else { BUSY_INTERVAL }).await;
        }
    }

    /// Forgets a function that is no longer triggered by a bucket, unless it has a subscriber.
    pub(crate) fn forget(&self, function: &FunctionKey) {
        self.functions.remove_if(function, |_, counted| counted.events.receiver_count() == 0);
        if let Some(mut counted) = self.functions.get_mut(function) {
            counted.set(None);
        }
    }
}

impl Counted {
    fn unknown() -> Self {
        Self { events: watch::Sender::new(None), at: Instant::now() }
    }

    fn set(&mut self, events: Option<u64>) {
        self.at = Instant::now();
        self.events.send_replace(events);
    }
}

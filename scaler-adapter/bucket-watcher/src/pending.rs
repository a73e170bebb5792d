//! How many events wait for each function, which is what KEDA scales by.
//!
//! Counted by listing the event objects, in every adapter, because KEDA asks any of them; what this
//! one stores itself counts at once. An answer to KEDA comes from here and waits for nothing.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use kipper_bucket::{S3, S3Error, names};
use kipper_process::backoff::Backoff;
use kipper_trigger::one_line;
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
/// Counts of nothing between two looks at what the one that leads says.
const TROUBLE_TURNS: u64 = 6;
/// A service that fails for less is no trouble.
const TELL_AFTER: Duration = Duration::from_secs(30);
/// Functions counted at once.
const MAX_COUNTING: usize = 16;
/// Functions known at most.
const MAX_FUNCTIONS: usize = 100_000;

/// Pauses between counts that fail, so that services that are away do not hold up those of others.
const FAILED_BACKOFF: Backoff = Backoff::new(BUSY_INTERVAL, Duration::from_secs(60));

/// One function's count and when it was true.
struct Counted {
    events: watch::Sender<Option<u64>>,
    at: Instant,
    trouble: Trouble,
}

/// Why a bucket does not work, as far as it is known.
#[derive(Clone, Debug, Default)]
struct Trouble {
    /// Why it is not watched, and when to tell; only who leads knows.
    watch: Option<(String, Instant)>,
    /// What the one that leads has written of it.
    told: Option<String>,
    /// Why its events are not counted.
    count: Option<String>,
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

    /// Why the function's bucket is not watched, or its events are not counted, in one line.
    pub fn trouble(&self, namespace: &str, function: &str) -> Option<String> {
        let counted = self.functions.get(&FunctionKey::new(namespace, function))?;
        let Trouble { watch, told, count } = &counted.trouble;
        let watch = watch.as_ref().filter(|(_, tell)| *tell <= Instant::now());
        let count = count.as_ref().filter(|_| counted.at.elapsed() >= MAX_AGE);
        watch.map(|(words, _)| words).or(told.as_ref()).or(count).cloned()
    }

    /// Why the function's bucket is not watched now, and whether that stays so until somebody changes
    /// something; `None` once it is.
    pub(crate) fn watched(&self, function: &FunctionKey, trouble: Option<(String, bool)>) {
        let Some(mut counted) = self.functions.get_mut(function) else { return };
        counted.trouble.told = None;
        let known = counted.trouble.watch.as_ref().map(|(_, tell)| *tell);
        counted.trouble.watch = trouble.map(|(words, stays)| {
            let now = Instant::now();
            (words, if stays { now } else { known.unwrap_or(now + TELL_AFTER) })
        });
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
        let Some(mut counts) = self.receive(function.clone()) else { return };
        let mut backoff = FAILED_BACKOFF;
        for turn in 0_u64.. {
            counts.borrow_and_update();
            // The semaphore is never closed.
            let permit = self.counting.acquire().await.ok();
            let counted = s3.count(bucket, &prefix, MAX_COUNT).await;
            drop(permit);
            let (events, trouble) = match counted {
                Ok(events) => (Some(events), None),
                Err(S3Error::NoBucket { .. }) => (Some(0), None),
                Err(error) => (None, Some(error.to_string())),
            };
            if let Some(mut counted) = self.functions.get_mut(&function) {
                counted.trouble.count.clone_from(&trouble);
            }
            if let Some(trouble) = trouble {
                tracing::debug!(%prefix, "events not counted: {trouble}");
                tokio::time::sleep(backoff.pause()).await;
                continue;
            }
            backoff.reset();
            if events == Some(0) && turn % TROUBLE_TURNS == 0 {
                self.read_trouble(trigger, s3, bucket).await;
            }
            // What was stored while it was counted may be missing in it.
            if let (Some(events), Ok(false)) = (events, counts.has_changed())
                && let Some(mut counted) = self.functions.get_mut(&function)
            {
                counted.set(Some(events));
            }
            let idle = events == Some(0) && matches!(counts.has_changed(), Ok(false));
            tokio::time::sleep(if idle { IDLE_INTERVAL } else { BUSY_INTERVAL }).await;
        }
    }

    /// Takes in what the one that leads says of the bucket.
    async fn read_trouble(&self, trigger: &BucketTrigger, s3: &S3, bucket: &str) {
        let name = names::trouble(&trigger.namespace, &trigger.function);
        let told = match s3.get(bucket, &name).await {
            Ok(object) => Some(one_line(&String::from_utf8_lossy(&object.body))),
            Err(S3Error::NoObject(_) | S3Error::NoBucket { .. }) => None,
            Err(_) => return,
        };
        if let Some(mut counted) = self.functions.get_mut(&trigger.key()) {
            counted.trouble.told = told;
        }
    }

    /// Forgets a function that is no longer triggered by a bucket, unless it has a subscriber.
    pub(crate) fn forget(&self, function: &FunctionKey) {
        self.functions.remove_if(function, |_, counted| counted.events.receiver_count() == 0);
        if let Some(mut counted) = self.functions.get_mut(function) {
            counted.set(None);
            counted.trouble = Trouble::default();
        }
    }
}

impl Counted {
    fn unknown() -> Self {
        let events = watch::Sender::new(None);
        Self { events, at: Instant::now(), trouble: Trouble::default() }
    }

    fn set(&mut self, events: Option<u64>) {
        self.at = Instant::now();
        self.events.send_replace(events);
    }
}

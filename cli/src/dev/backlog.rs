//! How many events of a function wait in its source, looked at again and again.
//!
//! KEDA's own scalers do this in a cluster, or the bucket watcher does, every five seconds. Whatever
//! goes wrong is said once and tried again: in the meantime the number is unknown, which changes
//! nothing.

use std::time::Duration;

use kipper_poller::{Backlog, Error};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::instrument::WithSubscriber as _;

use super::{
    buckets::{Buckets, Watched},
    console::Voice,
    journal::Journal,
    trigger::EventTrigger,
};

/// Pause after a trigger turned out not to work: only the user can mend it.
const RECHECK_PAUSE: Duration = Duration::from_secs(5);

/// The number of events that wait, kept up to date until dropped.
pub(super) struct Counts {
    /// `None` while it is unknown.
    pub(super) waiting: watch::Receiver<Option<u64>>,
    /// Whose events they are.
    pub(super) trigger: EventTrigger,
    /// Where counting stops.
    pub(super) bound: u64,
    _task: AbortOnDropHandle<()>,
}

impl Counts {
    /// Starts to count, until `stop`.
    pub(super) fn start(
        trigger: EventTrigger,
        max_replicas: u32,
        polling_interval: Duration,
        buckets: Buckets,
        voice: Voice,
        stop: CancellationToken,
    ) -> Self {
        let bound = trigger.batch.saturating_mul(max_replicas.into());
        let (tell, waiting) = watch::channel(None);
        let counter = Counter {
            trigger: trigger.clone(),
            bound,
            backlog: None,
            buckets,
            _watched: None,
            voice: voice.clone(),
            told: None,
        };
        let counting = async move {
            let counting = Box::pin(counter.run(polling_interval, &tell));
            stop.run_until_cancelled(counting).await;
            tell.send_replace(None);
        };
        let task = tokio::spawn(counting.with_subscriber(Journal::new(voice)));
        Self { waiting, trigger, bound, _task: AbortOnDropHandle::new(task) }
    }

    /// The events that wait, in words; `None` when there are none or nobody knows.
    pub(super) fn in_words(&self) -> Option<String> {
        let count = (*self.waiting.borrow()).filter(|count| *count > 0)?;
        let or_more = if count >= self.bound { " or more" } else { "" };
        Some(format!("{}{or_more} waiting", self.trigger.events(count)))
    }
}

struct Counter {
    trigger: EventTrigger,
    bound: u64,
    /// `None` until the trigger was found to work.
    backlog: Option<Backlog>,
    buckets: Buckets,
    /// Its bucket, where events come from one and the trigger was found to work.
    _watched: Option<Watched>,
    voice: Voice,
    /// What went wrong last.
    told: Option<String>,
}

impl Counter {
    async fn run(mut self, polling_interval: Duration, tell: &watch::Sender<Option<u64>>) {
        let mut ticks = interval(polling_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.count().await {
                Ok(count) => {
                    if self.told.take().is_some() {
                        self.voice.say("the source answers, events are handled");
                    }
                    tell.send_replace(Some(count));
                }
                Err(error) => {
                    tell.send_replace(None);
                    self.complain(&error);
                    if error.is_usage() {
                        tokio::time::sleep(RECHECK_PAUSE).await;
                    }
                }
            }
        }
    }

    /// The whole trigger is checked before the first count: with a mark that cannot work, no
    /// process should be started. Nor is a bucket watched before: one voice says what is wrong.
    async fn count(&mut self) -> Result<u64, Error> {
        let backlog = match &mut self.backlog {
            Some(backlog) => backlog,
            none => {
                kipper_poller::check(self.trigger.config()).await?;
                let bucket = self.trigger.bucket.clone();
                self._watched = bucket.map(|bucket| self.buckets.watch(bucket));
                none.insert(Backlog::new(self.trigger.config(), self.bound)?)
            }
        };
        Ok(backlog.count().await?)
    }

    fn complain(&mut self, error: &Error) {
        let text = error.to_string();
        if self.told.as_ref() == Some(&text) {
            return;
        }
        if error.is_usage() {
            self.voice.warn(format!("events are not handled: {text}"));
        } else {
            self.voice.warn(format!("{text}, trying again"));
        }
        self.told = Some(text);
    }
}

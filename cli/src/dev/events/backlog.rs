//! How many events of a function wait in its source, looked at again and again.
//!
//! KEDA's own scalers do this in a cluster, or the bucket watcher does, every five seconds; here
//! `kipper-poll count` does. What goes wrong is said once and tried again: in the meantime the number
//! is unknown, which changes nothing.

use std::time::Duration;

use kipper_trigger::Count;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    super::console::Voice,
    buckets::BucketWatcher,
    companion::{Companion, Context, Heard},
    trigger::EventTrigger,
};

/// The number of events that wait, kept up to date until dropped.
pub(crate) struct Counts {
    /// `None` while it is unknown.
    pub(crate) waiting: watch::Receiver<Option<u64>>,
    /// Whose events they are.
    pub(crate) trigger: EventTrigger,
    /// Where counting stops.
    pub(crate) bound: u64,
    _task: AbortOnDropHandle<()>,
}

impl Counts {
    /// Starts to count, until `stop`.
    pub(crate) fn start(
        trigger: EventTrigger,
        max_replicas: u32,
        polling_interval: Duration,
        context: Context,
        stop: CancellationToken,
    ) -> Self {
        let bound = trigger.batch.saturating_mul(max_replicas.into());
        let (waiting, counted) = watch::channel(None);
        let invocation = trigger.counter(bound, polling_interval);
        let companion = Companion { invocation, context: context.clone() };
        let mut counter = Counter { waiting, voice: context.voice.clone(), complaint: None };
        let bucket = trigger.clone();
        let counting = async move {
            let mut watcher = None;
            let watcher_stop = stop.clone();
            let refused = companion.run(stop, |heard| {
                counter.hear(heard);
                // Not before the trigger was found to work: one voice says what is wrong.
                if watcher.is_none() && counter.waiting.borrow().is_some() {
                    let (context, stop) = (context.clone(), watcher_stop.clone());
                    watcher = BucketWatcher::start(&bucket, polling_interval, context, stop);
                }
            });
            if let Some(why) = refused.await {
                counter.hear_count(Count::Invalid(why));
            }
            counter.waiting.send_replace(None);
        };
        let task = AbortOnDropHandle::new(tokio::spawn(counting));
        Self { waiting: counted, trigger, bound, _task: task }
    }

    /// The events that wait, in words; `None` when there are none or the number is unknown.
    pub(crate) fn in_words(&self) -> Option<String> {
        let count = (*self.waiting.borrow()).filter(|count| *count > 0)?;
        let or_more = if count >= self.bound { " or more" } else { "" };
        Some(format!("{}{or_more} waiting", self.trigger.events(count)))
    }
}

/// Takes in what the counting program prints.
struct Counter {
    waiting: watch::Sender<Option<u64>>,
    voice: Voice,
    /// What went wrong last.
    complaint: Option<String>,
}

impl Counter {
    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Line(line) => {
                if let Ok(count) = serde_json::from_str(&line) {
                    self.hear_count(count);
                }
            }
            Heard::Log(_) => {}
            Heard::Ended => drop(self.waiting.send_replace(None)),
        }
    }

    fn hear_count(&mut self, count: Count) {
        let complaint = match count {
            Count::Waiting(count) => {
                if self.complaint.take().is_some() {
                    self.voice.say("the source is available again, events are handled");
                }
                self.waiting.send_replace(Some(count));
                return;
            }
            Count::Unavailable(why) => format!("{why}, trying again"),
            Count::Invalid(why) => format!("events are not handled: {why}"),
        };
        self.waiting.send_replace(None);
        if self.complaint.as_ref() != Some(&complaint) {
            self.voice.warn(&complaint);
            self.complaint = Some(complaint);
        }
    }
}

//! The watcher of a bucket whose changes are the events of a function.
//!
//! In a cluster one scaler-adapter watches every bucket. Here each function has a watcher of its own,
//! for as long as its trigger is at work.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    companion::{Companion, Context},
    trigger::EventTrigger,
};

/// A watcher that is kept running. Dropping it kills it; what it knows is in the bucket.
pub(crate) struct BucketWatcher {
    _task: AbortOnDropHandle<()>,
}

impl BucketWatcher {
    /// Starts it; `None` where events come from elsewhere.
    pub(crate) fn start(
        trigger: &EventTrigger,
        list_interval: Duration,
        context: Context,
        stop: CancellationToken,
    ) -> Option<Self> {
        let voice = context.voice.clone();
        let invocation = trigger.bucket_watcher(list_interval)?;
        let companion = Companion { invocation, context };
        let running = async move {
            if let Some(why) = companion.run(stop, drop).await {
                voice.warn(format!("bucket not watched: {why}"));
            }
        };
        Some(Self { _task: AbortOnDropHandle::new(tokio::spawn(running)) })
    }
}

//! Buckets whose changes are events: what the watcher in the scaler-adapter is told.
//!
//! In a cluster it reads its triggers from Secrets, and a Lease says which adapter watches. Here
//! there is one adapter, and a bucket is watched for as long as somebody holds its [`Watched`].

use std::sync::Arc;

use kipper_bucket_watcher::{BucketSources, BucketTrigger, Leader};
use tokio::sync::watch;

/// The buckets there are. Clones share them.
#[derive(Clone)]
pub(super) struct Buckets(watch::Sender<Option<Arc<[BucketTrigger]>>>);

/// A bucket that is watched. Dropping it ends that, unless somebody else has the same watched.
pub(super) struct Watched {
    trigger: BucketTrigger,
    buckets: Buckets,
}

impl Buckets {
    /// None yet, and where the watcher hears of them.
    pub(super) fn new() -> (Self, BucketSources) {
        let (buckets, triggers) = watch::channel(Some(Arc::from([])));
        let (_, leader) = watch::channel(Leader::Me);
        (Self(buckets), BucketSources { triggers, leader })
    }

    pub(super) fn watch(&self, trigger: BucketTrigger) -> Watched {
        self.change(|triggers| triggers.push(trigger.clone()));
        Watched { trigger, buckets: self.clone() }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<BucketTrigger>)) {
        self.0.send_modify(|triggers| {
            let mut changed = triggers.as_deref().unwrap_or_default().to_vec();
            change(&mut changed);
            *triggers = Some(changed.into());
        });
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.buckets.change(|triggers| {
            let at = triggers.iter().position(|trigger| *trigger == self.trigger);
            // Not the others that are the same: after a save a successor may be there already.
            if let Some(at) = at {
                triggers.remove(at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kipper_bucket::Endpoint;

    use super::*;

    #[test]
    fn a_bucket_is_watched_while_anybody_has_it_watched() {
        let trigger = |suffix: &str| BucketTrigger {
            namespace: "local".to_owned(),
            function: "thumbs".to_owned(),
            endpoint: Endpoint::from_url("http://a:s@h:9000").unwrap(),
            bucket: "photos".to_owned(),
            prefix: String::new(),
            suffix: suffix.to_owned(),
        };
        let (buckets, sources) = Buckets::new();
        let suffixes = || -> Vec<String> {
            let triggers = sources.triggers.borrow().clone().unwrap();
            triggers.iter().map(|trigger| trigger.suffix.clone()).collect()
        };
        assert_eq!(*sources.leader.borrow(), Leader::Me);
        let first = buckets.watch(trigger(".jpg"));
        let (same, other) = (buckets.watch(trigger(".jpg")), buckets.watch(trigger(".png")));
        drop(first);
        assert_eq!(suffixes(), [".jpg", ".png"]);
        drop(same);
        assert_eq!(suffixes(), [".png"]);
        drop(other);
        assert!(suffixes().is_empty());
    }
}

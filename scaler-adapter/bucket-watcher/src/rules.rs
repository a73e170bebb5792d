//! Makes buckets send notifications of their changes, through the S3 API.
//!
//! Rules of others are never touched, and rules of a bucket that several functions share are made for
//! all of them together. Where the service has no such target, lists have to do.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use kipper_bucket::{Rule, S3, S3Error};
use kipper_process::supervise::caught;
use tokio::sync::watch;

use crate::trigger::BucketTrigger;

/// Buckets seen to at once: one whose service does not answer holds nobody up.
const PARALLEL: usize = 32;

/// A trigger whose bucket is to have a rule.
#[derive(Clone)]
pub(crate) struct Ruled {
    pub(crate) trigger: Arc<BucketTrigger>,
    pub(crate) s3: S3,
    /// Set to whether it has.
    pub(crate) has_rules: Arc<AtomicBool>,
}

/// The bucket of one service, by its URL.
type Place = (String, String);

/// What this process has seen to.
#[derive(Clone)]
struct Known {
    s3: S3,
    rules: Vec<Rule>,
    /// What was said of it last.
    said: String,
}

/// Keeps the rules of all triggers until it is dropped; what was removed by others is made again.
pub(crate) async fn keep(
    arn: String,
    interval: Duration,
    mut wanted: watch::Receiver<Arc<[Ruled]>>,
) {
    let mut known: BTreeMap<Place, Known> = BTreeMap::new();
    loop {
        let ruled = Arc::clone(&wanted.borrow_and_update());
        let mut places: BTreeMap<Place, Vec<Ruled>> = BTreeMap::new();
        for one in ruled.iter() {
            let place = (one.trigger.endpoint.url.clone(), one.trigger.bucket.clone());
            places.entry(place).or_default().push(one.clone());
        }
        let gone: Vec<Place> =
            known.keys().filter(|place| !places.contains_key(*place)).cloned().collect();
        let removals = gone.into_iter().filter_map(|place| {
            let Known { s3, rules, .. } = known.remove(&place)?;
            Some(remove(&arn, place, s3, rules))
        });
        let removals: Vec<_> = removals.collect();
        stream::iter(removals).buffer_unordered(PARALLEL).collect::<()>().await;
        let makings: Vec<_> = places
            .into_iter()
            .map(|(place, ruled)| {
                let former = known.remove(&place);
                make_or_keep(&arn, place, ruled, former)
            })
            .collect();
        let made: Vec<_> = stream::iter(makings).buffer_unordered(PARALLEL).collect().await;
        known.extend(made.into_iter().flatten());
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(interval) => {}
        }
    }
}

async fn remove(arn: &str, place: Place, s3: S3, rules: Vec<Rule>) {
    let words = match caught(s3.change_rules(&place.1, arn, &[], &rules)).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("panicked: {panic}"),
    };
    tracing::warn!(bucket = %place.1, "notification rules not removed: {words}");
}

/// What is known of one bucket afterwards. One service's panic is not another's.
async fn make_or_keep(
    arn: &str,
    place: Place,
    ruled: Vec<Ruled>,
    former: Option<Known>,
) -> Option<(Place, Known)> {
    match caught(make(arn, &place, &ruled, former.clone())).await {
        Ok(now) => now.map(|now| (place, now)),
        Err(panic) => {
            tracing::error!(bucket = %place.1, "notification rules not made, panicked: {panic}");
            former.map(|former| (place, former))
        }
    }
}

/// Makes the rules of one bucket, with the first credentials that may.
async fn make(arn: &str, place: &Place, ruled: &[Ruled], former: Option<Known>) -> Option<Known> {
    let mut rules: Vec<Rule> = ruled.iter().map(|one| rule(&one.trigger)).collect();
    rules.sort();
    rules.dedup();
    let (old, said) = former.map(|known| (known.rules, known.said)).unwrap_or_default();
    let mut result = Err(S3Error::Endpoint(String::new()));
    let mut s3 = None;
    for one in ruled {
        result = one.s3.change_rules(&place.1, arn, &rules, &old).await;
        s3 = Some(one.s3.clone());
        if result.is_ok() {
            break;
        }
    }
    for one in ruled {
        one.has_rules.store(result.is_ok(), Ordering::Relaxed);
    }
    let words = match &result {
        Ok(true) => format!("notifications are configured, rules: {}", rules.len()),
        Ok(false) => "notifications are configured".to_owned(),
        Err(error) => format!("no notifications, watched by lists only: {error}"),
    };
    if words != said {
        tracing::info!(endpoint = %place.0, bucket = %place.1, "{words}");
    }
    Some(Known { s3: s3?, rules: if result.is_ok() { rules } else { old }, said: words })
}

fn rule(trigger: &BucketTrigger) -> Rule {
    Rule { prefix: trigger.prefix.clone(), suffix: trigger.suffix.clone() }
}

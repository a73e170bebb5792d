//! Makes buckets tell this adapter of their changes, through the S3 API.
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

use kipper_bucket::{Rule, S3, S3Error};
use tokio::sync::watch;

use crate::trigger::BucketTrigger;

/// A trigger whose bucket is to have a rule.
#[derive(Clone)]
pub(crate) struct Ruled {
    pub(crate) trigger: Arc<BucketTrigger>,
    pub(crate) s3: S3,
    /// Told whether it has.
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
        for place in gone {
            if let Some(Known { s3, rules, .. }) = known.remove(&place)
                && let Err(error) = s3.change_rules(&place.1, &arn, &[], &rules).await
            {
                tracing::warn!(bucket = %place.1, "its notification rules stay: {error}");
            }
        }
        for (place, ruled) in places {
            let former = known.remove(&place);
            if let Some(now) = make(&arn, &place, &ruled, former).await {
                known.insert(place, now);
            }
        }
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
        Ok(true) => format!("it tells of its changes now: {}", rules.len()),
        Ok(false) => "it tells of its changes".to_owned(),
        Err(error) => format!("watched by lists alone: {error}"),
    };
    if words != said {
        tracing::info!(endpoint = %place.0, bucket = %place.1, "{words}");
    }
    Some(Known { s3: s3?, rules: if result.is_ok() { rules } else { old }, said: words })
}

fn rule(trigger: &BucketTrigger) -> Rule {
    Rule { prefix: trigger.prefix.clone(), suffix: trigger.suffix.clone() }
}

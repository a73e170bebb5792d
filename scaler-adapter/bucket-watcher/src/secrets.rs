//! Triggers from Kubernetes: one Secret per function, in this adapter's own namespace.
//!
//! The controller writes them, labelled `kipper.run/bucket-trigger=true`. A Secret that makes no
//! sense is left out and said once; the triggers there are stay when the watch fails.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Secret;
use kipper_trigger::{BucketSecret, BucketSecretError};
use kube::{
    Api,
    runtime::watcher::{self, Event, watcher},
};
use tokio::sync::watch;

use crate::trigger::BucketTrigger;

/// Selects the Secrets.
const LABEL: &str = "kipper.run/bucket-trigger=true";

type Known = HashMap<String, BucketTrigger>;

/// Tells the triggers, until it is dropped.
pub(crate) async fn watch(api: Api<Secret>, triggers: watch::Sender<Option<Arc<[BucketTrigger]>>>) {
    let config = watcher::Config::default().labels(LABEL);
    let events = watcher(api, config);
    pin_mut!(events);
    let mut known = Known::new();
    // Of a list that is not complete yet.
    let mut listing: Option<Known> = None;
    let mut backoff = watcher::DefaultBackoff::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                backoff = watcher::DefaultBackoff::default();
                match event {
                    Event::Init => listing = Some(Known::new()),
                    Event::InitApply(secret) => note(listing.get_or_insert_default(), &secret),
                    Event::InitDone => known = listing.take().unwrap_or_default(),
                    Event::Apply(secret) => note(&mut known, &secret),
                    Event::Delete(secret) => {
                        known.remove(&name(&secret));
                    }
                }
            }
            Err(error) => {
                tracing::warn!("bucket triggers not watched: {error}");
                let pause = Iterator::next(&mut backoff);
                tokio::time::sleep(pause.unwrap_or_default()).await;
                continue;
            }
        }
        if listing.is_none() {
            let mut all: Vec<_> = known.values().cloned().collect();
            all.sort_by(|a, b| (&a.namespace, &a.function).cmp(&(&b.namespace, &b.function)));
            triggers.send_if_modified(|told| {
                let is_news = told.as_deref() != Some(&all[..]);
                *told = Some(all.into());
                is_news
            });
        }
    }
}

fn name(secret: &Secret) -> String {
    secret.metadata.name.clone().unwrap_or_default()
}

fn note(known: &mut Known, secret: &Secret) {
    let name = name(secret);
    match trigger(secret.data.as_ref()) {
        Ok(trigger) => {
            known.insert(name, trigger);
        }
        Err(error) => {
            tracing::error!(secret = %name, %error, "cannot be used as a bucket trigger");
            known.remove(&name);
        }
    }
}

fn trigger(
    data: Option<&BTreeMap<String, k8s_openapi::ByteString>>,
) -> Result<BucketTrigger, BucketSecretError> {
    let secret = BucketSecret::read(|key| data?.get(key).map(|bytes| bytes.0.as_slice()))?;
    Ok(secret.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::ByteString;

    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, ByteString> {
        let pairs = pairs.iter();
        pairs.map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))).collect()
    }

    #[test]
    fn a_secret_is_a_trigger() {
        let full = data(&[
            ("namespace", "shop-prod"),
            ("function", "thumbs"),
            ("endpoint", "http://minio:9000"),
            ("access-key", "a"),
            ("secret-key", "s"),
            ("ca", "pem"),
            ("bucket", "photos"),
            ("prefix", "in/"),
            ("suffix", ".jpg"),
        ]);
        let trigger = trigger(Some(&full)).unwrap();
        assert_eq!((&*trigger.prefix, &*trigger.suffix), ("in/", ".jpg"));
        assert_eq!(trigger.endpoint.authority.as_deref(), Some("pem"));
        assert_eq!(trigger.state_bucket, "kipper-events");
        assert!(trigger.wants("in/a.jpg") && !trigger.wants("a.jpg") && !trigger.wants("in/a.png"));
        assert!(!format!("{trigger:?}").contains("\"s\""));
        assert_eq!(super::trigger(None), Err(BucketSecretError::Missing("namespace")));
    }
}

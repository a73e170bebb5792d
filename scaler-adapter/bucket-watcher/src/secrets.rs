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
use kipper_bucket::Endpoint;
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
        Err(field) => {
            tracing::error!(secret = %name, "no bucket trigger: {field} is missing or no text");
            known.remove(&name);
        }
    }
}

fn trigger(
    data: Option<&BTreeMap<String, k8s_openapi::ByteString>>,
) -> Result<BucketTrigger, &'static str> {
    let text = |field: &'static str| {
        let bytes = data.and_then(|data| data.get(field)).map(|bytes| bytes.0.clone());
        bytes.map(String::from_utf8).transpose().map_err(|_| field)
    };
    let needed = |field: &'static str| text(field)?.filter(|text| !text.is_empty()).ok_or(field);
    Ok(BucketTrigger {
        namespace: needed("namespace")?,
        function: needed("function")?,
        endpoint: Endpoint {
            url: needed("endpoint")?,
            access_key: needed("access-key")?,
            secret_key: needed("secret-key")?,
            authority: text("ca")?.filter(|pem| !pem.is_empty()),
        },
        bucket: needed("bucket")?,
        prefix: text("prefix")?.unwrap_or_default(),
        suffix: text("suffix")?.unwrap_or_default(),
    })
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

    const FIELDS: [(&str, &str); 6] = [
        ("namespace", "shop-prod"),
        ("function", "thumbs"),
        ("endpoint", "http://minio:9000"),
        ("access-key", "a"),
        ("secret-key", "s"),
        ("bucket", "photos"),
    ];

    #[test]
    fn a_secret_is_a_trigger() {
        let mut full = data(&FIELDS);
        full.extend(data(&[("prefix", "in/"), ("suffix", ".jpg"), ("ca", "pem")]));
        let trigger = trigger(Some(&full)).unwrap();
        assert_eq!((&*trigger.prefix, &*trigger.suffix), ("in/", ".jpg"));
        assert_eq!(trigger.endpoint.authority.as_deref(), Some("pem"));
        assert!(trigger.wants("in/a.jpg") && !trigger.wants("a.jpg") && !trigger.wants("in/a.png"));
        assert!(!format!("{trigger:?}").contains("\"s\""));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(trigger(None).unwrap_err(), "namespace");
        for (missing, _) in FIELDS {
            let mut some = data(&FIELDS);
            some.remove(missing);
            assert_eq!(trigger(Some(&some)).unwrap_err(), missing);
        }
        let plain = trigger(Some(&data(&FIELDS))).unwrap();
        assert_eq!((&*plain.prefix, plain.endpoint.authority), ("", None));
    }
}

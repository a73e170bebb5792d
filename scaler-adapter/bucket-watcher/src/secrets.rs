//! Triggers from Kubernetes: one Secret per function, in this adapter's own namespace.
//!
//! The controller writes them, labelled `kipper.run/bucket-trigger=true`. A Secret that makes no
//! sense is left out and logged; the known triggers stay when the watch fails.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Secret;
use kipper_kubernetes::{Settings, Values, follow};
use kipper_trigger::{BucketSecret, BucketSecretError};
use kube::{Api, ResourceExt as _};
use tokio::sync::watch;

use crate::trigger::BucketTrigger;

/// Selects the Secrets.
const LABEL: &str = "kipper.run/bucket-trigger=true";

/// Publishes the triggers, until it is dropped.
pub(crate) async fn watch(api: Api<Secret>, triggers: watch::Sender<Option<Arc<[BucketTrigger]>>>) {
    let mirror = Values::new(read, move |known| {
        let mut all: Vec<BucketTrigger> = known.values().cloned().collect();
        all.sort_by(|a, b| (&a.namespace, &a.function).cmp(&(&b.namespace, &b.function)));
        triggers.send_if_modified(|former| {
            let is_news = former.as_deref() != Some(&all[..]);
            *former = Some(all.into());
            is_news
        });
    });
    let Err(error) = follow(api, Settings::labels(LABEL), mirror).await;
    tracing::error!(%error, "watch of bucket triggers ended");
}

fn read(secret: &Secret) -> Option<BucketTrigger> {
    let trigger = trigger(secret.data.as_ref());
    trigger
        .inspect_err(|error| {
            let secret = secret.name_any();
            tracing::error!(secret, %error, "cannot be used as a bucket trigger");
        })
        .ok()
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

//! Triggers from Kubernetes: one Secret per function, in this adapter's own namespace.
//!
//! The controller writes them, labelled `kipper.run/bucket-trigger=true`. A Secret that makes no
//! sense is left out and logged; the known triggers stay when the watch fails.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Secret;
use kipper_bucket::Endpoint;
use kipper_kubernetes::{Settings, Values, follow};
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
        .inspect_err(|field| {
            let secret = secret.name_any();
            tracing::error!(secret, "not a bucket trigger: {field} is missing or not text");
        })
        .ok()
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

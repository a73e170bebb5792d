//! The Secret `bucket.<namespace>.<fn>` by which the bucket watcher knows of a minio trigger. It is
//! in the watcher's own namespace, the only one whose Secrets the watcher may read, so the
//! function's finalizer removes it.
//!
//! The controller may write such Secrets there and read none.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kipper_function::names;
use kipper_trigger::{BucketSecret, EventTrigger, SecretKey, Setting, Values};
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams},
};

use super::connection::data;
use crate::cache::Key;

/// What the watcher has to know of one trigger.
pub(super) fn secret(
    function: &Key,
    event: &EventTrigger<'_>,
    source: &Values,
    state_bucket: &str,
) -> BucketSecret {
    let setting = |setting| event.setting(setting).unwrap_or_default().to_owned();
    let of_source = |key| source.get(key).unwrap_or_default().to_owned();
    BucketSecret {
        namespace: function.namespace.clone(),
        function: function.name.clone(),
        endpoint: of_source(SecretKey::Url),
        access_key: of_source(SecretKey::AccessKey),
        secret_key: of_source(SecretKey::SecretKey),
        ca: source.get(SecretKey::Ca).map(str::to_owned),
        bucket: setting(Setting::Bucket),
        prefix: setting(Setting::Prefix),
        suffix: setting(Setting::Suffix),
        state_bucket: state_bucket.to_owned(),
    }
}

/// Writes the Secret.
pub(super) async fn publish(
    client: &Client,
    namespace: &str,
    function: &Key,
    bucket: &BucketSecret,
) -> kube::Result<()> {
    let name = names::bucket_secret(&function.namespace, &function.name);
    let pairs = [
        (names::MANAGED_BY, names::KIPPER),
        (names::PART_OF, names::KIPPER),
        (names::BUCKET_TRIGGER, "true"),
    ];
    let labels = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let owner = (names::FUNCTION_ANNOTATION.to_owned(), function.to_string());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels.into()),
            annotations: Some(BTreeMap::from([owner])),
            ..ObjectMeta::default()
        },
        data: Some(data(bucket.data().into_iter())),
        ..Secret::default()
    };
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    api.patch(&name, &params, &Patch::Apply(&secret)).await.map(drop)
}

/// Removes it, if it is there.
pub(crate) async fn retract(client: &Client, namespace: &str, function: &Key) -> kube::Result<()> {
    let name = names::bucket_secret(&function.namespace, &function.name);
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match api.delete(&name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

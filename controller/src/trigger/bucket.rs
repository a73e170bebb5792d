//! The Secret `bucket.<namespace>.<fn>` by which the bucket watcher knows of a minio trigger. It is
//! in the watcher's own namespace, the only one whose Secrets the watcher may read, so the
//! function's finalizer removes it.
//!
//! The controller may write such Secrets there and read none.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kipper_function::{function::event::EventTrigger, names};
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams},
};

use super::{connection::Values, data};
use crate::{cache::Key, render::poller::keys};

/// What the watcher has to know of one trigger.
pub(super) fn values(function: &Key, event: &EventTrigger<'_>, source: &Values) -> Values {
    let setting = |key: &str| event.setting(key).unwrap_or_default().to_owned();
    let of_source = |key: &str| source.get(key).cloned().unwrap_or_default();
    let values = [
        ("namespace", function.namespace.clone()),
        ("function", function.name.clone()),
        ("endpoint", of_source(keys::URL)),
        ("access-key", of_source(keys::ACCESS_KEY)),
        ("secret-key", of_source(keys::SECRET_KEY)),
        ("ca", of_source(keys::CA)),
        ("bucket", setting("bucket")),
        ("prefix", setting("prefix")),
        ("suffix", setting("suffix")),
    ];
    // An empty prefix is no prefix.
    let given = values.into_iter().filter(|(_, value)| !value.is_empty());
    given.map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Writes the Secret.
pub(super) async fn publish(
    client: &Client,
    namespace: &str,
    function: &Key,
    values: Values,
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
        data: Some(data(&values)),
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

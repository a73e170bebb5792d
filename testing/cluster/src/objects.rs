//! Objects of any kind, as JSON: what the tests look at is what `kubectl get -o json` prints.
#![allow(clippy::unwrap_used)]

use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use serde_json::Value;

use crate::names::FIELD_MANAGER;

/// Kinds the tests look at: group, version, kind, plural.
const KINDS: [(&str, &str, &str, &str); 17] = [
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "Endpoints", "endpoints"),
    ("", "v1", "Pod", "pods"),
    ("", "v1", "Secret", "secrets"),
    ("", "v1", "Service", "services"),
    ("apps", "v1", "ControllerRevision", "controllerrevisions"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "ReplicaSet", "replicasets"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("batch", "v1", "CronJob", "cronjobs"),
    ("batch", "v1", "Job", "jobs"),
    ("coordination.k8s.io", "v1", "Lease", "leases"),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    ("events.k8s.io", "v1", "Event", "events"),
    ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
    ("networking.k8s.io", "v1", "Ingress", "ingresses"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
];

/// The API of `kind` in `namespace`. `Kipper` before a kind says which Service is meant.
pub fn api(client: &Client, kind: &str, namespace: &str) -> Api<DynamicObject> {
    let (group, version, kind, plural) = match kind {
        "KipperService" => ("kipper.run", "v1alpha1", "Service", "services"),
        "Function" => ("kipper.run", "v1alpha1", "Function", "functions"),
        _ => *KINDS.iter().find(|(_, _, known, _)| *known == kind).unwrap(),
    };
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// The whole object as JSON; `None` where there is none.
pub async fn get(client: &Client, kind: &str, namespace: &str, name: &str) -> Option<Value> {
    let object = api(client, kind, namespace).get_opt(name).await.unwrap();
    object.map(|object| serde_json::to_value(object).unwrap())
}

/// All objects that `selector` selects, as JSON.
pub async fn list(client: &Client, kind: &str, namespace: &str, selector: &str) -> Vec<Value> {
    let params = kube::api::ListParams::default().labels(selector);
    let objects = api(client, kind, namespace).list(&params).await.unwrap();
    objects.into_iter().map(|object| serde_json::to_value(object).unwrap()).collect()
}

/// Creates an object; its kind is that of `api`.
pub async fn create(client: &Client, kind: &str, namespace: &str, json: Value) -> DynamicObject {
    let object = typed(kind, namespace, json);
    api(client, kind, namespace).create(&PostParams::default(), &object).await.unwrap()
}

/// Merges `patch` into an object, as `kubectl patch --type=merge` does.
pub async fn merge(client: &Client, kind: &str, namespace: &str, name: &str, patch: Value) {
    let params =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api(client, kind, namespace).patch(name, &params, &Patch::Merge(patch)).await.unwrap();
}

/// Deletes an object in the background, if it is there.
pub async fn delete(client: &Client, kind: &str, namespace: &str, name: &str) {
    match api(client, kind, namespace).delete(name, &DeleteParams::background()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => drop(other.unwrap()),
    }
}

fn typed(kind: &str, namespace: &str, mut json: Value) -> DynamicObject {
    let (group, version, kind) = match kind {
        "KipperService" => ("kipper.run", "v1alpha1", "Service"),
        "Function" => ("kipper.run", "v1alpha1", "Function"),
        _ => KINDS.iter().find(|k| k.2 == kind).map(|k| (k.0, k.1, k.2)).unwrap(),
    };
    let separator = if group.is_empty() { "" } else { "/" };
    json["apiVersion"] = format!("{group}{separator}{version}").into();
    json["kind"] = kind.into();
    json["metadata"]["namespace"] = namespace.into();
    serde_json::from_value(json).unwrap()
}

/// The resource of CRDs.
pub fn crd() -> ApiResource {
    let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    ApiResource::from_gvk_with_plural(&gvk, "customresourcedefinitions")
}

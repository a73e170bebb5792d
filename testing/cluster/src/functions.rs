//! Functions as load scenarios need them, and what can be read off Kubernetes' objects. Pure.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::{apps::v1::Deployment, discovery::v1::EndpointSlice};
use kipper_function::{
    Function, FunctionSpec,
    function::{Resources, Source},
    names,
};
use kube::{
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};

use crate::names::{SERVER_IMAGE, SERVER_TMP_IMAGE};

/// A function of the static test server, the fastest that there is here: whatever a wake costs beyond
/// it is not the function's.
pub fn image(name: &str) -> Function {
    let image = Some(SERVER_IMAGE.to_owned());
    Function::new(name, FunctionSpec { image, resources: Some(small()), ..FunctionSpec::default() })
}

/// The same with nothing mounted: its pod starts as soon as the kubelet can start any.
pub fn bare(name: &str) -> Function {
    let mut function = image(name);
    function.spec.no_tmp = true;
    function
}

/// The same with a `/tmp` that is the image's own.
pub fn own_tmp(name: &str) -> Function {
    let mut function = bare(name);
    function.spec.image = Some(SERVER_TMP_IMAGE.to_owned());
    function
}

/// A function of inline code; `runtime` is `node` or `python`.
pub fn inline(name: &str, runtime: &str, code: &str, dependencies: &[(&str, &str)]) -> Function {
    let dependencies = dependencies.iter().map(|(name, version)| {
        let pair: (String, String) = ((*name).to_owned(), (*version).to_owned());
        pair
    });
    let source = Source {
        code: Some(code.to_owned()),
        dependencies: dependencies.collect::<BTreeMap<_, _>>(),
        ..Source::default()
    };
    Function::new(
        name,
        FunctionSpec {
            runtime: Some(runtime.to_owned()),
            source: Some(source),
            resources: Some(small()),
            ..FunctionSpec::default()
        },
    )
}

/// Requests of next to nothing: they only decide how many pods fit on the one node, and limits
/// stay as they are by default.
fn small() -> Resources {
    Resources {
        cpu_request: Some("1m".to_owned()),
        memory_request: Some("8Mi".to_owned()),
        ..Resources::default()
    }
}

/// The same function with another time until it is scaled to zero.
pub fn idle_after(mut function: Function, idle: Duration) -> Function {
    function.spec.idle_timeout_seconds = i64::try_from(idle.as_secs()).ok();
    function
}

/// KEDA's resource, read without its types.
pub fn scaled_objects() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject"))
}

/// Whether a condition of the function holds for what its spec says now.
pub fn has_condition(function: &Function, type_: &str, status: &str) -> bool {
    let Some(found) = &function.status else { return false };
    let current = found.observed_generation == function.metadata.generation;
    let mut conditions = found.conditions.iter();
    current && conditions.any(|condition| condition.type_ == type_ && condition.status == status)
}

/// Everything declared is in place.
pub fn is_ready(function: &Function) -> bool {
    has_condition(function, names::condition::READY, "True")
}

/// KEDA has taken the object over.
pub fn is_scaling(scaled_object: &DynamicObject) -> bool {
    let conditions = scaled_object.data.pointer("/status/conditions").and_then(|c| c.as_array());
    let is = |condition: &serde_json::Value, field: &str, value: &str| {
        condition.get(field).and_then(|v| v.as_str()) == Some(value)
    };
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|condition| is(condition, "type", "Ready") && is(condition, "status", "True"))
    })
}

/// The host of the function's URL.
pub fn host(function: &Function) -> Option<String> {
    let endpoint = function.status.as_ref()?.endpoint.as_ref()?;
    Some(endpoint.strip_prefix("https://")?.to_owned())
}

/// Pods that are ready to serve.
pub fn ready_replicas(deployment: &Deployment) -> i32 {
    deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default()
}

/// Addresses in the slice, and whether each is ready.
pub fn endpoints(slice: &EndpointSlice) -> impl Iterator<Item = (&str, bool)> {
    slice.endpoints.iter().flat_map(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or_default();
        endpoint.addresses.iter().map(move |address| (address.as_str(), ready))
    })
}

/// The Service a slice belongs to.
pub fn service_of(slice: &EndpointSlice) -> Option<&str> {
    let labels = slice.metadata.labels.as_ref()?;
    labels.get(names::SERVICE_NAME).map(String::as_str)
}

//! What EndpointSlices say about a function's pods. Pure.
//!
//! A slice counts only if Kubernetes' own controller made it from the pods of a Service, and an
//! address only if it is that of a pod of the same namespace: not what somebody wrote into Endpoints
//! or a slice to be led elsewhere. Who may write the labels and references of slices can still lie;
//! no usual role of a namespace may.
//!
//! Reads one slice into addresses, and merges the slices of one Service into one endpoint set. The
//! rules are those of the EndpointSlice API: an unset `ready` is true, only the first address of
//! an endpoint counts, and an address may be in two slices while it moves between them.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::{
    api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kipper_function::names;

use crate::source::{EndpointState, FunctionId};

/// Says who makes a slice, and that it was Kubernetes from the pods that a Service selects; what is
/// mirrored from Endpoints says otherwise.
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const CONTROLLER: &str = "endpointslice-controller.k8s.io";

/// One address of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) state: EndpointState,
    /// Name of the pod, by which the two addresses of a dual-stack pod are known to be one.
    pub(super) pod: Option<Box<str>>,
}

/// The function a slice belongs to: its Service has the function's name.
pub(super) fn function(slice: &EndpointSlice) -> Option<FunctionId> {
    let namespace = slice.metadata.namespace.as_deref()?;
    let labels = slice.metadata.labels.as_ref()?;
    let service = labels.get(names::SERVICE_NAME)?;
    let owners = slice.metadata.owner_references.as_deref().unwrap_or_default();
    let made_from_it = |owner: &OwnerReference| {
        owner.controller == Some(true) && owner.kind == "Service" && owner.name == *service
    };
    (labels.get(MANAGED_BY).is_some_and(|by| by == CONTROLLER) && owners.iter().any(made_from_it))
        .then(|| FunctionId::new(namespace, service))
}

/// The addresses of a slice; none when it has no port we can use or no IP addresses.
pub(super) fn addresses(slice: &EndpointSlice) -> Vec<Address> {
    let Some(port) = port(slice.ports.as_deref().unwrap_or_default()) else {
        return Vec::new();
    };
    let namespace = slice.metadata.namespace.as_deref();
    slice.endpoints.iter().filter_map(|endpoint| address(endpoint, namespace, port)).collect()
}

/// The port named `http`, else the first one; TCP only.
pub(super) fn port(ports: &[EndpointPort]) -> Option<u16> {
    let mut tcp = ports.iter().filter(|port| port.protocol.as_deref().is_none_or(|p| p == "TCP"));
    let first = tcp.clone().next();
    let chosen = tcp.find(|port| port.name.as_deref() == Some(names::HTTP_PORT)).or(first)?;
    chosen.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

fn address(endpoint: &Endpoint, namespace: Option<&str>, port: u16) -> Option<Address> {
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let pod = endpoint.target_ref.as_ref()?;
    if pod.kind.as_deref() != Some("Pod") || pod.namespace.as_deref() != namespace {
        return None;
    }
    let (ready, terminating) = conditions(endpoint.conditions.as_ref());
    Some(Address {
        state: EndpointState { address: SocketAddr::new(ip, port), ready, terminating },
        pod: pod.name.as_deref().map(Box::from),
    })
}

/// Ready and terminating. A terminating pod is never `ready` to Kubernetes; whether it still
/// answers is its `serving`.
fn conditions(conditions: Option<&EndpointConditions>) -> (bool, bool) {
    let Some(conditions) = conditions else {
        return (true, false);
    };
    let terminating = conditions.terminating.unwrap_or(false);
    let ready = conditions.ready.unwrap_or(true);
    let serving = terminating && conditions.serving.unwrap_or(ready);
    (ready || serving, terminating)
}

/// Merges the addresses of all slices of one Service: each address once, in order. Where two
/// slices disagree, one of them is about a pod that is gone, so an address is ready if any says
/// so and terminating only if all do. A pod with an IPv4 and an IPv6 address counts once, by IPv4.
pub(super) fn merge<'a>(addresses: impl Iterator<Item = &'a Address>) -> Vec<EndpointState> {
    let mut all: Vec<&Address> = addresses.collect();
    let v4: HashSet<&str> = all
        .iter()
        .filter(|address| address.state.address.is_ipv4())
        .filter_map(|address| address.pod.as_deref())
        .collect();
    all.retain(|address| {
        address.state.address.is_ipv4()
            || !address.pod.as_deref().is_some_and(|pod| v4.contains(pod))
    });
    let mut states: Vec<EndpointState> = all.iter().map(|address| address.state).collect();
    states.sort_unstable_by_key(|state| state.address);
    states.dedup_by(|next, kept| {
        let same = next.address == kept.address;
        if same {
            kept.ready |= next.ready;
            kept.terminating &= next.terminating;
        }
        same
    });
    states
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    /// As the controller makes it: an endpoint is that of a pod of the namespace.
    fn slice(ports: Value, mut endpoints: Value) -> EndpointSlice {
        for endpoint in endpoints.as_array_mut().unwrap() {
            let pod = endpoint["targetRef"]["name"].as_str().unwrap_or("x").to_owned();
            endpoint["targetRef"] = json!({ "kind": "Pod", "namespace": "shop", "name": pod });
        }
        raw_slice(ports, endpoints)
    }

    fn raw_slice(ports: Value, endpoints: Value) -> EndpointSlice {
        let metadata = json!({
            "name": "hello-x", "namespace": "shop",
            "labels": { "kubernetes.io/service-name": "hello",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io" },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Service", "name": "hello",
                "uid": "1", "controller": true }],
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        });
        serde_json::from_value(slice).unwrap()
    }

    fn check(slices: &[EndpointSlice], expected: &[(&str, bool, bool)]) {
        let addresses: Vec<Address> = slices.iter().flat_map(addresses).collect();
        let merged = merge(addresses.iter());
        let actual: Vec<(String, bool, bool)> =
            merged.iter().map(|e| (e.address.to_string(), e.ready, e.terminating)).collect();
        let expected: Vec<_> = expected.iter().map(|(a, r, t)| ((*a).to_owned(), *r, *t)).collect();
        assert_eq!(actual, expected);
    }

    fn http() -> Value {
        json!([{ "name": "http", "port": 8080, "protocol": "TCP" }])
    }

    #[test]
    fn conditions_follow_the_api() {
        let cases = [
            (json!({}), (true, false)),
            (json!({ "ready": false }), (false, false)),
            (json!({ "ready": true, "serving": true, "terminating": false }), (true, false)),
            (json!({ "ready": false, "serving": true, "terminating": true }), (true, true)),
            (json!({ "ready": false, "serving": false, "terminating": true }), (false, true)),
            (json!({ "ready": false, "terminating": true }), (false, true)),
            // A pod that fails its probe may be `serving: false` only; it is not terminating.
            (json!({ "ready": false, "serving": true }), (false, false)),
        ];
        for (conditions, (ready, terminating)) in cases {
            let endpoints = json!([{ "addresses": ["10.0.0.1"], "conditions": conditions }]);
            check(&[slice(http(), endpoints)], &[("10.0.0.1:8080", ready, terminating)]);
        }
        check(
            &[slice(http(), json!([{ "addresses": ["10.0.0.1"] }]))],
            &[("10.0.0.1:8080", true, false)],
        );
    }

    #[test]
    fn the_port_is_http_or_the_first() {
        let endpoints = || json!([{ "addresses": ["10.0.0.1"] }]);
        let cases = [
            (json!([{ "name": "metrics", "port": 9 }, { "name": "http", "port": 80 }]), Some(80)),
            (json!([{ "port": 9 }]), Some(9)),
            (json!([{ "name": "dns", "port": 53, "protocol": "UDP" }, { "port": 9 }]), Some(9)),
            (json!([{ "name": "http" }]), None),
            (json!([]), None),
            (Value::Null, None),
        ];
        for (ports, expected) in cases {
            let addresses = addresses(&slice(ports.clone(), endpoints()));
            assert_eq!(addresses.first().map(|a| a.state.address.port()), expected, "{ports}");
        }
    }

    #[test]
    fn each_address_and_each_pod_counts_once() {
        let pod = |ip: &str, pod: &str, ready: bool| json!({ "addresses": [ip], "conditions": { "ready": ready }, "targetRef": { "name": pod } });
        // An address on its way from one slice to another.
        let old = slice(http(), json!([pod("10.0.0.2", "b", false), pod("10.0.0.1", "a", false)]));
        let new = slice(http(), json!([pod("10.0.0.1", "a", true)]));
        check(&[old, new], &[("10.0.0.1:8080", true, false), ("10.0.0.2:8080", false, false)]);
        // Dual stack: one pod, two addresses; and a pod that has only IPv6.
        let v4 = slice(http(), json!([pod("10.0.0.1", "a", true)]));
        let v6 = slice(http(), json!([pod("fd00::1", "a", true), pod("fd00::2", "b", true)]));
        check(&[v6, v4], &[("10.0.0.1:8080", true, false), ("[fd00::2]:8080", true, false)]);
        // A terminating pod whose address was given to another one.
        let gone = slice(
            http(),
            json!([{ "addresses": ["10.0.0.1"], "conditions": { "ready": false, "serving": false, "terminating": true } }]),
        );
        let next = slice(http(), json!([pod("10.0.0.1", "n", false)]));
        check(&[gone, next], &[("10.0.0.1:8080", false, false)]);
    }

    #[test]
    fn what_cannot_be_an_address_is_left_out() {
        let endpoints = json!([{ "addresses": [] }, { "addresses": ["pod.example.com"] }, { "addresses": ["10.0.0.1", "10.0.0.9"] }]);
        check(&[slice(http(), endpoints)], &[("10.0.0.1:8080", true, false)]);
    }

    #[test]
    fn only_pods_of_the_namespace_are_endpoints() {
        let check_target = |target: Value, expected: bool| {
            let endpoint = json!([{ "addresses": ["10.0.0.1"], "targetRef": target }]);
            let found = addresses(&raw_slice(http(), endpoint));
            assert_eq!(found.len(), usize::from(expected), "{target}");
        };
        check_target(json!({ "kind": "Pod", "namespace": "shop", "name": "a" }), true);
        check_target(json!({ "kind": "Pod", "namespace": "bank", "name": "a" }), false);
        check_target(json!({ "kind": "Pod", "name": "a" }), false);
        check_target(json!({ "kind": "Node", "namespace": "shop", "name": "a" }), false);
        check_target(Value::Null, false);
    }

    #[test]
    fn only_what_kubernetes_makes_of_a_service_counts() {
        let check_slice = |change: fn(&mut EndpointSlice), expected: bool| {
            let mut slice = slice(http(), json!([]));
            change(&mut slice);
            let hello = expected.then(|| FunctionId::new("shop", "hello"));
            assert_eq!(function(&slice), hello);
        };
        let label = |slice: &mut EndpointSlice, name: &str, value: &str| {
            let labels = slice.metadata.labels.as_mut().unwrap();
            labels.insert(name.into(), value.into());
        };
        check_slice(|_| {}, true);
        check_slice(|slice| slice.metadata.labels = None, false);
        check_slice(|slice| slice.metadata.owner_references = None, false);
        check_slice(
            |slice| slice.metadata.owner_references.as_mut().unwrap()[0].controller = None,
            false,
        );
        check_slice(
            |slice| slice.metadata.owner_references.as_mut().unwrap()[0].kind = "Pod".into(),
            false,
        );
        let mut other = slice(http(), json!([]));
        label(&mut other, names::SERVICE_NAME, "bank");
        assert_eq!(function(&other), None, "its Service is another one");
        let mut mirrored = slice(http(), json!([]));
        label(&mut mirrored, MANAGED_BY, "endpointslicemirroring-controller.k8s.io");
        assert_eq!(function(&mirrored), None, "made from Endpoints, which name any address");
    }
}

//! NetworkPolicy `<fn>`: only interceptors may connect to the function, and whoever likes to the
//! metrics of its poller.
//!
//! The kubelet's probes come from the node, which a policy lets through. What the pods themselves
//! connect to is not limited.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
        NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kipper_function::names;

use super::subject::Subject;

/// Label with its name that Kubernetes puts on every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

pub(super) fn network_policy(subject: &Subject<'_>) -> NetworkPolicy {
    let namespace = subject.settings.ingress.namespace.clone();
    let interceptors = NetworkPolicyPeer {
        namespace_selector: Some(selector(BTreeMap::from([(
            NAMESPACE_NAME.to_owned(),
            namespace,
        )]))),
        pod_selector: Some(selector(names::interceptor_selector())),
        ip_block: None,
    };
    let mut rules = Vec::new();
    if subject.spec().is_http() {
        rules.push(NetworkPolicyIngressRule {
            from: Some(vec![interceptors]),
            ports: Some(vec![port(names::HTTP_PORT)]),
        });
    }
    if subject.event().is_some() {
        let ports = Some(vec![port(names::POLLER_ADMIN_PORT)]);
        rules.push(NetworkPolicyIngressRule { from: None, ports });
    }
    NetworkPolicy {
        metadata: subject.meta(subject.name.to_owned(), names::SERVER),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(names::server_selector(subject.name))),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(rules),
            egress: None,
        }),
    }
}

/// By name, so that both ports are open while a changed one rolls out.
fn port(name: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

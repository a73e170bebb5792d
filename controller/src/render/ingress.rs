//! Ingress `fn.<namespace>.<fn>`, beside the interceptor: the function's host on the cluster's
//! ingress controller.
//!
//! It stands in another namespace than its Function, so it has no owner reference: an annotation
//! names the Function, and the finalizer removes it.

use k8s_openapi::{
    api::networking::v1::{
        HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
        IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kipper_function::names;

use super::subject::Subject;

/// What cert-manager looks for.
const CLUSTER_ISSUER: &str = "cert-manager.io/cluster-issuer";

pub(super) fn ingress(subject: &Subject<'_>, host: &str) -> Ingress {
    let settings = &subject.settings.ingress;
    let name = names::ingress(subject.namespace, subject.name);
    let mut annotations = settings.annotations.clone();
    annotations.insert(
        names::FUNCTION_ANNOTATION.to_owned(),
        format!("{}/{}", subject.namespace, subject.name),
    );
    let secret = match (&settings.tls_secret, &settings.cluster_issuer) {
        (Some(secret), _) => Some(secret.clone()),
        (None, Some(issuer)) => {
            annotations.insert(CLUSTER_ISSUER.to_owned(), issuer.clone());
            Some(name.clone())
        }
        (None, None) => None,
    };
    let tls = secret.map(|secret| {
        vec![IngressTLS { hosts: Some(vec![host.to_owned()]), secret_name: Some(secret) }]
    });
    Ingress {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(settings.namespace.clone()),
            labels: Some(subject.labels(names::SERVER)),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(IngressSpec {
            ingress_class_name: settings.class.clone(),
            rules: Some(vec![rule(host, &settings.service, settings.port)]),
            tls,
            default_backend: None,
        }),
        status: None,
    }
}

fn rule(host: &str, service: &str, port: u16) -> IngressRule {
    let backend = IngressServiceBackend {
        name: service.to_owned(),
        port: Some(ServiceBackendPort { number: Some(port.into()), name: None }),
    };
    let path = HTTPIngressPath {
        path: Some("/".to_owned()),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend { service: Some(backend), resource: None },
    };
    IngressRule {
        host: Some(host.to_owned()),
        http: Some(HTTPIngressRuleValue { paths: vec![path] }),
    }
}

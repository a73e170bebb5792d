//! Service `<fn>`: what puts the serving pods into EndpointSlices.
//!
//! Headless: the interceptor needs the endpoints only, and so it costs no address of the cluster
//! and no rule in any kube-proxy. Its labels travel to the EndpointSlices, which is how the
//! interceptor finds them.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kipper_function::names;

use super::subject::Subject;

pub(super) fn service(subject: &Subject<'_>) -> Service {
    let port = ServicePort {
        name: Some(names::HTTP_PORT.to_owned()),
        // Nothing translates ports here, so it is the container's, for those who ask DNS.
        port: subject.spec().port().into(),
        protocol: Some("TCP".to_owned()),
        // By name: while a changed port rolls out, old pods are reached on the old one.
        target_port: Some(IntOrString::String(names::HTTP_PORT.to_owned())),
        ..ServicePort::default()
    };
    Service {
        metadata: subject.meta(subject.name.to_owned(), names::SERVER),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            selector: Some(names::server_selector(subject.name)),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

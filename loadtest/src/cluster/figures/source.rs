//! A source of events on this machine: the Service by which functions reach it, and functions that it feeds.

use std::{collections::BTreeMap, net::SocketAddr};

use k8s_openapi::api::core::v1::Secret;
use kipper_cluster::{Namespace, functions};
use kipper_function::{Function, Service, function::Trigger, names, service::ServiceSpec};
use kube::api::PostParams;

/// Makes the Service `name` of this kind and its credentials, `values` beside the address.
pub(super) async fn connect(
    namespace: &Namespace,
    name: &str,
    kind: &str,
    address: SocketAddr,
    values: &[(&str, &str)],
) -> Result<(), anyhow::Error> {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let address = [("HOST", &*host), ("PORT", &*port)];
    let mut secret =
        Secret { string_data: Some(texts(address.iter().chain(values))), ..Secret::default() };
    secret.metadata.name = Some(names::service_credentials(name));
    let service = Service::new(name, ServiceSpec { type_: kind.to_owned() });
    let params = PostParams::default();
    namespace.api::<Secret>().create(&params, &secret).await?;
    namespace.api::<Service>().create(&params, &service).await?;
    Ok(())
}

/// An inline Node function with one trigger of this kind.
pub(super) fn fed(name: &str, code: &str, kind: &str, config: &[(&str, &str)]) -> Function {
    let mut function = functions::inline(name, "node", code, &[]);
    let (type_, config) = (kind.to_owned(), texts(config));
    function.spec.triggers = vec![Trigger { type_, config, ..Trigger::default() }];
    function
}

fn texts<'a>(pairs: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

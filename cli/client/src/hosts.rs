//! Whose the host is that a function would get: a host is a name in the whole cluster.
//!
//! The controller decides; this tells before anything is written, as far as the user may look.

use k8s_openapi::api::networking::v1::Ingress;
use kipper_function::{
    Function, host,
    names::{self, condition::HOST_RESERVED},
};
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::{ApiError, Connection, cluster::Cluster, functions::Functions};

/// Ingresses that are read at once.
const PAGE: u32 = 500;
/// Pages that are read; what lies beyond is the controller's to tell.
const MAX_PAGES: usize = 20;

/// Who has a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Taken {
    /// A function of another namespace.
    #[error("{url} belongs to function {name} of namespace {namespace}: choose another name")]
    ByFunction {
        /// Its URL.
        url: String,
        /// Its name, which is the same.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// An Ingress that is no function's.
    #[error("{host} belongs to Ingress {name} of namespace {namespace}: choose another name")]
    ByIngress {
        /// The host.
        host: String,
        /// The Ingress.
        name: String,
        /// Its namespace.
        namespace: String,
    },
}

/// Who has the host of this function already. What the user may not look at has nobody. `system` is the
/// namespace of the chart, where functions' Ingresses are.
///
/// # Errors
/// Whatever the cluster says.
pub async fn taken(
    connection: &Connection,
    cluster: Option<&Cluster>,
    system: &str,
    name: &str,
) -> Result<Option<Taken>, ApiError> {
    let functions = Functions::new(connection);
    let own = ApiError::allowed(functions.find(name).await)?.flatten();
    if own.is_some_and(|function| has_host(&function)) {
        return Ok(None);
    }
    let namesakes = ApiError::allowed(functions.namesakes(name).await)?.unwrap_or_default();
    if let Some(owner) = namesakes.iter().find(|other| has_host(other)) {
        return Ok(Some(Taken::ByFunction {
            url: owner.status.as_ref().and_then(|s| s.endpoint.clone()).unwrap_or_default(),
            name: name.to_owned(),
            namespace: owner.namespace().unwrap_or_default(),
        }));
    }
    // A host that cannot be is refused by whoever checks the name.
    let host = cluster.and_then(|c| host::host(name, &c.domain, &c.shared_parents).ok());
    match host {
        None => Ok(None),
        Some(host) => Ok(ApiError::allowed(ingress_of(connection, system, &host).await)?.flatten()),
    }
}

fn has_host(function: &Function) -> bool {
    function.status.as_ref().is_some_and(|status| status.is_true(HOST_RESERVED))
}

async fn ingress_of(
    connection: &Connection,
    system: &str,
    host: &str,
) -> Result<Option<Taken>, ApiError> {
    let api: Api<Ingress> = Api::all(connection.client.clone());
    let mut params = ListParams::default().limit(PAGE);
    for _ in 0..MAX_PAGES {
        let page = api.list(&params).await;
        let page =
            page.map_err(|error| ApiError::read(error, "ingresses", &connection.namespace))?;
        if let Some(owner) =
            page.items.iter().find(|ingress| leads(ingress, host) && !is_functions(ingress, system))
        {
            return Ok(Some(Taken::ByIngress {
                host: host.to_owned(),
                name: owner.name_any(),
                namespace: owner.namespace().unwrap_or_default(),
            }));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    Ok(None)
}

/// As the controller sees it: labels are anybody's to write, names in the chart's namespace are not.
fn is_functions(ingress: &Ingress, system: &str) -> bool {
    let named = ingress.annotations().get(names::FUNCTION_ANNOTATION);
    let (namespace, name) = named.and_then(|named| named.split_once('/')).unwrap_or_default();
    ingress.namespace().as_deref() == Some(system)
        && ingress.name_any() == names::ingress(namespace, name)
}

fn leads(ingress: &Ingress, host: &str) -> bool {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    rules.filter_map(|rule| rule.host.as_ref()).any(|known| known.eq_ignore_ascii_case(host))
}

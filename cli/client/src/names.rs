//! Names of what there is, and nothing else of it: for completions, which have to be quick.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use kipper_function::{Function, Service};
use kube::{Api, api::ListParams};
use serde::de::DeserializeOwned;

use crate::{ApiError, Connection, volumes};

/// Names that are read at the most: nobody picks one of more.
const MAX_NAMES: u32 = 1000;

/// Functions of the connection's namespace.
///
/// # Errors
/// Whatever the cluster says.
pub async fn functions(connection: &Connection) -> Result<Vec<String>, ApiError> {
    let api: Api<Function> = Api::namespaced(connection.client.clone(), &connection.namespace);
    listed(&api, "functions", connection).await
}

/// Services of the connection's namespace.
///
/// # Errors
/// Whatever the cluster says.
pub async fn services(connection: &Connection) -> Result<Vec<String>, ApiError> {
    let api: Api<Service> = Api::namespaced(connection.client.clone(), &connection.namespace);
    listed(&api, "services", connection).await
}

/// Volumes of the connection's namespace.
///
/// # Errors
/// Whatever the cluster says.
pub async fn volumes(connection: &Connection) -> Result<Vec<String>, ApiError> {
    let api = Api::namespaced(connection.client.clone(), &connection.namespace);
    let claims = listed::<PersistentVolumeClaim>(&api, "volumes", connection).await?;
    Ok(claims.iter().filter_map(|claim| volumes::name_of(claim)).collect())
}

/// Namespaces of the cluster.
///
/// # Errors
/// [`ApiError::Forbidden`] where the user may not list them.
pub async fn namespaces(connection: &Connection) -> Result<Vec<String>, ApiError> {
    let api: Api<Namespace> = Api::all(connection.client.clone());
    listed(&api, "namespaces", connection).await
}

async fn listed<K: Clone + Debug + DeserializeOwned>(
    api: &Api<K>,
    what: &str,
    connection: &Connection,
) -> Result<Vec<String>, ApiError> {
    let listed = api.list_metadata(&ListParams::default().limit(MAX_NAMES)).await;
    let listed = listed.map_err(|error| ApiError::read(error, what, &connection.namespace))?;
    Ok(listed.items.into_iter().filter_map(|object| object.metadata.name).collect())
}

//! The namespace of a project's environment.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, ResourceExt, api::ListParams};

use crate::{ApiError, Connection, params};

/// Label with the project a namespace belongs to.
const PROJECT: &str = "kipper.run/project";
/// Label with the environment it is of that project.
const ENVIRONMENT: &str = "kipper.run/environment";

/// Namespaces that are listed.
const MAX_NAMESPACES: u32 = 5000;

/// A project and one of its environments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The project.
    pub project: String,
    /// The environment.
    pub environment: String,
}

/// Makes the connection's namespace, with the labels of its place; false if it was there already.
///
/// # Errors
/// Whatever the cluster says.
pub async fn ensure(connection: &Connection, place: Option<&Place>) -> Result<bool, ApiError> {
    let name = connection.namespace.clone();
    let api: Api<Namespace> = Api::all(connection.client.clone());
    let labels = place.map(|place| {
        BTreeMap::from([
            (PROJECT.to_owned(), place.project.clone()),
            (ENVIRONMENT.to_owned(), place.environment.clone()),
        ])
    });
    let metadata = ObjectMeta { name: Some(name.clone()), labels, ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let created = api.create(&params::post(), &namespace).await;
    match created.map_err(|error| ApiError::read(error, &format!("namespace {name}"), &name)) {
        Ok(_) => Ok(true),
        Err(ApiError::Exists { .. }) => Ok(false),
        // Who may not make one can use one that is there.
        Err(ApiError::Forbidden(_)) if exists(connection).await == Some(true) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the connection's namespace is there; `None` where the user may not know.
pub async fn exists(connection: &Connection) -> Option<bool> {
    let api: Api<Namespace> = Api::all(connection.client.clone());
    let found = api.get_metadata_opt(&connection.namespace).await.ok()?;
    Some(found.is_some())
}

/// The names of all namespaces.
///
/// # Errors
/// [`ApiError::Forbidden`] where the user may not list them.
pub async fn list(connection: &Connection) -> Result<Vec<String>, ApiError> {
    let api: Api<Namespace> = Api::all(connection.client.clone());
    let listed = api.list_metadata(&ListParams::default().limit(MAX_NAMESPACES)).await;
    let listed = listed.map_err(|error| ApiError::read(error, "namespaces", ""))?;
    Ok(listed.items.iter().map(ResourceExt::name_any).collect())
}

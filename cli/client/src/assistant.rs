//! The Secret with the assistant's settings, in the namespace of the chart.
//!
//! All of them are one value of it, so that whoever reads a mounted file never sees half of a change.

use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{ApiError, Connection, FIELD_MANAGER};

/// Its name.
pub const SECRET: &str = "kipper-assistant";
/// Its only key.
pub const SETTINGS: &str = "settings.json";

/// The Secret of one installation.
#[derive(Clone)]
pub struct AssistantSecret {
    api: Api<Secret>,
    namespace: String,
}

impl AssistantSecret {
    /// As this connection's user may see it.
    pub fn new(connection: &Connection, system_namespace: &str) -> Self {
        let namespace = system_namespace.to_owned();
        Self { api: Api::namespaced(connection.client.clone(), &namespace), namespace }
    }

    fn error(&self, error: kube::Error) -> ApiError {
        ApiError::read(error, &format!("secret {SECRET}"), &self.namespace)
    }

    /// What is stored.
    ///
    /// # Errors
    /// Whatever the cluster says; [`ApiError::Forbidden`] of most users.
    pub async fn read(&self) -> Result<Option<Vec<u8>>, ApiError> {
        let stored = self.api.get_opt(SECRET).await.map_err(|error| self.error(error))?;
        Ok(stored.and_then(|secret| secret.data?.remove(SETTINGS)).map(|bytes| bytes.0))
    }

    /// Stores them in place of what was there.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn write(&self, settings: Vec<u8>) -> Result<(), ApiError> {
        let value = (SETTINGS.to_owned(), ByteString(settings));
        let secret = Secret {
            metadata: ObjectMeta { name: Some(SECRET.to_owned()), ..Default::default() },
            data: Some([value].into()),
            ..Default::default()
        };
        // Whoever wrote them before, with kubectl perhaps: they are one value.
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = self.api.patch(SECRET, &params, &Patch::Apply(&secret)).await;
        applied.map(drop).map_err(|error| self.error(error))
    }

    /// Removes them, whoever wrote them: an apply without the value would leave one that another field
    /// manager owns, with the key in it.
    ///
    /// # Errors
    /// Whatever the cluster says; where there is no Secret, there is nothing to remove.
    pub async fn remove(&self) -> Result<(), ApiError> {
        let without = json!({ "data": { SETTINGS: null } });
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
        match self.api.patch(SECRET, &params, &Patch::Merge(&without)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            patched => patched.map(drop).map_err(|error| self.error(error)),
        }
    }
}

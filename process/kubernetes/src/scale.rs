//! Replicas of Deployments, through their `scale` subresource.
//!
//! Every write carries its own condition, a JSON Patch `test` on the replicas it starts from, so it
//! changes nothing once somebody else has scaled.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::Status,
};
use serde_json::{Value, json};

/// Reads and writes replicas under the name of one field manager.
#[derive(Clone)]
pub struct Scales {
    client: Client,
    params: PatchParams,
}

/// A Deployment's `scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Replicas there should be.
    pub wanted: u32,
    /// Pods there are, whether ready or not; those that end do not count.
    pub pods: u32,
}

/// Why replicas could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// There is no Deployment of that name.
    #[error("it does not exist")]
    NotFound,
    /// The account may not, or a policy refuses this change. The API server's words.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// The API server failed or could not be reached.
    #[error(transparent)]
    Api(kube::Error),
}

impl Scales {
    /// Writes as `field_manager`. The client's account needs `get` and `patch` on `deployments/scale`,
    /// or `patch` alone where nothing is read.
    pub fn new(client: Client, field_manager: &str) -> Self {
        let params =
            PatchParams { field_manager: Some(field_manager.to_owned()), ..PatchParams::default() };
        Self { client, params }
    }

    /// The same, but nothing is changed: the API server only says whether it would be.
    pub fn dry_run(&self) -> Self {
        let params = PatchParams { dry_run: true, ..self.params.clone() };
        Self { client: self.client.clone(), params }
    }

    /// Reads the replicas of a Deployment.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn read(&self, namespace: &str, name: &str) -> Result<Scale, ScaleError> {
        let scale = self.deployments(namespace).get_scale(name).await.map_err(error)?;
        let count = |number: Option<i32>| number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        Ok(Scale {
            wanted: count(scale.spec.and_then(|spec| spec.replicas)),
            pods: count(scale.status.map(|status| status.replicas)),
        })
    }

    /// Sets the replicas of a Deployment that has `from`; false when it has another number by now.
    ///
    /// A Scale at zero has no `spec.replicas` in JSON (the field is `omitempty`), so the condition
    /// that holds there is `test … null`; `test … 0` never does. Should an API server write the zero
    /// out, the first patch fails its test, and the second one tells that from a Deployment that
    /// moved.
    ///
    /// # Errors
    /// When they cannot be written.
    pub async fn set(
        &self,
        namespace: &str,
        name: &str,
        from: u32,
        to: u32,
    ) -> Result<bool, ScaleError> {
        let deployments = self.deployments(namespace);
        let at_zero = (from == 0).then_some(Value::Null);
        for before in at_zero.into_iter().chain([json!(from)]) {
            let operations = json!([
                { "op": "test", "path": "/spec/replicas", "value": before },
                { "op": "add", "path": "/spec/replicas", "value": to },
            ]);
            let operations = serde_json::from_value(operations)
                .map_err(|error| ScaleError::Api(kube::Error::SerdeError(error)))?;
            let patch = Patch::Json::<()>(operations);
            match deployments.patch_scale(name, &self.params, &patch).await {
                Ok(_) => return Ok(true),
                Err(kube::Error::Api(status)) if is_failed_test(&status) => {}
                Err(other) => return Err(error(other)),
            }
        }
        Ok(false)
    }

    fn deployments(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

fn error(error: kube::Error) -> ScaleError {
    match error {
        kube::Error::Api(status) if status.code == 404 => ScaleError::NotFound,
        kube::Error::Api(status) if matches!(status.code, 401 | 403 | 422) => {
            ScaleError::Forbidden(status.message)
        }
        error => ScaleError::Api(error),
    }
}

/// A patch whose `test` failed is answered 422 without a word about the object, whereas a
/// validation error or a policy's refusal, also 422, names it.
fn is_failed_test(status: &Status) -> bool {
    let names_object = |details: &kube::core::response::StatusDetails| {
        !details.name.is_empty() || !details.kind.is_empty() || !details.causes.is_empty()
    };
    status.code == 422 && !status.details.as_ref().is_some_and(names_object)
}

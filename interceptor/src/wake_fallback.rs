//! The second wake path: 0 to n without KEDA.
//!
//! Patches `deployments/<name>/scale` when the wake queue decides that nothing else moves. It can
//! only ever lift a function off zero: the patch carries its own condition, so it changes nothing
//! once somebody else has scaled, and it never scales down. Deciding when is not its business.

use std::time::Duration;

use futures_util::future::BoxFuture;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::Status,
};
use serde_json::{Value, json};

use crate::source::{FunctionId, SourceError, Wake, WakeFallback};

/// Default bound on one wake, retries of the client included. The caller asks again while requests
/// wait.
const WAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Name under which our changes are recorded.
const FIELD_MANAGER: &str = "kipper-interceptor";

/// Why a function could not be woken.
#[derive(Debug, thiserror::Error)]
pub enum WakeFallbackError {
    /// There is no Deployment of that name.
    #[error("deployment {0} does not exist")]
    NotFound(FunctionId),
    /// The interceptor's account may not scale it, or a policy refuses this change.
    #[error("scaling deployment {id} is not allowed: {reason}")]
    Forbidden {
        /// The function.
        id: FunctionId,
        /// The API server's words.
        reason: String,
    },
    /// No answer within the bound.
    #[error("scaling deployment {0} took too long")]
    Timeout(FunctionId),
    /// The API server failed or could not be reached.
    #[error("scaling deployment {id} failed")]
    Api {
        /// The function.
        id: FunctionId,
        /// What happened.
        source: kube::Error,
    },
}

impl From<WakeFallbackError> for SourceError {
    fn from(error: WakeFallbackError) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

/// Wakes functions through their Deployment's scale.
#[derive(Clone)]
pub struct DeploymentScale {
    client: Client,
    timeout: Duration,
}

impl DeploymentScale {
    /// A fallback that uses `client`, whose account needs `patch` on `deployments/scale`.
    pub fn new(client: Client) -> Self {
        Self { client, timeout: WAKE_TIMEOUT }
    }

    /// The same with another bound on one wake.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl WakeFallback for DeploymentScale {
    fn wake(&self, id: FunctionId, replicas: u32) -> BoxFuture<'static, Result<Wake, SourceError>> {
        let deployments = Api::namespaced(self.client.clone(), &id.namespace);
        let timeout = self.timeout;
        Box::pin(async move {
            let patched =
                tokio::time::timeout(timeout, scale_from_zero(&deployments, &id, replicas));
            Ok(patched.await.unwrap_or_else(|_| Err(WakeFallbackError::Timeout(id.clone())))?)
        })
    }
}

/// Scales from zero to `replicas`, at least one; does nothing when it is not at zero.
///
/// A Scale at zero has no `spec.replicas` in JSON (the field is `omitempty`), so the condition that
/// holds there is `test … null`; `test … 0` never does. Should an API server write the zero out,
/// the first patch fails its test, and the second one tells that from a function that moved.
async fn scale_from_zero(
    deployments: &Api<Deployment>,
    id: &FunctionId,
    replicas: u32,
) -> Result<Wake, WakeFallbackError> {
    let params =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    for zero in [Value::Null, json!(0)] {
        let operations = json!([
            { "op": "test", "path": "/spec/replicas", "value": zero },
            { "op": "add", "path": "/spec/replicas", "value": replicas.max(1) },
        ]);
        let failed = |source| WakeFallbackError::Api { id: id.clone(), source };
        let operations = serde_json::from_value(operations)
            .map_err(|error| failed(kube::Error::SerdeError(error)))?;
        match deployments.patch_scale(&id.name, &params, &Patch::Json::<()>(operations)).await {
            Ok(_) => return Ok(Wake::Scaled),
            Err(kube::Error::Api(status)) if is_failed_test(&status) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(WakeFallbackError::NotFound(id.clone()));
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403 | 422) => {
                return Err(WakeFallbackError::Forbidden {
                    id: id.clone(),
                    reason: status.message,
                });
            }
            Err(source) => return Err(failed(source)),
        }
    }
    Ok(Wake::Awake)
}

/// A patch whose `test` failed is answered 422 without a word about the object, whereas a
/// validation error or a policy's refusal, also 422, names it.
fn is_failed_test(status: &Status) -> bool {
    let names_object = |details: &kube::core::response::StatusDetails| {
        !details.name.is_empty() || !details.kind.is_empty() || !details.causes.is_empty()
    };
    status.code == 422 && !status.details.as_ref().is_some_and(names_object)
}

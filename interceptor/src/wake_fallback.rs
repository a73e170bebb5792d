//! The second wake path: 0 to n without KEDA.
//!
//! Patches `deployments/<name>/scale` when the wake queue decides that nothing else moves. It can
//! only ever lift a function off zero: the patch carries its own condition, so it changes nothing
//! once somebody else has scaled, and it never scales down. Deciding when is not its business.

use std::time::Duration;

use futures_util::future::BoxFuture;
use kipper_kubernetes::{ScaleError, Scales};
use kube::Client;

use crate::source::{FunctionId, SourceError, Wake, WakeFallback};

/// Default bound on one wake, retries of the client included. The caller asks again while requests
/// wait.
const WAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Name under which our changes are recorded.
const FIELD_MANAGER: &str = "kipper-interceptor";

/// Why a function could not be woken.
#[derive(Debug, thiserror::Error)]
pub enum WakeFallbackError {
    /// It could not be scaled.
    #[error("scaling deployment {id} failed: {source}")]
    Scale {
        /// The function.
        id: FunctionId,
        /// What happened.
        source: ScaleError,
    },
    /// No answer within the bound.
    #[error("scaling deployment {0} took too long")]
    Timeout(FunctionId),
}

impl From<WakeFallbackError> for SourceError {
    fn from(error: WakeFallbackError) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

/// Wakes functions through their Deployment's scale.
#[derive(Clone)]
pub struct DeploymentScale {
    scales: Scales,
    timeout: Duration,
}

impl DeploymentScale {
    /// A fallback that uses `client`, whose account needs `patch` on `deployments/scale`.
    pub fn new(client: Client) -> Self {
        Self { scales: Scales::new(client, FIELD_MANAGER), timeout: WAKE_TIMEOUT }
    }

    /// The same with another bound on one wake.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl WakeFallback for DeploymentScale {
    fn wake(&self, id: FunctionId, replicas: u32) -> BoxFuture<'static, Result<Wake, SourceError>> {
        let Self { scales, timeout } = self.clone();
        Box::pin(async move {
            let scaling = scales.set(&id.namespace, &id.name, 0, replicas.max(1));
            match tokio::time::timeout(timeout, scaling).await {
                Ok(Ok(true)) => Ok(Wake::Scaled),
                Ok(Ok(false)) => Ok(Wake::Awake),
                Ok(Err(source)) => Err(WakeFallbackError::Scale { id, source }.into()),
                Err(_) => Err(WakeFallbackError::Timeout(id).into()),
            }
        })
    }
}

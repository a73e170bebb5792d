//! What becomes of a Function after it was written: observed, ready, awake, gone.
//!
//! A Function is watched, never polled. Ready alone proves little at zero replicas, so [`woken`]
//! also sends one request the way users' requests go and takes an answer of the function itself.

mod awake;

use std::fmt::Debug;

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kipper_function::{
    Function,
    names::{self, condition::READY},
};
use kipper_kubernetes::states as follow;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::{
    ApiError, Connection,
    error::is_lasting,
    functions::{Functions, what},
};

pub use awake::{Woken, rolled_out, woken};

/// Reasons that no waiting helps against: the Function itself has to change, or what it meets with.
const FINAL: [&str; 8] = [
    "EnvironmentClash",
    "HostInvalid",
    "HostTaken",
    "Invalid",
    "NameTaken",
    "NamespaceDenied",
    "TriggerInvalid",
    "TriggerRefused",
];

/// Where a Function stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The controller has not looked at the present spec.
    NotObserved,
    /// It cannot run now.
    NotReady {
        /// One word.
        reason: String,
        /// The rest, as a sentence.
        message: String,
    },
    /// Everything declared is in place.
    Ready,
}

impl Stage {
    /// Whether waiting cannot help.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::NotReady { reason, .. } if FINAL.contains(&reason.as_str()))
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotObserved => f.write_str("the controller has not looked at it yet"),
            Self::NotReady { reason, message } if message.is_empty() => f.write_str(reason),
            Self::NotReady { reason, message } => write!(f, "{reason}: {message}"),
            Self::Ready => f.write_str("ready"),
        }
    }
}

/// Why a Function did not become what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The cluster said no.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// It cannot become ready.
    #[error("function {name} is not ready: {stage}")]
    Broken {
        /// The function.
        name: String,
        /// Where it stands.
        stage: Stage,
    },
    /// Time is up.
    #[error("function {name} did not get ready in time: {last}")]
    TooLate {
        /// The function.
        name: String,
        /// What was seen last.
        last: String,
    },
    /// It is being deleted, or gone.
    #[error("function {0} was deleted")]
    Deleted(String),
}

/// Where a Function stands with the spec of `generation`.
pub fn stage(function: &Function, generation: i64) -> Stage {
    let Some(status) = &function.status else { return Stage::NotObserved };
    if status.observed_generation.is_none_or(|observed| observed < generation) {
        return Stage::NotObserved;
    }
    match status.condition(READY) {
        Some(ready) if ready.status == "True" => Stage::Ready,
        Some(ready) => {
            Stage::NotReady { reason: ready.reason.clone(), message: ready.message.clone() }
        }
        None => Stage::NotObserved,
    }
}

/// Each state of a Function from now on; `None` where there is none.
fn states(
    functions: &Functions,
    name: &str,
) -> impl Stream<Item = Result<Option<Function>, ApiError>> + use<> {
    watched(functions.watched(), name, what(name), functions.namespace().to_owned())
}

/// Each state of an object from now on; `None` where there is none.
fn watched<K>(
    api: Api<K>,
    name: &str,
    what: String,
    namespace: String,
) -> impl Stream<Item = Result<Option<K>, ApiError>> + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    follow(api, name, is_lasting)
        .map(move |seen| seen.map_err(|error| ApiError::read(error, &what, &namespace)))
}

/// The Function once the controller has looked at the spec of its generation; `None` if it has not
/// until `deadline`.
///
/// # Errors
/// When it cannot be watched, or is deleted.
pub async fn observed(
    functions: &Functions,
    function: &Function,
    deadline: Instant,
) -> Result<Option<Function>, WaitError> {
    let generation = function.metadata.generation.unwrap_or_default();
    let holds = |f: &Function| stage(f, generation) != Stage::NotObserved;
    match until(functions, &function.name_any(), deadline, holds).await {
        Err(WaitError::TooLate { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// The Function once it is ready. `tell` hears of every other stage.
///
/// # Errors
/// When it is not until `deadline`, or cannot become so.
pub async fn ready(
    functions: &Functions,
    function: &Function,
    deadline: Instant,
    mut tell: impl FnMut(&Stage),
) -> Result<Function, WaitError> {
    let name = function.name_any();
    let generation = function.metadata.generation.unwrap_or_default();
    let mut last = Stage::NotObserved;
    let found = until(functions, &name, deadline, |f| {
        let now = stage(f, generation);
        if now != last && now != Stage::Ready {
            tell(&now);
        }
        last = now;
        last == Stage::Ready || last.is_final()
    })
    .await;
    match found {
        Ok(_) if last != Stage::Ready => Err(WaitError::Broken { name, stage: last }),
        Err(WaitError::TooLate { name, .. }) => {
            Err(WaitError::TooLate { name, last: last.to_string() })
        }
        other => other,
    }
}

/// The Function once `holds`.
async fn until(
    functions: &Functions,
    name: &str,
    deadline: Instant,
    mut holds: impl FnMut(&Function) -> bool,
) -> Result<Function, WaitError> {
    let mut states = Box::pin(states(functions, name));
    loop {
        let late = |_| WaitError::TooLate { name: name.to_owned(), last: String::new() };
        // The stream of a watch has no end.
        let Some(state) = timeout_at(deadline, states.next()).await.map_err(late)? else {
            return Err(WaitError::Deleted(name.to_owned()));
        };
        match state? {
            Some(function) if function.metadata.deletion_timestamp.is_some() => {
                return Err(WaitError::Deleted(name.to_owned()));
            }
            Some(function) if holds(&function) => return Ok(function),
            Some(_) => {}
            None => return Err(WaitError::Deleted(name.to_owned())),
        }
    }
}

/// Waits until a Function that was deleted is gone; false if it is still there at `deadline`.
///
/// # Errors
/// When it cannot be watched.
pub async fn gone(
    functions: &Functions,
    name: &str,
    uid: &str,
    deadline: Instant,
) -> Result<bool, ApiError> {
    ended(states(functions, name), uid, deadline).await
}

/// Waits until a volume that was deleted is gone; false if it is still there at `deadline`, as it is
/// while a pod mounts it.
///
/// # Errors
/// When it cannot be watched.
pub async fn volume_gone(
    connection: &Connection,
    name: &str,
    uid: &str,
    deadline: Instant,
) -> Result<bool, ApiError> {
    let namespace = connection.namespace.clone();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(connection.streams.clone(), &namespace);
    let claim = names::volume_claim(name);
    ended(watched(api, &claim, format!("volume {name}"), namespace), uid, deadline).await
}

/// Whether the object with this uid comes to its end until `deadline`.
async fn ended<K: Resource>(
    states: impl Stream<Item = Result<Option<K>, ApiError>>,
    uid: &str,
    deadline: Instant,
) -> Result<bool, ApiError> {
    let mut states = std::pin::pin!(states);
    loop {
        let Ok(state) = timeout_at(deadline, states.next()).await else { return Ok(false) };
        match state.transpose()?.flatten() {
            Some(object) if object.meta().uid.as_deref() == Some(uid) => {}
            _ => return Ok(true),
        }
    }
}

/// Waits until a Function is as `holds` says; false if it is not until `deadline`.
///
/// # Errors
/// When it cannot be watched, or is deleted.
pub async fn told_by_status(
    functions: &Functions,
    name: &str,
    deadline: Instant,
    holds: impl Fn(&Function) -> bool,
) -> Result<bool, WaitError> {
    match until(functions, name, deadline, holds).await {
        Ok(_) => Ok(true),
        Err(WaitError::TooLate { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use kipper_function::{FunctionSpec, FunctionStatus};
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(status: Value, expected: &str, is_final: bool) {
        let mut function = Function::new("f", FunctionSpec::default());
        function.status = serde_json::from_value::<FunctionStatus>(status).ok();
        let stage = stage(&function, 2);
        assert_eq!((stage.to_string().as_str(), stage.is_final()), (expected, is_final));
    }

    #[test]
    fn a_stage_is_that_of_the_present_spec() {
        let ready = |status: &str, reason: &str, message: &str| {
            json!([{
                "type": "Ready", "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }])
        };
        let told = |generation: i64, conditions: Value| json!({ "observedGeneration": generation, "conditions": conditions });
        let unknown = "the controller has not looked at it yet";
        check(json!(null), unknown, false);
        check(json!({}), unknown, false);
        check(told(1, ready("True", "Reconciled", "")), unknown, false);
        check(told(2, ready("True", "Reconciled", "")), "ready", false);
        check(told(2, ready("False", "HostTaken", "it is b/f")), "HostTaken: it is b/f", true);
        check(told(2, ready("False", "ServiceNotFound", "")), "ServiceNotFound", false);
    }
}

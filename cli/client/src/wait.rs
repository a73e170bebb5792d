//! What becomes of a Function after it was written: observed, ready, awake, gone.
//!
//! A Function is watched, never polled. Ready alone proves little at zero replicas, so [`woken`]
//! also sends one request the way users' requests go and takes an answer of the function itself.

mod stage;

mod error;

mod states;

mod awake;

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kipper_function::{Function, names};
use kube::{Api, Resource, ResourceExt as _};
use tokio::time::{Instant, timeout_at};

use crate::{ApiError, Connection, error::Patience, functions::Functions};

pub use awake::{Woken, rolled_out, woken};
pub use error::WaitError;
pub use stage::{Stage, stage};
pub use states::states;
use states::watched;

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

/// Ends once pods of the function fail and none serves, and says why. It may never end, so it is for
/// waiting beside something else; who may not watch Functions waits for the other thing alone.
pub async fn hopeless(functions: &Functions, name: &str) -> WaitError {
    let cause = |now: &Function| {
        let name = name.to_owned();
        cannot_start(now).map(|stage| WaitError::CannotStart { name, stage })
    };
    known(functions, name, cause).await
}

/// The same for a function that cannot become ready with its present spec, whatever pods serve.
pub async fn broken(functions: &Functions, function: &Function) -> WaitError {
    let name = function.name_any();
    let generation = function.metadata.generation.unwrap_or_default();
    let cause = |now: &Function| {
        let (name, stage) = (name.clone(), stage(now, generation));
        stage.is_final().then_some(WaitError::Broken { name, stage })
    };
    known(functions, &name, cause).await
}

/// The cause, as soon as a state of the Function has one.
async fn known(
    functions: &Functions,
    name: &str,
    cause: impl Fn(&Function) -> Option<WaitError>,
) -> WaitError {
    let mut states = Box::pin(states(functions, name, Patience::Endless));
    while let Some(Ok(Some(now))) = states.next().await {
        if let Some(cause) = cause(&now) {
            return cause;
        }
    }
    std::future::pending().await
}

/// Why the pods that a function has now do not get ready, if they fail for good.
fn cannot_start(function: &Function) -> Option<Stage> {
    let status = function.status.as_ref()?;
    let serves = status.replicas.unwrap_or(0) > 0;
    let stage = stage(function, function.metadata.generation.unwrap_or_default());
    (status.failing_since.is_some() && !serves && stage.is_final()).then_some(stage)
}

/// The Function once `holds`.
async fn until(
    functions: &Functions,
    name: &str,
    deadline: Instant,
    mut holds: impl FnMut(&Function) -> bool,
) -> Result<Function, WaitError> {
    let mut states = Box::pin(states(functions, name, Patience::Endless));
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
    ended(states(functions, name, Patience::Endless), uid, deadline).await
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
    ended(
        watched(api, &claim, format!("volume {name}"), namespace, Patience::Endless),
        uid,
        deadline,
    )
    .await
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
    use kipper_function::FunctionSpec;
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_that_are_gone_or_serve_are_no_reason_to_give_up() {
        let check = |failing: bool, replicas: i32, reason: &str, expected: bool| {
            let mut function = Function::new("f", FunctionSpec::default());
            function.metadata.generation = Some(1);
            let mut status = json!({
                "observedGeneration": 1, "replicas": replicas,
                "conditions": [{
                    "type": "Ready", "status": "False", "reason": reason, "message": "m",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            });
            if failing {
                status["failingSince"] = "2026-01-01T00:00:00Z".into();
            }
            function.status = serde_json::from_value(status).ok();
            let found = cannot_start(&function);
            assert_eq!(found.is_some(), expected, "{failing} {replicas} {reason}");
        };
        check(true, 0, "ContainerCrashed", true);
        check(true, 0, "ImagePullFailed", true);
        check(true, 1, "ContainerCrashed", false);
        check(false, 0, "ContainerCrashed", false);
        check(true, 0, "Unschedulable", false);
        check(true, 0, "NotListening", false);
    }
}

//! Whether a function that is ready also answers: its new pods have taken over, and one request that
//! goes the way users' requests go comes back.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::{Method, StatusCode};
use k8s_openapi::api::apps::v1::Deployment;
use kipper_function::{Function, function::effective::Readiness, names::RESTARTED_AT};
use kube::{Api, ResourceExt as _};
use tokio::time::{Instant, timeout_at};

use crate::{
    ApiError, Connection,
    error::Patience,
    functions::Functions,
    invoke::{self, Gateway, InvokeError, Request},
};

use super::{
    error::WaitError,
    stage::{Stage, stage},
    states::{states, watched},
};

/// Between two requests that no function answered.
const RETRY_PERIOD: Duration = Duration::from_millis(250);
/// Longest answer that is read when a wake is tried.
const MAX_ANSWER: usize = 64 << 10;

/// Waits until every pod that serves a function is one of its present spec, and was started after its
/// last restart was asked for; false if some are not at `deadline`. Who may not look at Deployments does not wait.
///
/// # Errors
/// When the Deployment cannot be watched.
pub async fn rolled_out(
    connection: &Connection,
    function: &Function,
    deadline: Instant,
) -> Result<bool, ApiError> {
    let name = &function.name_any();
    let namespace = connection.namespace.clone();
    let api: Api<Deployment> = Api::namespaced(connection.streams.clone(), &namespace);
    let mut states =
        Box::pin(watched(api, name, format!("deployment {name}"), namespace, Patience::Endless));
    loop {
        let Ok(state) = timeout_at(deadline, states.next()).await else { return Ok(false) };
        let state = match state.transpose() {
            Err(ApiError::Forbidden(_)) => return Ok(true),
            other => other?.flatten(),
        };
        if state.as_ref().is_none_or(|found| is_restarted(found, function) && is_rolled_out(found))
        {
            return Ok(true);
        }
    }
}

/// Whether the controller has taken up the last restart that was asked for.
fn is_restarted(deployment: &Deployment, function: &Function) -> bool {
    let Some(asked) = function.annotations().get(RESTARTED_AT) else { return true };
    let spec = deployment.spec.as_ref();
    let meta = spec.and_then(|spec| spec.template.metadata.as_ref());
    let annotations = meta.and_then(|meta| meta.annotations.as_ref());
    annotations.and_then(|all| all.get(RESTARTED_AT)) == Some(asked)
}

/// As `kubectl rollout status` sees it.
fn is_rolled_out(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let count = |replicas: Option<i32>| replicas.unwrap_or(0);
    status.observed_generation >= deployment.metadata.generation
        && count(status.updated_replicas) >= wanted
        && count(status.replicas) <= count(status.updated_replicas)
        && count(status.available_replicas) >= count(status.updated_replicas)
}

/// An answer that shows a function awake.
#[derive(Clone, Debug)]
pub struct Woken {
    /// Its status.
    pub status: StatusCode,
    /// How long it took, its wake included.
    pub took: Duration,
    /// The phases of a cold start.
    pub phases: Vec<invoke::Phase>,
}

/// Sends a ready function one request by `gateway`, again and again until the function answers. What
/// it answers is its own business; what the interceptor answers for it is not an answer.
///
/// # Errors
/// When it does not until `deadline`.
pub async fn woken(
    functions: &Functions,
    function: &Function,
    gateway: &Gateway,
    deadline: Instant,
    mut tell: impl FnMut(&str),
) -> Result<Woken, WaitError> {
    let name = function.name_any();
    let endpoint = function.status.as_ref().and_then(|status| status.endpoint.clone());
    let endpoint = endpoint.unwrap_or_default();
    // The runtimes answer their readiness themselves, so that no handler runs.
    let readiness = function.spec.readiness();
    let path = match readiness {
        Readiness::Http(path) => path,
        Readiness::Tcp => "/",
    };
    let generation = function.metadata.generation.unwrap_or_default();
    let mut states = Box::pin(states(functions, &name, Patience::Endless));
    let mut last = String::new();
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(WaitError::TooLate { name, last });
        }
        let request = Request { timeout: rest, ..Request::new(Method::GET, path) };
        let mut attempt = Box::pin(wake_once(gateway, &endpoint, readiness, &request));
        let answer = loop {
            tokio::select! {
                answer = &mut attempt => break answer,
                // Why it does not answer is what its pods say.
                Some(Ok(Some(now))) = states.next() => match stage(&now, generation) {
                    Stage::Ready => {}
                    stage if stage.is_final() => return Err(WaitError::Broken { name, stage }),
                    stage => tell(&stage.to_string()),
                },
            }
        };
        match answer {
            Ok(Ok(woken)) => return Ok(woken),
            Ok(Err(refusal)) => last = refusal,
            Err(error) => last = error.to_string(),
        }
        match stage(&functions.get(&name).await?, generation) {
            Stage::Ready => {}
            stage => last = stage.to_string(),
        }
        tell(&last);
        tokio::time::sleep_until(deadline.min(Instant::now() + RETRY_PERIOD)).await;
    }
}

/// The answer, or in words why it shows nothing.
async fn wake_once(
    gateway: &Gateway,
    endpoint: &str,
    readiness: Readiness<'_>,
    request: &Request,
) -> Result<Result<Woken, String>, InvokeError> {
    let mut answer = invoke::send(gateway, endpoint, request).await?;
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER
        && let Some(chunk) = answer.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    let (status, headers) = (answer.status, &answer.headers);
    if let Some(refusal) = invoke::refusal(status, headers, &body) {
        return Ok(Err(refusal.error));
    }
    // What is ready answers so, and an ingress that knows no such host yet does not.
    let is_ready = status.is_success() || status.is_redirection();
    if matches!(readiness, Readiness::Http(_)) && !is_ready {
        return Ok(Err(format!("{} answers {status}", request.path)));
    }
    Ok(Ok(Woken { status, took: answer.took, phases: std::mem::take(&mut answer.phases) }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_restart_has_to_be_taken_up() {
        let check = |asked: Option<&str>, template: Option<&str>, expected: bool| {
            let annotations = |time: Option<&str>| time.map(|time| json!({ RESTARTED_AT: time }));
            let function: Function = serde_json::from_value(json!({
                "apiVersion": "kipper.run/v1alpha1", "kind": "Function", "spec": {},
                "metadata": { "name": "f", "annotations": annotations(asked) },
            }))
            .unwrap_or_else(|error| panic!("{error}"));
            let template = json!({ "metadata": { "annotations": annotations(template) } });
            let deployment = json!({ "spec": { "selector": {}, "template": template } });
            let deployment: Deployment = serde_json::from_value(deployment).unwrap_or_default();
            assert_eq!(is_restarted(&deployment, &function), expected, "{asked:?}");
        };
        check(None, None, true);
        check(Some("10:00"), None, false);
        check(Some("10:00"), Some("09:00"), false);
        check(Some("10:00"), Some("10:00"), true);
        // Its controller has the rest of the change still to make, which the rollout tells.
        check(None, Some("10:00"), true);
    }

    #[test]
    fn a_rollout_ends_with_the_last_old_pod() {
        let check = |generation: i64, replicas: i32, status: Value, expected: bool| {
            let deployment = json!({
                "metadata": { "generation": generation },
                "spec": {
                    "replicas": replicas, "selector": {}, "template": {},
                },
                "status": status,
            });
            let deployment: Deployment = serde_json::from_value(deployment).unwrap_or_default();
            assert_eq!(is_rolled_out(&deployment), expected, "{deployment:?}");
        };
        let status = |observed: i64, all: i32, updated: i32, available: i32| {
            json!({
                "observedGeneration": observed, "replicas": all, "updatedReplicas": updated,
                "availableReplicas": available,
            })
        };
        check(2, 0, status(2, 0, 0, 0), true);
        check(2, 1, status(2, 1, 1, 1), true);
        check(2, 1, status(1, 1, 1, 1), false);
        check(2, 1, status(2, 2, 1, 1), false);
        check(2, 1, status(2, 1, 1, 0), false);
        check(2, 2, status(2, 1, 1, 1), false);
        check(2, 1, json!(null), false);
    }
}

//! Which containers of a pod have something to say. Pure.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use kipper_function::names;

/// A container of a pod that is read.
pub(super) struct Container {
    pub(super) name: String,
    pub(super) run: Run,
}

/// Whether a container has run.
pub(super) enum Run {
    /// So often was it started again.
    Started(i32),
    /// Not yet, and why.
    Waiting(String),
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Started(restarts) => write!(f, "restarted {restarts} times"),
            Self::Waiting(reason) => write!(f, "not started: {reason}"),
        }
    }
}

/// The function's container and its poller's.
pub(super) fn containers(pod: &Pod) -> Vec<Container> {
    let status = pod.status.as_ref();
    let own = status.and_then(|status| status.container_statuses.as_deref());
    let init = status.and_then(|status| status.init_container_statuses.as_deref());
    let all = own.unwrap_or_default().iter().chain(init.unwrap_or_default());
    let read = all.filter(|c| [names::CONTAINER, names::POLLER_CONTAINER].contains(&&*c.name));
    read.map(|status| Container { name: status.name.clone(), run: run(status) }).collect()
}

fn run(status: &ContainerStatus) -> Run {
    let has_run = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
    let ran = status.state.iter().chain(&status.last_state).any(has_run);
    if ran {
        return Run::Started(status.restart_count);
    }
    let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.clone());
    let message = waiting.and_then(|waiting| waiting.message.clone());
    let reason = reason.unwrap_or_else(|| "ContainerCreating".to_owned());
    Run::Waiting(message.map(|message| format!("{reason}: {message}")).unwrap_or(reason))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_has_run_has_lines() {
        let pod = |state: serde_json::Value, last: serde_json::Value| -> Pod {
            let container = |name: &str| {
                json!({
                    "name": name, "ready": false, "restartCount": 3, "image": "", "imageID": "",
                    "state": state, "lastState": last,
                })
            };
            let statuses = [container("function"), container("istio-proxy")];
            serde_json::from_value(json!({
                "metadata": { "name": "p" },
                "status": { "containerStatuses": statuses },
            }))
            .unwrap()
        };
        let reported = |pod: Pod| {
            let all: Vec<_> = containers(&pod).into_iter().map(|c| c.run.to_string()).collect();
            all.join(", ")
        };
        let waiting =
            json!({ "waiting": { "reason": "ErrImagePull", "message": "no such image" } });
        assert_eq!(
            reported(pod(waiting.clone(), json!({}))),
            "not started: ErrImagePull: no such image"
        );
        let ended = json!({ "terminated": { "exitCode": 1 } });
        assert_eq!(reported(pod(waiting, ended)), "restarted 3 times");
        assert_eq!(reported(pod(json!({}), json!({}))), "not started: ContainerCreating");
        assert_eq!(reported(pod(json!({ "running": {} }), json!({}))), "restarted 3 times");
    }
}

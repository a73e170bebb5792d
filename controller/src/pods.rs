//! Why a pod does not serve, read from its status. Pure.

use k8s_openapi::{
    api::core::v1::{ContainerState, ContainerStatus, Pod as PodObject},
    jiff::Timestamp,
};
use kipper_api::names;

use crate::cache::{Failure, Key, Pod};

/// Longest part of a container's last words in a condition, in characters.
const MAX_MESSAGE: usize = 800;

/// The row of a pod; `None` for one that is no function's, or is on its way out.
pub(crate) fn reduce(pod: &PodObject) -> Option<Pod> {
    let labels = pod.metadata.labels.as_ref()?;
    if labels.get(names::RESOURCE_TYPE).map(String::as_str) != Some(names::FUNCTION)
        || pod.metadata.deletion_timestamp.is_some()
    {
        return None;
    }
    let function = Key::new(pod.metadata.namespace.clone()?, labels.get(names::APP)?.clone());
    let status = pod.status.as_ref();
    let is = |type_: &str| {
        let conditions = status.and_then(|status| status.conditions.as_ref());
        conditions.and_then(|all| all.iter().find(|c| c.type_ == type_))
    };
    let ready = is("Ready").is_some_and(|c| c.status == "True");
    let unready = is("Ready").and_then(|c| c.last_transition_time.as_ref()).map(|time| time.0);
    let containers = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let failure = containers.iter().find_map(container_failure).or_else(|| {
        let scheduled = is("PodScheduled").filter(|c| c.status == "False")?;
        let message = scheduled.message.clone().unwrap_or_default();
        Some(Failure { reason: "Unschedulable", message: clipped(&message) })
    });
    let started = containers.iter().filter_map(running_since).max();
    Some(Pod {
        function,
        server: labels.get(names::COMPONENT).map(String::as_str) == Some(names::SERVER),
        created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        ready,
        // One that answered before is silent since it ceased to, not since it started.
        silent_since: started
            .filter(|_| !ready)
            .map(|started| unready.map_or(started, |since| since.max(started))),
        failure,
    })
}

fn running_since(container: &ContainerStatus) -> Option<Timestamp> {
    let running = container.state.as_ref()?.running.as_ref()?;
    running.started_at.as_ref().map(|time| time.0)
}

/// What is wrong with a container that waits or ended.
fn container_failure(container: &ContainerStatus) -> Option<Failure> {
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let message = waiting.message.clone().unwrap_or_default();
        let reason = match waiting.reason.as_deref()? {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "RegistryUnavailable"
            | "ImageInspectError" => "ImagePullFailed",
            "CrashLoopBackOff" => {
                let last = container.last_state.as_ref();
                return last
                    .and_then(ended)
                    .or(Some(Failure { reason: "ContainerCrashed", message: clipped(&message) }));
            }
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "StartError" => "ContainerNotStarted",
            // ContainerCreating, PodInitializing: on its way.
            _ => return None,
        };
        return Some(Failure { reason, message: clipped(&message) });
    }
    ended(state)
}

/// A container that ended other than well.
fn ended(state: &ContainerState) -> Option<Failure> {
    let terminated = state.terminated.as_ref()?;
    if terminated.exit_code == 0 && terminated.reason.as_deref() != Some("OOMKilled") {
        return None;
    }
    let words = terminated.message.as_deref().unwrap_or_default().trim();
    let how = match (terminated.reason.as_deref(), terminated.signal) {
        (Some("OOMKilled"), _) => {
            return Some(Failure {
                reason: "OutOfMemory",
                message: "the container exceeded its memory limit".to_owned(),
            });
        }
        (_, Some(signal)) if signal != 0 => format!("killed by signal {signal}"),
        _ => format!("exit code {}", terminated.exit_code),
    };
    let message = if words.is_empty() { how } else { format!("{how}: {}", clipped(words)) };
    Some(Failure { reason: "ContainerCrashed", message })
}

/// What our runtimes begin their own lines with.
const RUNTIME_LINE: &str = "kipper: ";

/// The part of a text that says why: what a runtime said last, else the end.
fn clipped(text: &str) -> String {
    let text = text.trim();
    let over = text.chars().count().saturating_sub(MAX_MESSAGE);
    if over == 0 {
        return text.to_owned();
    }
    let line = text.rfind(&format!("\n{RUNTIME_LINE}")).map(|newline| newline + 1);
    if let Some(said) = line.or_else(|| text.starts_with(RUNTIME_LINE).then_some(0)) {
        let said = &text[said..];
        return match said.char_indices().nth(MAX_MESSAGE) {
            Some((end, _)) => format!("{}…", &said[..end]),
            None => said.to_owned(),
        };
    }
    let tail: String = text.chars().skip(over).collect();
    format!("…{tail}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Since when a pod whose container started at 10:00:00 is silent, by the status of `Ready` and
    /// the minute since which it has it.
    #[track_caller]
    fn check(ready: &str, since: &str, expected: Option<&str>) {
        let at = |minute: &str| format!("2026-01-01T{minute}:00Z");
        let pod = json!({
            "metadata": {
                "namespace": "shop-dev",
                "labels": { names::RESOURCE_TYPE: names::FUNCTION, names::APP: "f" },
            },
            "status": {
                "conditions": [
                    { "type": "Ready", "status": ready, "lastTransitionTime": at(since) },
                ],
                "containerStatuses": [{
                    "name": "function", "image": "", "imageID": "", "restartCount": 0,
                    "ready": ready == "True",
                    "state": { "running": { "startedAt": at("10:00") } },
                }],
            },
        });
        let pod = reduce(&serde_json::from_value(pod).unwrap()).unwrap();
        assert_eq!(pod.silent_since, expected.map(|minute| at(minute).parse().unwrap()));
    }

    #[test]
    fn long_words_keep_the_part_that_says_why() {
        let long = "x".repeat(MAX_MESSAGE);
        assert_eq!(clipped(&long), long);
        assert_eq!(clipped(&format!("a\n{long}")), format!("…{long}"));
        let why = "kipper: cannot load the function: npm install failed: ";
        let said = clipped(&format!("kipper: installing 1 packages with npm\n{why}{long}"));
        assert!(said.starts_with(why) && said.ends_with("x…"), "{said}");
        assert_eq!(said.chars().count(), MAX_MESSAGE + 1);
        assert_eq!(clipped(&format!("{long}\n{why}")), why.trim_end());
    }

    #[test]
    fn silence_begins_with_the_container_or_with_the_last_answer() {
        check("True", "10:01", None);
        check("False", "09:59", Some("10:00"));
        check("False", "11:30", Some("11:30"));
    }
}

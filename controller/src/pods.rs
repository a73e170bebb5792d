//! Why a pod does not serve, read from its status. Pure.

use k8s_openapi::{
    api::core::v1::{ContainerState, ContainerStatus, Pod as PodObject},
    jiff::Timestamp,
};
use kipper_function::names;

use crate::cache::{Failure, Key, Pod, Poller};

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
    let init = status.and_then(|s| s.init_container_statuses.as_deref()).unwrap_or_default();
    let sidecar = init.iter().find(|container| container.name == names::POLLER_CONTAINER);
    let digests = pod.metadata.annotations.as_ref();
    let digest = digests.and_then(|annotations| annotations.get(names::TRIGGER_DIGEST));
    let poller = digest.map(|digest| poller(digest, sidecar));
    let failure = containers.iter().find_map(container_failure);
    // A refusal is told of the trigger.
    let accepted = sidecar.filter(|_| poller.as_ref().is_none_or(|p| p.refused.is_none()));
    let failure = failure.or_else(|| accepted.and_then(poller_failure)).or_else(|| {
        let scheduled = is("PodScheduled").filter(|c| c.status == "False")?;
        let message = scheduled.message.clone().unwrap_or_default();
        Some(Failure { reason: "Unschedulable", message: clipped(&message) })
    });
    // Another container may be what the pod is not ready for.
    let silent = containers.iter().filter(|container| !container.ready);
    let started = silent.filter_map(running_since).max();
    Some(Pod {
        function,
        server: labels.get(names::COMPONENT).map(String::as_str) == Some(names::SERVER),
        created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        ready,
        // One that answered before is silent since it ceased to, not since it started.
        silent_since: started
            .filter(|_| !ready)
            .map(|started| unready.map_or(started, |since| since.max(started))),
        poller,
        failure,
    })
}

/// Exit code of a process that cannot work as it is configured (`sysexits.h`).
const EXIT_USAGE: i32 = 64;
/// What such a process begins its last line with.
const USAGE_LINE: &str = "error: ";

fn poller(digest: &str, container: Option<&ContainerStatus>) -> Poller {
    let ready = container.is_some_and(|container| container.ready);
    Poller {
        digest: digest.to_owned(),
        ready,
        refused: container.and_then(refusal),
        waiting_since: container.filter(|_| !ready).and_then(running_since),
    }
}

/// The last line of a poller that ended, and has not started again, because its trigger cannot work.
fn refusal(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    let waiting = state.waiting.as_ref().and(container.last_state.as_ref());
    let ended = state.terminated.as_ref().or_else(|| waiting?.terminated.as_ref())?;
    if ended.exit_code != EXIT_USAGE {
        return None;
    }
    let words = ended.message.as_deref().unwrap_or_default();
    let line = words.trim().lines().last().unwrap_or_default();
    Some(clipped(line.strip_prefix(USAGE_LINE).unwrap_or(line)))
}

fn poller_failure(container: &ContainerStatus) -> Option<Failure> {
    let Failure { reason, message } = container_failure(container)?;
    Some(Failure { reason, message: format!("{}: {message}", names::POLLER_CONTAINER) })
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

    /// What a pod's poller is known by: ready, refused, and the failure of the pod.
    #[track_caller]
    fn check_poller(status: serde_json::Value, expected: (bool, Option<&str>, Option<&str>)) {
        let mut container = json!({
            "name": "kipper-poll", "image": "", "imageID": "", "restartCount": 1, "ready": false,
        });
        let fields = status.as_object().unwrap().clone();
        container.as_object_mut().unwrap().extend(fields);
        let pod = json!({
            "metadata": {
                "namespace": "shop-dev",
                "labels": { names::RESOURCE_TYPE: names::FUNCTION, names::APP: "f" },
                "annotations": { names::TRIGGER_DIGEST: "0123" },
            },
            "status": {
                "initContainerStatuses": [container],
                "containerStatuses": [{
                    "name": "function", "image": "", "imageID": "", "restartCount": 0,
                    "ready": true,
                    "state": { "running": { "startedAt": "2026-01-01T10:00:00Z" } },
                }],
            },
        });
        let pod = reduce(&serde_json::from_value(pod).unwrap()).unwrap();
        let poller = pod.poller.unwrap();
        let failure = pod.failure.map(|failure| failure.message);
        let found = (poller.ready, poller.refused.as_deref(), failure.as_deref());
        assert_eq!((found, &*poller.digest), (expected, "0123"));
        // The function itself is ready.
        assert_eq!(pod.silent_since, None);
    }

    #[test]
    fn a_poller_that_cannot_work_is_told_from_one_that_broke() {
        let ended = |code: i32, message: &str| json!({ "terminated": { "exitCode": code, "message": message } });
        let back_off = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let running = json!({ "running": { "startedAt": "2026-01-01T10:00:00Z" } });
        let refused = ended(64, "{\"level\":\"INFO\"}\nerror: query: no column id\n");
        let words = Some("query: no column id");
        check_poller(json!({ "ready": true, "state": running }), (true, None, None));
        check_poller(json!({ "state": refused }), (false, words, None));
        let state = json!({ "state": back_off, "lastState": refused });
        check_poller(state, (false, words, None));
        // On its next try it may fare better.
        check_poller(json!({ "state": running, "lastState": refused }), (false, None, None));
        let broke = Some("kipper-poll: exit code 101: a bug");
        let state = json!({ "state": back_off, "lastState": ended(101, "a bug") });
        check_poller(state, (false, None, broke));
        let pull = json!({ "waiting": { "reason": "ErrImagePull", "message": "no such image" } });
        check_poller(json!({ "state": pull }), (false, None, Some("kipper-poll: no such image")));
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

//! Why a pod does not serve, read from its status. Pure.

use std::net::SocketAddr;

use k8s_openapi::{
    api::core::v1::{ContainerState, ContainerStatus, Pod as PodObject},
    jiff::Timestamp,
};
use kipper_function::{names, start};

use crate::cache::{Exit, Failure, Key, Pod, Poller};

/// Label by which Kubernetes names the Job of a pod.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
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
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let unready = is("Ready").and_then(|c| c.last_transition_time.as_ref()).map(|time| time.0);
    let containers = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let init = status.and_then(|s| s.init_container_statuses.as_deref()).unwrap_or_default();
    let sidecar = init.iter().find(|container| container.name == names::POLLER_CONTAINER);
    let digests = pod.metadata.annotations.as_ref();
    let digest = digests.and_then(|annotations| annotations.get(names::TRIGGER_DIGEST));
    let poller = digest.map(|digest| Poller {
        metrics: sidecar.and_then(running_since).and_then(|_| metrics(pod)),
        ..poller(digest, sidecar)
    });
    let memory = |container: &str| limit(pod, container);
    let failure = evicted(pod).or_else(|| {
        containers.iter().find_map(|container| {
            let failure = container_failure(container, memory(&container.name).as_deref())?;
            Some(with_hint(failure, container))
        })
    });
    // A refusal is told of the trigger.
    let accepted = sidecar.filter(|_| poller.as_ref().is_none_or(|p| p.refused.is_none()));
    let poller_fails = || poller_failure(accepted?, memory(names::POLLER_CONTAINER).as_deref());
    let failure = failure.or_else(poller_fails).or_else(|| {
        let scheduled = is("PodScheduled").filter(|c| c.status == "False")?;
        let message = scheduled.message.clone().unwrap_or_default();
        Some(Failure { reason: "Unschedulable", message: clipped(&message) })
    });
    // Another container may be what the pod is not ready for.
    let silent = containers.iter().filter(|container| !container.ready);
    let started = silent.filter_map(running_since).max();
    let has_run = containers.iter().any(|container| {
        let states = [container.state.as_ref(), container.last_state.as_ref()];
        states.into_iter().flatten().any(|s| s.running.is_some() || s.terminated.is_some())
    });
    Some(Pod {
        function,
        job: labels.get(JOB_NAME).cloned(),
        has_run,
        server: labels.get(names::COMPONENT).map(String::as_str) == Some(names::SERVER),
        created,
        ready,
        // One that answered before is silent since it ceased to, not since it started.
        silent_since: started
            .filter(|_| !ready)
            .map(|started| unready.map_or(started, |since| since.max(started))),
        creating_since: created.filter(|_| !has_run && containers.iter().any(is_created_now)),
        poller,
        failure,
        template: digests.and_then(|all| all.get(names::TEMPLATE_DIGEST).cloned()),
        exit: containers.iter().find(|it| it.name == names::CONTAINER).and_then(exit),
        evicted_at: evicted(pod).and_then(|_| unready.or(created)),
        code: code(pod),
    })
}

/// The kubelet is at it: makes its sandbox, mounts volumes, downloads its image.
fn is_created_now(container: &ContainerStatus) -> bool {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
    matches!(reason, Some("ContainerCreating" | "PodInitializing"))
}

/// How a container ended last.
fn exit(container: &ContainerStatus) -> Option<Exit> {
    let states = [container.state.as_ref(), container.last_state.as_ref()];
    let ended = states.into_iter().flatten().find_map(|state| state.terminated.as_ref())?;
    Some(Exit {
        at: ended.finished_at.as_ref()?.0,
        reason: ended.reason.clone().unwrap_or_default(),
        code: ended.exit_code,
        restarts: container.restart_count,
    })
}

/// The ConfigMap with the code that the pod would start again with.
fn code(pod: &PodObject) -> Option<String> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    let mut volumes = spec.volumes.iter().flatten();
    let volume = volumes.find(|volume| volume.name == names::CODE_VOLUME);
    let mounted = volume.and_then(|volume| Some(volume.config_map.as_ref()?.name.clone()));
    mounted.or_else(|| {
        let first = names::file_variable(0);
        let mut variables = spec.containers.iter().flat_map(|it| it.env.iter().flatten());
        let source = variables.find(|variable| variable.name == first)?.value_from.as_ref()?;
        Some(source.config_map_key_ref.as_ref()?.name.clone())
    })
}

/// What the kubelet says of a pod whose `/tmp` is too large, and what to do: where `/tmp` is a volume, and
/// twice where it is the image's.
const TOO_MUCH_TMP: [(&str, &str); 3] = [
    (
        "Usage of EmptyDir volume \"tmp\"",
        " It is /tmp, where packages are installed; resources.tmpLimit (--tmp) raises it.",
    ),
    ("Pod ephemeral local storage usage exceeds", TMP_OF_IMAGE),
    ("exceeded its local ephemeral storage limit", TMP_OF_IMAGE),
];
const TMP_OF_IMAGE: &str =
    " It is what the function wrote to /tmp; resources.tmpLimit (--tmp) raises it.";

/// Why the kubelet evicted the pod, if it did.
fn evicted(pod: &PodObject) -> Option<Failure> {
    let status = pod.status.as_ref()?;
    if status.reason.as_deref() != Some("Evicted") {
        return None;
    }
    let mut message = clipped(status.message.as_deref().unwrap_or_default());
    let hint = TOO_MUCH_TMP.iter().find(|(words, _)| message.contains(words));
    message.push_str(hint.map_or("", |(_, hint)| *hint));
    Some(Failure { reason: "Evicted", message })
}

/// The memory limit of a container.
fn limit(pod: &PodObject, container: &str) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let resources = all.find(|it| it.name == container)?.resources.as_ref()?;
    resources.limits.as_ref()?.get("memory").map(|limit| limit.0.clone())
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
        metrics: None,
    }
}

/// Where the poller of a pod has its metrics.
fn metrics(pod: &PodObject) -> Option<SocketAddr> {
    let address = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let mut sidecars = pod.spec.as_ref()?.init_containers.iter().flatten();
    let poller = sidecars.find(|container| container.name == names::POLLER_CONTAINER)?;
    let mut ports = poller.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref() == Some(names::POLLER_ADMIN_PORT))?;
    Some(SocketAddr::new(address, u16::try_from(port.container_port).ok()?))
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

fn poller_failure(container: &ContainerStatus, limit: Option<&str>) -> Option<Failure> {
    let Failure { reason, message } = container_failure(container, limit)?;
    Some(Failure { reason, message: format!("{}: {message}", names::POLLER_CONTAINER) })
}

fn running_since(container: &ContainerStatus) -> Option<Timestamp> {
    let running = container.state.as_ref()?.running.as_ref()?;
    running.started_at.as_ref().map(|time| time.0)
}

/// What programs say that miss something which the runtimes' images do not have, and what to do.
const MISSING: [(&[&str], &str); 2] = [
    (
        &[
            "gyp ERR!",
            "command 'gcc' failed",
            "command 'cc' failed",
            "directory: 'gcc'",
            "directory: 'cc'",
        ],
        "the runtimes' images have no compiler: choose a version with a package that is built \
         already, or use an image of your own",
    ),
    (
        &["spawn git", "Cannot find command 'git'", "executable git"],
        "the runtimes' images have no git: give the URL of an archive instead, or use an image of \
         your own",
    ),
];
/// How the runtimes say that they install packages.
const INSTALLING: &str = "kipper: installing ";
const INSTALLED: &str = "kipper: installed ";

/// A failure of the function's own container with what would help.
fn with_hint(failure: Failure, container: &ContainerStatus) -> Failure {
    if container.name != names::CONTAINER {
        return failure;
    }
    let words = last_words(container);
    let Failure { reason, mut message } = failure;
    if reason == "OutOfMemory" {
        let installs = words.contains(INSTALLING) && !words.contains(INSTALLED);
        let doing = if installs { " while it installed packages" } else { "" };
        message.push_str(doing);
        message.push_str("; resources.memoryLimit (--memory) raises it");
    } else {
        let found = |(signs, _): &&(&[&str], &str)| signs.iter().any(|sign| words.contains(sign));
        if let Some((_, hint)) = MISSING.iter().find(found) {
            message.push_str("; ");
            message.push_str(hint);
        }
    }
    Failure { reason, message }
}

/// What a container said before it ended last.
fn last_words(container: &ContainerStatus) -> &str {
    let states = [container.state.as_ref(), container.last_state.as_ref()];
    let mut ended = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    ended.find_map(|ended| ended.message.as_deref()).unwrap_or_default()
}

/// What is wrong with a container that waits or ended.
fn container_failure(container: &ContainerStatus, limit: Option<&str>) -> Option<Failure> {
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let message = waiting.message.clone().unwrap_or_default();
        let reason = waiting.reason.as_deref()?;
        if reason == "CrashLoopBackOff" {
            let last = container.last_state.as_ref();
            return last
                .and_then(|state| ended(state, limit))
                .or(Some(Failure { reason: "ContainerCrashed", message: clipped(&message) }));
        }
        let reason = start::fault(reason, &message)?;
        return Some(Failure { reason, message: clipped(&message) });
    }
    ended(state, limit)
}

/// A container that ended other than well.
fn ended(state: &ContainerState, limit: Option<&str>) -> Option<Failure> {
    let terminated = state.terminated.as_ref()?;
    if terminated.exit_code == 0 && terminated.reason.as_deref() != Some("OOMKilled") {
        return None;
    }
    let words = without_requests(terminated.message.as_deref().unwrap_or_default());
    let words = words.trim();
    let how = match (terminated.reason.as_deref(), terminated.signal) {
        (Some("OOMKilled"), _) => {
            let limit = limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
            return Some(Failure {
                reason: "OutOfMemory",
                message: format!("the container exceeded its memory limit{limit}"),
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
/// How those lines go on that tell of progress, and so never why something ended.
const PROGRESS: [&str; 4] = ["installing ", "installed ", "listening ", "draining"];

/// How they begin the line of a request (`logRequests`), which says nothing of an end.
const REQUEST_LINES: [&str; 3] = ["kipper: request ", "kipper: event ", "kipper: readiness "];

/// What was said beside the lines of requests.
fn without_requests(words: &str) -> String {
    let is_other = |line: &&str| !REQUEST_LINES.iter().any(|begin| line.starts_with(begin));
    words.lines().filter(is_other).collect::<Vec<_>>().join("\n")
}

/// The part of a text that says why: the line that a runtime said last, without the stack behind it,
/// else the end.
fn clipped(text: &str) -> String {
    let text = text.trim();
    if let Some(line) = text.lines().rev().find(|line| says_why(line)) {
        return match line.char_indices().nth(MAX_MESSAGE) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line.trim_end().to_owned(),
        };
    }
    match text.chars().count().saturating_sub(MAX_MESSAGE) {
        0 => text.to_owned(),
        over => format!("…{}", text.chars().skip(over).collect::<String>()),
    }
}

fn says_why(line: &str) -> bool {
    let said = line.strip_prefix(RUNTIME_LINE);
    said.is_some_and(|said| !PROGRESS.iter().any(|word| said.starts_with(word)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

//! Pods as faults see them: which of them serve, and which process of this machine a container is.

use std::{fs, path::Path, time::Duration};

use anyhow::Context as _;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kipper_cluster::{Namespace, watch};
use kipper_function::names;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

use crate::run::PATIENCE;

/// How often a process is looked for that was killed.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Pods that are not on their way out, oldest first.
pub(super) async fn live(api: &Api<Pod>, selector: &str) -> Result<Vec<Pod>, anyhow::Error> {
    let mut pods = api.list(&ListParams::default().labels(selector)).await?.items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    pods.sort_by_key(|pod| (pod.creation_timestamp(), pod.name_any()));
    Ok(pods)
}

/// The serving pods of a function.
pub(super) async fn of(namespace: &Namespace, function: &str) -> Result<Vec<Pod>, anyhow::Error> {
    let selector = format!("{}={function},{}={}", names::APP, names::COMPONENT, names::SERVER);
    live(&namespace.api(), &selector).await
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// Resolves once there is no such pod any more.
pub(super) async fn until_gone(api: &Api<Pod>, name: &str) -> Result<(), anyhow::Error> {
    watch::object(api, name, PATIENCE, |pod| pod.is_none()).await?;
    Ok(())
}

/// Resolves once a Deployment has only current, available pods, as `kubectl rollout status` does.
pub(super) async fn until_rolled_out(
    api: &Api<Deployment>,
    name: &str,
    patience: Duration,
) -> Result<(), anyhow::Error> {
    watch::object(api, name, patience, |found| found.is_some_and(is_rolled_out)).await?;
    Ok(())
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    let Some(status) = &deployment.status else { return false };
    status.observed_generation == deployment.metadata.generation
        && status.replicas == wanted
        && status.updated_replicas == wanted
        && status.available_replicas == wanted
}

/// Deletes a pod without any grace, as if its machine had been switched off.
pub(super) async fn delete_at_once(api: &Api<Pod>, name: &str) -> Result<(), anyhow::Error> {
    let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    api.delete(name, &params).await.with_context(|| format!("delete {name}"))?;
    Ok(())
}

/// `kill -9` of the processes in a pod's first container; they are processes of this machine.
/// Returns when they are gone, their sockets closed: that takes a few milliseconds, in which their
/// connections still take bytes.
pub(super) async fn kill_container(pod: &Pod) -> Result<(), anyhow::Error> {
    let pids = processes_of(container(pod)?)?;
    anyhow::ensure!(!pids.is_empty(), "no process of {} on this machine", pod.name_any());
    for pid in &pids {
        let pid = Pid::from_raw(*pid).context("a process without a number")?;
        kill_process(pid, Signal::KILL)?;
    }
    let is_there = |pid: &i32| Path::new(&format!("/proc/{pid}")).exists();
    let gone = async {
        while pids.iter().any(is_there) {
            sleep(LOOK_EVERY).await;
        }
    };
    timeout(PATIENCE, gone).await.context("a killed process does not end")
}

/// The id of a pod's first container.
pub(super) fn container(pod: &Pod) -> Result<&str, anyhow::Error> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let id =
        statuses.and_then(|all| all.first()?.container_id.as_deref()).context("no container")?;
    Ok(id.split_once("://").context("a container id without its runtime")?.1)
}

/// Processes whose control group bears the container's id.
pub(super) fn processes_of(container: &str) -> Result<Vec<i32>, anyhow::Error> {
    let entries = fs::read_dir("/proc").context("list /proc")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_in = |pid: &i32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups.contains(container)
    };
    Ok(pids.filter(is_in).collect())
}

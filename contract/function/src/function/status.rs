//! Observed state of a Function.

// `KubeSchema` repeats each type inside a function body, where `pub` reaches nobody.
#![allow(unreachable_pub)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Observed state of a Function.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionStatus {
    /// Idle, Scaling, Running or Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Pods that serve requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Public URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Generation of the spec this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, HostReserved, BindingsResolved, TriggerValid, ScalerReady, OnSchedule, LastRunSucceeded,
    /// EventsDelivered, BurstUnavailable, NameTaken, EnvironmentClash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Keys of the function's Secret, so that listing them needs no right to read Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub secret_keys: Vec<SecretKeyStatus>,
    /// Digest of the function's objects as they were applied last. A controller that starts finds
    /// by it that nothing is left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub applied_digest: Option<String>,
    /// Digest of the trigger that a poller refused last: while it is the present one, the function
    /// is not scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub refused_trigger: Option<String>,
    /// Since when pods of this generation fail; absent while none does. What they say is the message
    /// of Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Time>,
    /// How the container of a pod of this generation ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<ExitStatus>,
    /// Runs of the cron trigger. When the next one is due follows from the trigger: it is not kept
    /// here, where it would be wrong as soon as it has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleStatus>,
}

/// How a container of the function ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExitStatus {
    /// When it ended.
    pub time: Time,
    /// The kubelet's word for it: Error, OOMKilled or Completed.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Exit code of the process; 137 where it was killed.
    pub exit_code: i32,
    /// How often the kubelet started it again in its pod.
    pub restarts: i32,
}

/// Runs of a cron trigger; test runs do not count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// When the most recent run that was started was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// The run in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_run: Option<RunStatus>,
    /// The last run that ended. It stays when its Job is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunStatus>,
}

/// One run of a cron trigger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// Name of its Job.
    #[schemars(length(max = 253))]
    pub job: String,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Succeeded or Failed; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub result: Option<String>,
    /// Why it failed, in one word: ContainerCrashed, OutOfMemory, DeadlineExceeded, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// Why it failed, with its last words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub message: Option<String>,
}

/// One key of the function's Secret; never its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyStatus {
    /// The key, which is also the variable's name.
    pub name: String,
    /// When the key was last given another value, RFC 3339; absent if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<String>,
}

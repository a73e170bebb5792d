//! ScaledObject `<fn>` (`keda.sh/v1alpha1`): who decides how many pods serve, and within what.
//!
//! The types are the part of KEDA's that is used, field by field as KEDA itself writes them back.
//! KEDA adds its finalizer and a label by a whole update of the object, which drops Go's zero
//! values that are `omitempty` and adds those that are not: had we written `false` for
//! `restoreToOriginalReplicaCount` (the default; it goes) or left `useCachedMetrics` out (it
//! comes), the next apply would change the object again.

mod events;
mod trigger;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kipper_function::{FunctionSpec, names};
use kipper_trigger::scaler::{self, MAX_TARGET_REQUEST_RATE, Target};
use serde::Serialize;

use trigger::{EVENT_POLLING_INTERVAL, Metadata, Trigger, pushed};

use super::subject::{Subject, seconds};

/// KEDA writes an active object's last activity once per poll, out of 20 writes a second for all
/// objects; waking does not wait for a poll.
const POLLING_INTERVAL: Duration = Duration::from_secs(30);
/// KEDA scales nothing while this is `true`, and leaves the replicas there are.
const PAUSED: &str = "autoscaling.keda.sh/paused";

/// Scaling up waits for nothing, and one period takes one pod to ten.
const SCALE_UP: Rules = Rules {
    stabilization_window_seconds: 0,
    select_policy: "Max",
    policies: &[
        Policy { type_: "Percent", value: 900, period_seconds: 15 },
        Policy { type_: "Pods", value: 10, period_seconds: 15 },
    ],
};
/// The rate that the adapter reports falls over sixty seconds already; another sixty keep pods
/// through a gap between two bursts. Kubernetes' own 300 s would keep ten pods as long as the
/// default idle time keeps the last one. After that any number may go at once: they drain.
const SCALE_DOWN: Rules = Rules {
    stabilization_window_seconds: 60,
    select_policy: "Max",
    policies: &[Policy { type_: "Percent", value: 100, period_seconds: 15 }],
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScaledObject {
    api_version: &'static str,
    kind: &'static str,
    pub(super) metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    scale_target_ref: ScaleTarget,
    #[serde(flatten)]
    idle: Option<Idle>,
    min_replica_count: u32,
    max_replica_count: u32,
    advanced: Advanced,
    triggers: Vec<Trigger>,
}

#[derive(Serialize)]
struct ScaleTarget {
    name: String,
}

/// How an object gets to zero. Left out where it never does: KEDA's webhook would answer every
/// write with two Events that say so.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Idle {
    polling_interval: i64,
    cooldown_period: i64,
    /// A new function starts at zero and has nothing to cool down from.
    initial_cooldown_period: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Advanced {
    horizontal_pod_autoscaler_config: AutoscalerConfig,
}

#[derive(Serialize)]
struct AutoscalerConfig {
    behavior: Behavior,
}

/// Complete in every field: KEDA compares it with the stored HPA, and would write the HPA again at
/// each reconcile for a default that Kubernetes filled in.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Behavior {
    scale_up: Rules,
    scale_down: Rules,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rules {
    stabilization_window_seconds: u32,
    select_policy: &'static str,
    policies: &'static [Policy],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    #[serde(rename = "type")]
    type_: &'static str,
    value: u32,
    period_seconds: u32,
}

pub(super) fn scaled_object(subject: &Subject<'_>) -> ScaledObject {
    let spec = subject.spec();
    let (min_replica_count, max_replica_count) = spec.replica_limits();
    let event = subject.event();
    let polling_interval = event.map_or(POLLING_INTERVAL, |_| EVENT_POLLING_INTERVAL);
    let mut triggers = Vec::new();
    if spec.is_http() {
        triggers.push(Trigger::new("external-push", metadata(subject, spec, polling_interval)));
    }
    triggers.extend(event.into_iter().flat_map(|event| events::triggers(subject, event)));
    let mut meta = subject.meta(subject.name.to_owned(), names::SERVER);
    if event.is_some() && subject.refused {
        meta.annotations = Some([(PAUSED.to_owned(), "true".to_owned())].into());
    }
    ScaledObject {
        api_version: "keda.sh/v1alpha1",
        kind: "ScaledObject",
        metadata: meta,
        spec: Spec {
            scale_target_ref: ScaleTarget { name: subject.name.to_owned() },
            idle: (min_replica_count == 0).then(|| Idle {
                polling_interval: seconds(polling_interval),
                cooldown_period: seconds(spec.idle_timeout()),
                initial_cooldown_period: 0,
            }),
            min_replica_count,
            max_replica_count,
            advanced: Advanced {
                horizontal_pod_autoscaler_config: AutoscalerConfig {
                    behavior: Behavior { scale_up: SCALE_UP, scale_down: SCALE_DOWN },
                },
            },
            triggers,
        },
    }
}

/// What the scaler-adapter scales requests by.
fn metadata(subject: &Subject<'_>, spec: &FunctionSpec, polling_interval: Duration) -> Metadata {
    let rate = spec.target_request_rate().min(MAX_TARGET_REQUEST_RATE);
    let metadata = scaler::Metadata {
        function: Some(subject.name.to_owned()),
        idle_timeout: spec.idle_timeout(),
        polling_interval,
        burst_max_replicas: spec.burst_max_replicas(),
        target: Target::Requests { rate, concurrency: spec.concurrency() },
    };
    pushed(subject, &metadata)
}

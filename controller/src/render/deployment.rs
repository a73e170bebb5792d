//! Deployment `<fn>`: the serving pods.
//!
//! It never says `spec.replicas`: they are KEDA's, and an apply that held the field would fight
//! the scaler.

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kipper_function::names;

use super::{pod, subject::Subject};

/// To look at; the way back is a revision of the function. Every other ReplicaSet is one object per
/// change of a function.
const REVISION_HISTORY: i32 = 2;
/// Longer than the runtimes give an installation of packages (300 s): until then a new pod may
/// still get ready.
const PROGRESS_DEADLINE_SECONDS: i32 = 360;

pub(super) fn deployment(subject: &Subject<'_>) -> Deployment {
    let strategy = DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            // No pod goes before its successor is ready, or a rollout would drop requests.
            max_unavailable: Some(IntOrString::Int(0)),
            // Rounded up: one pod more for up to four, three more for ten.
            max_surge: Some(IntOrString::String("25%".to_owned())),
        }),
    };
    Deployment {
        metadata: subject.meta(subject.name.to_owned(), names::SERVER),
        spec: Some(DeploymentSpec {
            selector: LabelSelector {
                match_labels: Some(names::server_selector(subject.name)),
                ..LabelSelector::default()
            },
            strategy: Some(strategy),
            revision_history_limit: Some(REVISION_HISTORY),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE_SECONDS),
            template: pod::server(subject),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

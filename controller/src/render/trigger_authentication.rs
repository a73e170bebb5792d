//! TriggerAuthentication `<fn>-trigger-auth` (`keda.sh/v1alpha1`): how KEDA's scaler reaches the
//! source. No credential stands in the ScaledObject itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kipper_function::names;
use kipper_trigger::SecretKey;
use serde::Serialize;

use super::subject::Subject;
use crate::plan::Event;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TriggerAuthentication {
    api_version: &'static str,
    kind: &'static str,
    pub(super) metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    secret_target_ref: Vec<Reference>,
}

#[derive(Serialize)]
struct Reference {
    parameter: &'static str,
    name: String,
    key: &'static str,
}

/// The object; `None` for a kind whose scaler asks nobody but our own adapter.
pub(super) fn trigger_authentication(
    subject: &Subject<'_>,
    event: &Event,
) -> Option<TriggerAuthentication> {
    let parameters = SecretKey::of_scaler(subject.spec().event()?.kind);
    if parameters.is_empty() {
        return None;
    }
    let given = parameters.iter().filter(|key| event.keys.contains(key));
    let reference = |key: &SecretKey| Reference {
        parameter: key.name(),
        name: names::trigger_secret(subject.name),
        key: key.name(),
    };
    Some(TriggerAuthentication {
        api_version: "keda.sh/v1alpha1",
        kind: "TriggerAuthentication",
        metadata: subject.meta(names::trigger_authentication(subject.name), names::SERVER),
        spec: Spec { secret_target_ref: given.map(reference).collect() },
    })
}

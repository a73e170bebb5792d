//! TriggerAuthentication `<fn>-trigger-auth` (`keda.sh/v1alpha1`): how KEDA's scaler reaches the
//! source. No credential stands in the ScaledObject itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kipper_function::{function::TriggerKind, names};
use serde::Serialize;

use super::{Event, Subject};

/// Parameters of KEDA's scalers (their `authParams`), which are keys of the Secret `<fn>-trigger`
/// too. Of these the Secret has what its source needs.
const POSTGRES: [&str; 1] = ["connection"];
const MYSQL: [&str; 6] = ["connectionString", "host", "port", "username", "password", "dbName"];
const REDIS: [&str; 5] = ["address", "username", "password", "tls", "ca"];

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
    let parameters: &[&str] = match subject.spec().event()?.kind {
        TriggerKind::Postgres => &POSTGRES,
        TriggerKind::Mysql => &MYSQL,
        TriggerKind::Redis => &REDIS,
        TriggerKind::Minio | TriggerKind::Http | TriggerKind::Cron => return None,
    };
    let given = parameters.iter().filter(|parameter| event.keys.contains(**parameter));
    let reference = |parameter: &&'static str| Reference {
        parameter,
        name: names::trigger_secret(subject.name),
        key: parameter,
    };
    Some(TriggerAuthentication {
        api_version: "keda.sh/v1alpha1",
        kind: "TriggerAuthentication",
        metadata: subject.meta(names::trigger_authentication(subject.name), names::SERVER),
        spec: Spec { secret_target_ref: given.map(reference).collect() },
    })
}

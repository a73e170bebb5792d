//! One trigger of a ScaledObject, as KEDA writes it back.

use std::{collections::BTreeMap, time::Duration};

use kipper_trigger::{scaler, shard};
use serde::Serialize;

use crate::render::subject::Subject;

/// Of a function with a source of events: nothing tells KEDA of those between two polls.
pub(super) const EVENT_POLLING_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trigger {
    #[serde(rename = "type")]
    type_: &'static str,
    metric_type: &'static str,
    use_cached_metrics: bool,
    metadata: Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_ref: Option<AuthenticationRef>,
}

pub(super) type Metadata = BTreeMap<&'static str, String>;

#[derive(Serialize)]
struct AuthenticationRef {
    name: String,
}

impl Trigger {
    pub(super) fn new(type_: &'static str, metadata: Metadata) -> Self {
        let (metric_type, use_cached_metrics) = ("AverageValue", false);
        Self { type_, metric_type, use_cached_metrics, metadata, authentication_ref: None }
    }

    /// With the TriggerAuthentication of this name.
    pub(super) fn authenticated(self, name: String) -> Self {
        Self { authentication_ref: Some(AuthenticationRef { name }), ..self }
    }
}

/// With the address of the function's adapter, which is KEDA's own.
pub(super) fn pushed(subject: &Subject<'_>, metadata: &scaler::Metadata) -> Metadata {
    let all = &subject.settings.scaler_addresses;
    let of = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let shard = shard::answering(subject.namespace, subject.name, metadata.target, of);
    let mut metadata = metadata.texts();
    metadata.insert("scalerAddress", all.get(shard as usize).cloned().unwrap_or_default());
    metadata
}

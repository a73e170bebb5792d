//! A revision of a Function: one spec that was applied, kept as an `apps/v1` ControllerRevision.
//!
//! Pure. The controller writes revisions and `kip` reads them; both agree here on what stands where.
//! The data is the spec, inline code included, and is never changed; the number moves on when a
//! function goes back to the spec. The value of a Secret is never a part of it.

use k8s_openapi::{
    api::apps::v1::ControllerRevision,
    apimachinery::pkg::{
        apis::meta::v1::{ObjectMeta, Time},
        runtime::RawExtension,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Function, FunctionSpec, names};

/// What is known of a revision without reading its spec: an annotation, so that the controller has to
/// watch no more than metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Grows with each change of the function; that of the current spec is the highest.
    pub number: i64,
    /// Length of the data as JSON.
    pub bytes: u64,
    /// ConfigMap with the inline code; absent for an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// When the function was given this spec last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Time>,
    /// Field manager that gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
}

impl Record {
    /// Of the metadata of a revision; `None` where somebody changed it beyond recognition.
    pub fn read(meta: &ObjectMeta) -> Option<Self> {
        let text = meta.annotations.as_ref()?.get(names::REVISION)?;
        serde_json::from_str(text).ok()
    }

    /// The annotation's value.
    ///
    /// # Errors
    /// Never: its keys are text.
    pub fn write(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// One revision as `kip` reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Its number.
    pub number: i64,
    /// The spec.
    pub spec: FunctionSpec,
    /// What its Function said was the cause of the change.
    pub cause: Option<String>,
    /// ConfigMap with the inline code; absent for an image.
    pub code: Option<String>,
    /// When the function was given this spec last.
    pub changed_at: Option<Time>,
    /// Field manager that gave it.
    pub changed_by: Option<String>,
}

impl Revision {
    /// Of an object; `None` for one that holds no spec.
    pub fn read(object: &ControllerRevision) -> Option<Self> {
        let data = object.data.as_ref()?;
        let spec = serde_json::from_value(data.0.get("spec")?.clone()).ok()?;
        let record = Record::read(&object.metadata).unwrap_or_default();
        let cause =
            object.metadata.annotations.as_ref().and_then(|all| all.get(names::CHANGE_CAUSE));
        Some(Self {
            number: object.revision,
            spec,
            cause: cause.cloned(),
            code: record.code,
            changed_at: record.changed_at.or_else(|| object.metadata.creation_timestamp.clone()),
            changed_by: record.changed_by,
        })
    }
}

/// The data of the revision with this spec.
///
/// # Errors
/// Never: the keys of a spec are text.
pub fn data(spec: &FunctionSpec) -> serde_json::Result<RawExtension> {
    Ok(RawExtension(json!({ "spec": serde_json::to_value(spec)? })))
}

/// When the spec of a Function was written last, and by which field manager, as the API server
/// recorded it.
pub fn last_change(function: &Function) -> (Option<Time>, Option<String>) {
    let entries = function.metadata.managed_fields.iter().flatten();
    let of_spec = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref();
        entry.subresource.as_deref().is_none_or(str::is_empty)
            && fields.is_some_and(|fields| fields.0.get("f:spec").is_some())
    });
    let last = of_spec.max_by_key(|entry| entry.time.clone());
    last.map_or((None, None), |entry| (entry.time.clone(), entry.manager.clone()))
}

//! ControllerRevision `<fn>-<digest>`: a spec as it was applied, inline code included.
//!
//! Named after its content: to go back to an earlier spec gives that one a new number, and equal specs
//! are one revision. The API server lets nobody change its data.

use k8s_openapi::api::apps::v1::ControllerRevision;
use kipper_function::{
    names,
    revision::{self, Record},
};

use super::{error::RenderError, subject::Subject};
use crate::{
    digest::digest,
    plan::{Kind, Stamp},
};

/// The revision; `stamp` is asked for the number of the one with this name.
pub(super) fn revision(
    subject: &Subject<'_>,
    stamp: impl FnOnce(&str) -> Stamp,
) -> Result<ControllerRevision, RenderError> {
    let serialize = |source| RenderError::Serialize { kind: Kind::ControllerRevision, source };
    let data = revision::data(subject.spec()).map_err(serialize)?;
    let text = data.0.to_string();
    let name = names::revision(subject.name, &digest([text.as_bytes()]));
    let Stamp { number, changed_at, changed_by } = stamp(&name);
    let record = Record {
        number,
        bytes: text.len() as u64,
        code: subject.code.as_ref().map(|code| code.config_map.clone()),
        changed_at,
        changed_by,
    };
    let mut metadata = subject.meta(name, subject.component());
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(names::REVISION.to_owned(), record.write().map_err(serialize)?);
    if let Some(cause) = subject.annotation(names::CHANGE_CAUSE) {
        annotations.insert(names::CHANGE_CAUSE.to_owned(), cause.to_owned());
    }
    Ok(ControllerRevision { metadata, data: Some(data), revision: number })
}

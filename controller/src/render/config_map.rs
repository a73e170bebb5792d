//! ConfigMap `<fn>-code-<digest>`: inline code as the files its runtime loads.
//!
//! It is immutable. Other code is another ConfigMap, so a pod of an earlier version that starts again
//! finds the code of that version.

use k8s_openapi::api::core::v1::ConfigMap;

use super::{
    code,
    subject::{Code, Subject},
};

/// The ConfigMap; `None` for an image.
pub(super) fn config_map(subject: &Subject<'_>) -> Option<ConfigMap> {
    let Code { files, config_map, .. } = subject.code.clone()?;
    Some(ConfigMap {
        metadata: subject.meta(config_map, subject.component()),
        immutable: Some(true),
        data: Some(files.into_iter().map(|(path, text)| (code::key(&path), text)).collect()),
        ..ConfigMap::default()
    })
}

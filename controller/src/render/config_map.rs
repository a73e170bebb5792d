//! ConfigMap `<fn>-code`: inline code as the files its runtime loads.

use k8s_openapi::api::core::v1::ConfigMap;
use kipper_function::names;

use super::{code, subject::Subject};

/// The ConfigMap; `None` for an image.
pub(super) fn config_map(subject: &Subject<'_>) -> Option<ConfigMap> {
    let files = subject.code.clone()?;
    let component = if subject.spec().is_served() { names::SERVER } else { names::BATCH };
    Some(ConfigMap {
        metadata: subject.meta(names::code_config_map(subject.name), component),
        data: Some(files.into_iter().map(|(path, text)| (code::key(&path), text)).collect()),
        ..ConfigMap::default()
    })
}

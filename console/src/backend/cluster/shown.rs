//! Objects of a cluster as the page has them. Pure.

use kipper_client::logs;
use kipper_function::Function;
use kube::ResourceExt as _;

use crate::model::{Detail, Line, SecretKey, Summary};

/// A Function, as the page has it.
pub(super) fn detail(function: Function) -> Detail {
    let status = function.status.clone().unwrap_or_default();
    let secrets = status.secret_keys.iter().map(|key| SecretKey {
        name: key.name.clone(),
        has_previous: key.rotated_at.is_some(),
        rotated_at: key.rotated_at.clone(),
    });
    Detail {
        name: function.name_any(),
        namespace: function.namespace().unwrap_or_default(),
        generation: function.metadata.generation.unwrap_or_default(),
        version: function.resource_version(),
        secrets: secrets.collect(),
        url: status.endpoint.clone(),
        spec: function.spec,
        status,
        origin: None,
        read_only: None,
        notices: Vec::new(),
    }
}

/// The same in a list.
pub(super) fn summary(function: Function) -> Summary {
    let created = function.metadata.creation_timestamp.as_ref().map(|time| time.0);
    Summary::of(&detail(function), created)
}

/// A line of a pod.
pub(super) fn line(line: logs::Line) -> Line {
    Line { time: line.time, pod: line.pod, container: line.container, text: line.text }
}

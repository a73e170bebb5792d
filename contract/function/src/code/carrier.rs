//! How inline code comes into its pod: in the environment, or from a volume. Pure.
//!
//! The kubelet looks every 300 ms whether the volumes of a pod are mounted, and none is at its first
//! look: a pod without one starts that much sooner. So the code of a pod that needs no other volume
//! travels in its environment, as far as it fits.

use std::{collections::BTreeMap, fmt};

use super::{files::size, packages::installs};
use crate::function::{FunctionSpec, Runtime};

/// Most bytes of code, with the paths of its files, and of `spec.env` that travel in the environment.
/// One variable has at most 128 KiB in Linux, all of them and the arguments together 2 MiB with the
/// usual stack, of which a Secret may take one.
pub const MAX_ENVIRONMENT_BYTES: usize = 96 * 1024;

/// Why the code of a function is mounted from a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeReason {
    /// Its pods mount volumes anyway.
    Volumes,
    /// Its pods have a poller, and wake when KEDA has polled.
    Events,
    /// It installs packages: they stay in `/tmp` when the container starts again.
    Packages,
    /// No variable can hold a null character.
    NullCharacter,
    /// Larger than [`MAX_ENVIRONMENT_BYTES`].
    Size,
}

impl fmt::Display for VolumeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volumes => f.write_str("the function mounts volumes"),
            Self::Events => f.write_str("the function has an event trigger"),
            Self::Packages => f.write_str("the function installs packages"),
            Self::NullCharacter => f.write_str("the code has a null character in it"),
            Self::Size => {
                let most = MAX_ENVIRONMENT_BYTES / 1024;
                write!(f, "code and env are larger than {most} KiB together")
            }
        }
    }
}

/// Why `files`, the code of a function with this spec, are mounted; `None` where they travel in the
/// environment.
pub fn volume_reason(
    spec: &FunctionSpec,
    runtime: Runtime,
    files: &BTreeMap<String, String>,
) -> Option<VolumeReason> {
    if !spec.volumes.is_empty() {
        return Some(VolumeReason::Volumes);
    }
    if spec.event().is_some() {
        return Some(VolumeReason::Events);
    }
    if installs(runtime, files) {
        return Some(VolumeReason::Packages);
    }
    if files.values().any(|text| text.contains('\0')) {
        return Some(VolumeReason::NullCharacter);
    }
    let is_large = size(files) + size(&spec.env) > MAX_ENVIRONMENT_BYTES;
    is_large.then_some(VolumeReason::Size)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(
        runtime: Runtime,
        rest: Value,
        files: &[(&str, &str)],
        expected: Option<VolumeReason>,
    ) {
        let spec: FunctionSpec = serde_json::from_value(rest.clone()).unwrap();
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        let files: BTreeMap<String, String> = files.iter().map(owned).collect();
        assert_eq!(volume_reason(&spec, runtime, &files), expected, "{rest} {files:.60?}");
    }

    #[test]
    fn code_travels_in_the_environment_of_pods_without_volumes() {
        let hello = [("index.js", "module.exports = () => 1")];
        let node = |rest, expected| check(Runtime::Node, rest, &hello, expected);
        node(json!({}), None);
        node(json!({ "triggers": [{ "type": "cron", "schedule": "@daily" }] }), None);
        node(json!({ "env": { "A": "1" }, "serviceBindings": [{ "name": "db" }] }), None);
        let volumes = json!({ "volumes": [{ "name": "v", "mountPath": "/data" }] });
        node(volumes, Some(VolumeReason::Volumes));
        let event = json!({ "type": "redis", "config": { "source": "c", "list": "l" } });
        node(json!({ "triggers": [event] }), Some(VolumeReason::Events));
    }

    #[test]
    fn what_installs_packages_keeps_them_in_a_volume() {
        let some = Some(VolumeReason::Packages);
        for (runtime, name, list, expected) in [
            (Runtime::Node, "package.json", r#"{"dependencies": {"pg": "8"}}"#, some),
            (Runtime::Node, "package.json", r#"{"optionalDependencies": {"pg": "8"}}"#, some),
            (
                Runtime::Node,
                "package.json",
                r#"{"type": "module", "devDependencies": {"x": "1"}}"#,
                None,
            ),
            // What cannot be read is for the runtime to say.
            (Runtime::Node, "package.json", "{", some),
            (Runtime::Node, "requirements.txt", "six", None),
            (Runtime::Python, "requirements.txt", "# none\n\n", None),
            (Runtime::Python, "requirements.txt", "-r more.txt", some),
        ] {
            check(runtime, json!({}), &[(name, list)], expected);
        }
    }

    #[test]
    fn the_environment_has_a_bound() {
        let full = "x".repeat(MAX_ENVIRONMENT_BYTES - "index.js".len());
        let over = format!("{full}x");
        let node =
            |rest, text, expected| check(Runtime::Node, rest, &[("index.js", text)], expected);
        node(json!({}), &full, None);
        node(json!({}), &over, Some(VolumeReason::Size));
        node(json!({ "env": { "A": "" } }), &full, Some(VolumeReason::Size));
        node(json!({}), "a\0b", Some(VolumeReason::NullCharacter));
    }
}

//! Forms of a Function that exclude each other: an image, code of one file and a folder's files; event
//! triggers of different types. Pure.
//!
//! Whoever applies one form replaces the others, whichever command wrote them. What of the stored spec
//! has to go for that is said once, here.

use kipper_function::{
    FunctionSpec, code,
    function::{Runtime, Source, Trigger, TriggerKind},
};
use serde_json::{Value, json};

use super::value;
use crate::edits;

/// A field as `managedFields` names it, from the spec inwards: `f:source`, `f:code`.
pub(super) type Path = Vec<String>;

/// Fields of `stored` that exclude a form which `given` has.
pub(super) fn excluded(given: &FunctionSpec, stored: &FunctionSpec) -> Vec<Path> {
    let mut paths = Vec::new();
    removed(&value(stored), &value(&without_excluded(given, stored)), &mut Vec::new(), &mut paths);
    paths
}

/// `stored` without them.
fn without_excluded(given: &FunctionSpec, stored: &FunctionSpec) -> FunctionSpec {
    let mut spec = stored.clone();
    if is_image(given) {
        spec.source = None;
        // Of code, all three.
        spec.runtime = None;
        spec.log_requests = false;
    } else if let Some(source) = given.source.as_ref().filter(|source| is_code(source)) {
        spec.image = None;
        spec.no_tmp = false;
        if let Some(other) = &mut spec.source {
            if source.files.is_empty() {
                other.files.clear();
            } else {
                other.code = None;
            }
            if brings_packages(given, source) {
                other.dependencies.clear();
            }
        }
    }
    if let Some(event) = given.event_trigger() {
        spec.triggers.retain(|trigger| !is_event(trigger) || trigger.type_ == event.type_);
    }
    spec
}

/// What `given` makes of the forms and lists of `stored`, of which `absent` go: for a dry run, which
/// cannot take fields over.
pub(super) fn replaced(
    given: &FunctionSpec,
    stored: &FunctionSpec,
    absent: &[Path],
) -> FunctionSpec {
    let mut spec = without_excluded(given, stored);
    let is_absent = |path: Path| absent.contains(&path);
    spec.triggers.retain(|it| !is_absent(trigger(&it.type_)));
    spec.volumes.retain(|it| !is_absent(item("volumes", "mountPath", &it.mount_path)));
    spec.service_bindings.retain(|it| !is_absent(item("serviceBindings", "name", &it.name)));
    for volume in &given.volumes {
        edits::mount(&mut spec, volume);
    }
    for binding in &given.service_bindings {
        edits::bind(&mut spec, binding);
    }
    spec.image = given.image.clone().or(spec.image);
    spec.runtime = given.runtime.clone().or(spec.runtime);
    spec.log_requests |= given.log_requests;
    spec.no_tmp |= given.no_tmp;
    if let Some(given) = &given.source {
        let source = spec.source.get_or_insert_default();
        source.code = given.code.clone().or(source.code.take());
        if !given.files.is_empty() {
            source.files = given.files.clone();
        }
        source.dependencies.extend(given.dependencies.clone());
        source.handler = given.handler.clone().or(source.handler.take());
        source.npmrc = given.npmrc.clone().or(source.npmrc.take());
    }
    spec.triggers.retain(|it| given.triggers.iter().all(|given| given.type_ != it.type_));
    spec.triggers.extend(given.triggers.clone());
    spec
}

/// `given` with the forms of `stored` in the place of its own.
pub(super) fn kept(given: &FunctionSpec, stored: &FunctionSpec) -> FunctionSpec {
    FunctionSpec {
        image: stored.image.clone(),
        runtime: stored.runtime.clone(),
        source: stored.source.clone(),
        log_requests: stored.log_requests,
        no_tmp: stored.no_tmp,
        triggers: stored.triggers.clone(),
        volumes: stored.volumes.clone(),
        service_bindings: stored.service_bindings.clone(),
        ..given.clone()
    }
}

/// A trigger of the spec.
pub(super) fn trigger(type_: &str) -> Path {
    item("triggers", "type", type_)
}

/// An item of a list, by the field that names it.
fn item(list: &str, field: &str, name: &str) -> Path {
    vec![format!("f:{list}"), format!("k:{}", json!({ field: name }))]
}

fn is_image(spec: &FunctionSpec) -> bool {
    spec.image.as_ref().is_some_and(|image| !image.is_empty())
}

fn is_code(source: &Source) -> bool {
    source.code.is_some() || !source.files.is_empty()
}

/// Has the folder a list of packages, beside which none can be declared?
fn brings_packages(given: &FunctionSpec, source: &Source) -> bool {
    let runtime = given.runtime.as_deref().and_then(Runtime::parse);
    runtime.is_some_and(|runtime| source.files.contains_key(code::package_list(runtime)))
}

fn is_event(trigger: &Trigger) -> bool {
    trigger.kind().and_then(TriggerKind::event).is_some()
}

/// Paths of what `before` has and `after` has not. The only list that loses something is `triggers`.
fn removed(before: &Value, after: &Value, path: &mut Path, paths: &mut Vec<Path>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, before) in before {
                path.push(format!("f:{key}"));
                match after.get(key) {
                    Some(after) => removed(before, after, path, paths),
                    None if key == "triggers" => {
                        removed(before, &Value::Array(Vec::new()), path, paths);
                    }
                    None => paths.push(path.clone()),
                }
                path.pop();
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            let gone = before.iter().filter(|item| !after.contains(item));
            let types = gone.filter_map(|item| item.get("type").and_then(Value::as_str));
            paths.extend(types.map(trigger));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(given: Value, stored: Value, expected: &[&str]) {
        let spec = |value| serde_json::from_value::<FunctionSpec>(value).unwrap();
        let (given, stored) = (spec(given), spec(stored));
        let paths = excluded(&given, &stored);
        assert_eq!(paths.iter().map(|path| path.join(" ")).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn one_form_excludes_the_others() {
        let code = || json!({ "runtime": "node", "source": { "code": "x", "handler": "h" } });
        let files =
            |name: &str| json!({ "runtime": "node", "source": { "files": { name: "{}" } } });
        let packages = || json!({ "source": { "code": "x", "dependencies": { "ms": "2" } } });
        let image = || json!({ "image": "i", "noTmp": true });
        check(code(), code(), &[]);
        check(code(), files("a.js"), &["f:source f:files"]);
        check(files("a.js"), code(), &["f:source f:code"]);
        check(files("a.js"), packages(), &["f:source f:code"]);
        check(files("package.json"), packages(), &["f:source f:code", "f:source f:dependencies"]);
        check(code(), image(), &["f:image", "f:noTmp"]);
        check(image(), code(), &["f:runtime", "f:source"]);
        check(image(), json!({ "logRequests": true }), &["f:logRequests"]);
        // Who says nothing about it leaves it.
        check(json!({ "port": 1 }), code(), &[]);
    }

    #[test]
    fn one_event_trigger_excludes_the_others() {
        let of = |kinds: &[&str]| {
            let triggers: Vec<_> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
            json!({ "triggers": triggers })
        };
        check(of(&["redis"]), of(&["http", "postgres"]), &["f:triggers k:{\"type\":\"postgres\"}"]);
        check(of(&["redis"]), of(&["postgres"]), &["f:triggers k:{\"type\":\"postgres\"}"]);
        check(of(&["redis"]), of(&["redis", "cron"]), &[]);
        check(of(&["http"]), of(&["cron", "redis"]), &[]);
    }

    #[test]
    fn a_dry_run_sees_the_new_form() {
        let spec = |value| serde_json::from_value::<FunctionSpec>(value).unwrap();
        let given = spec(json!({
            "runtime": "node", "port": 1, "source": { "files": { "index.js": "1" } },
            "triggers": [{ "type": "http" }],
        }));
        let stored = spec(json!({ "image": "i", "port": 2, "triggers": [{ "type": "http" }] }));
        let expected = FunctionSpec { port: Some(2), ..given.clone() };
        assert_eq!(replaced(&given, &stored, &[]), expected);
        let expected = FunctionSpec { port: Some(1), ..stored.clone() };
        assert_eq!(kept(&given, &stored), expected);
    }
}

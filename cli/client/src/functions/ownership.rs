//! Who owns a field of a Function, as `metadata.managedFields` has it. Pure.
//!
//! To the API server, what this manager applies and what it patches belong to two owners, and an apply
//! removes only what was applied. Fields that an apply has to replace are therefore handed over to it
//! first: an owner changes, and nothing else.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kipper_function::Function;
use kube::Resource as _;
use serde_json::{Map, Value, json};

use super::forms::Path;
use crate::{FIELD_MANAGER, error::OwnedField};

/// The whole spec, as `managedFields` names it.
const SPEC: &str = "f:spec";
/// How an owner writes that applies.
const APPLY: &str = "Apply";

/// `entries` with these fields of the spec owned by this manager's applies alone, and with `ours` owned
/// by them where this manager's patches own a part; `None` where it is so already.
///
/// # Errors
/// The fields of `paths` that other managers own, unless they are to be taken over by `force`.
pub(super) fn handed_over(
    entries: &[ManagedFieldsEntry],
    paths: &[Path],
    ours: &[Path],
    force: bool,
) -> Result<Option<Vec<ManagedFieldsEntry>>, Vec<OwnedField>> {
    let (mut entries, mut foreign) = (entries.to_vec(), Vec::new());
    let mut moved: Vec<(&Path, Value)> = Vec::new();
    for entry in entries.iter_mut().filter(|entry| is_of_spec(entry) && !is_apply(entry)) {
        let Some(fields) = &mut entry.fields_v1 else { continue };
        let manager = entry.manager.clone().unwrap_or_default();
        let is_ours = manager == FIELD_MANAGER;
        for path in paths.iter().chain(ours.iter().filter(|_| is_ours)) {
            let Some(owned) = take(&mut fields.0, &whole(path)) else { continue };
            if !is_ours {
                foreign.push(OwnedField { field: readable(path), manager: manager.clone() });
            }
            moved.push((path, owned));
        }
    }
    if !foreign.is_empty() && !force {
        return Err(foreign);
    }
    if moved.is_empty() {
        return Ok(None);
    }
    // An entry without a field is none.
    entries.retain(|entry| entry.fields_v1.as_ref().is_none_or(|it| it.0 != json!({})));
    let at = entries.iter().position(is_apply).unwrap_or_else(|| {
        entries.push(applied());
        entries.len() - 1
    });
    let fields = entries[at].fields_v1.get_or_insert_with(|| FieldsV1(json!({})));
    for (path, owned) in moved {
        put(&mut fields.0, &whole(path), owned);
    }
    Ok(Some(entries))
}

/// Items of lists that this manager applied before and that are not in `given`. They go as a whole: of
/// one that a patch changed in part, the rest would be no item.
pub(super) fn absent(entries: &[ManagedFieldsEntry], given: &Value) -> Vec<Path> {
    let mut paths = Vec::new();
    let applied = entries.iter().filter(|entry| is_apply(entry));
    let specs = applied.filter_map(|entry| entry.fields_v1.as_ref()?.0.get(SPEC)?.as_object());
    for (list, items) in specs.flatten() {
        let Some(name) = list.strip_prefix("f:") else { continue };
        for item in items.as_object().into_iter().flat_map(Map::keys) {
            let Some(key) = item.strip_prefix("k:") else { continue };
            let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
            let is_it =
                |item: &Value| key.iter().all(|(name, value)| item.get(name) == Some(value));
            let given = given.get(name).and_then(Value::as_array);
            if !given.is_some_and(|given| given.iter().any(is_it)) {
                paths.push(vec![list.clone(), item.clone()]);
            }
        }
    }
    paths
}

/// Whether this manager applied a field of the spec.
pub(super) fn is_applied(entries: &[ManagedFieldsEntry], path: &Path) -> bool {
    let fields = entries.iter().filter(|entry| is_apply(entry));
    let mut fields = fields.filter_map(|entry| entry.fields_v1.clone());
    fields.any(|mut fields| take(&mut fields.0, &whole(path)).is_some())
}

fn is_of_spec(entry: &ManagedFieldsEntry) -> bool {
    entry.subresource.as_ref().is_none_or(String::is_empty)
}

/// What this manager applies.
fn is_apply(entry: &ManagedFieldsEntry) -> bool {
    is_of_spec(entry)
        && entry.manager.as_deref() == Some(FIELD_MANAGER)
        && entry.operation.as_deref() == Some(APPLY)
}

fn applied() -> ManagedFieldsEntry {
    ManagedFieldsEntry {
        api_version: Some(Function::api_version(&()).into_owned()),
        fields_type: Some("FieldsV1".to_owned()),
        fields_v1: Some(FieldsV1(json!({}))),
        manager: Some(FIELD_MANAGER.to_owned()),
        operation: Some(APPLY.to_owned()),
        ..ManagedFieldsEntry::default()
    }
}

fn whole(path: &Path) -> Vec<&str> {
    [SPEC].into_iter().chain(path.iter().map(String::as_str)).collect()
}

/// Takes a field, and what is in it, out of the tree; nothing empty is left above it.
fn take(tree: &mut Value, path: &[&str]) -> Option<Value> {
    let (key, rest) = path.split_first()?;
    let fields = tree.as_object_mut()?;
    if rest.is_empty() {
        return fields.remove(*key);
    }
    let inner = fields.get_mut(*key)?;
    let taken = take(inner, rest)?;
    if *inner == json!({}) {
        fields.remove(*key);
    }
    Some(taken)
}

/// Puts it into another one, beside what is there.
fn put(tree: &mut Value, path: &[&str], owned: Value) {
    let Value::Object(fields) = tree else { return };
    match path.split_first() {
        Some((key, rest)) => {
            let inner = fields.entry((*key).to_owned()).or_insert_with(|| json!({}));
            put(inner, rest, owned);
        }
        None => merge(fields, owned),
    }
}

fn merge(fields: &mut Map<String, Value>, owned: Value) {
    let Value::Object(owned) = owned else { return };
    for (key, value) in owned {
        let inner = fields.entry(key).or_insert_with(|| json!({}));
        if let Value::Object(inner) = inner {
            merge(inner, value);
        }
    }
}

/// `.spec.source.code`, `.spec.triggers[type="redis"]`: as the API server names a field in a conflict.
fn readable(path: &Path) -> String {
    let part = |part: &String| match part.split_once(':') {
        Some(("k", key)) => {
            let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
            let key: Vec<_> = key.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", key.join(","))
        }
        Some((_, name)) => format!(".{name}"),
        None => String::new(),
    };
    format!(".spec{}", path.iter().map(part).collect::<String>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(manager: &str, operation: &str, spec: Value) -> ManagedFieldsEntry {
        serde_json::from_value(json!({
            "apiVersion": "kipper.run/v1alpha1", "fieldsType": "FieldsV1",
            "fieldsV1": { "f:spec": spec }, "manager": manager, "operation": operation,
        }))
        .unwrap()
    }

    fn path(parts: &[&str]) -> Path {
        parts.iter().map(|part| (*part).to_owned()).collect()
    }

    #[test]
    fn what_was_patched_becomes_what_was_applied() {
        let paths =
            [path(&["f:source", "f:code"]), path(&["f:triggers", "k:{\"type\":\"redis\"}"])];
        let code = || json!({ "f:source": { "f:code": {} } });
        let applied = || entry("kip", "Apply", json!({ "f:runtime": {} }));
        // An owner that has nothing else is gone, and one that has keeps the rest.
        let found = handed_over(&[applied(), entry("kip", "Update", code())], &paths, &[], false);
        let both = json!({ "f:runtime": {}, "f:source": { "f:code": {} } });
        assert_eq!(found.unwrap().unwrap(), [entry("kip", "Apply", both)]);
        let more = json!({
            "f:port": {}, "f:source": { "f:code": {} },
            "f:triggers": { "k:{\"type\":\"redis\"}": { ".": {}, "f:type": {} } },
        });
        let found =
            handed_over(&[entry("kip", "Update", more)], &paths, &[], false).unwrap().unwrap();
        assert_eq!(found[0], entry("kip", "Update", json!({ "f:port": {} })));
        let expected = json!({
            "f:source": { "f:code": {} },
            "f:triggers": { "k:{\"type\":\"redis\"}": { ".": {}, "f:type": {} } },
        });
        assert_eq!(found[1], entry("kip", "Apply", expected));
        let applied = [entry("kip", "Apply", code())];
        assert_eq!(handed_over(&applied, &paths, &[], false), Ok(None));
        assert!(is_applied(&applied, &paths[0]) && !is_applied(&applied, &paths[1]));
        assert!(!is_applied(&[entry("kip", "Update", code())], &paths[0]));
    }

    #[test]
    fn an_item_goes_as_a_whole() {
        let key = "k:{\"mountPath\":\"/data\"}";
        let applied = entry("kip", "Apply", json!({ "f:volumes": { key: { "f:mountPath": {} } } }));
        let patch =
            |manager| entry(manager, "Update", json!({ "f:volumes": { key: { "f:name": {} } } }));
        let given = json!({ "volumes": [{ "name": "a", "mountPath": "/data" }] });
        assert_eq!(absent(std::slice::from_ref(&applied), &given), Vec::<Path>::new());
        let gone = absent(&[applied.clone(), patch("kip")], &json!({}));
        assert_eq!(gone, [path(&["f:volumes", key])]);
        let found = handed_over(&[applied.clone(), patch("kip")], &[], &gone, false);
        let whole = json!({ "f:volumes": { key: { "f:mountPath": {}, "f:name": {} } } });
        assert_eq!(found.unwrap().unwrap(), [entry("kip", "Apply", whole)]);
        assert_eq!(handed_over(&[applied, patch("kubectl")], &[], &gone, false), Ok(None));
    }

    #[test]
    fn what_others_own_is_taken_by_force_only() {
        let paths = [path(&["f:image"]), path(&["f:triggers", "k:{\"type\":\"redis\"}"])];
        let spec = json!({ "f:image": {}, "f:triggers": { "k:{\"type\":\"redis\"}": {} } });
        let entries = [entry("kubectl", "Update", spec)];
        let fields = handed_over(&entries, &paths, &[], false).unwrap_err();
        let fields: Vec<_> = fields.iter().map(|it| (it.field.as_str(), &*it.manager)).collect();
        let expected = [(".spec.image", "kubectl"), (".spec.triggers[type=\"redis\"]", "kubectl")];
        assert_eq!(fields, expected);
        let found = handed_over(&entries, &paths, &[], true).unwrap().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].manager.as_deref(), Some("kip"));
        // A status is no field of the spec.
        let mut status = entry("kubectl", "Update", json!({ "f:image": {} }));
        status.subresource = Some("status".to_owned());
        assert_eq!(handed_over(&[status], &paths, &[], false), Ok(None));
    }
}

//! What an apply changed of a Function, kept and took away, part by part as users name them. Pure.
//!
//! Parts are read off the spec's own JSON, so that a field that is added later is one without being
//! listed here.

use std::collections::BTreeMap;

use kipper_function::{
    FunctionSpec,
    function::{Scaling, Timeouts},
};
use serde_json::{Map, Value, json};

/// Parts of a spec, each as a user names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What was given and is another than before, or new.
    pub changed: Vec<String>,
    /// What was not given and is there, because others set it.
    pub kept: Vec<Kept>,
    /// What was not given and is gone.
    pub dropped: Vec<String>,
}

/// A part that an apply left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The part.
    pub part: String,
    /// The flag of `update` that takes it away, where there is one.
    pub removal: Option<String>,
}

/// A part: its value, and the flag that takes it away.
type Parts = BTreeMap<String, (Value, Option<String>)>;

/// What became of `before` when `given` was applied to it.
pub fn changes(given: &FunctionSpec, before: &FunctionSpec, after: &FunctionSpec) -> Changes {
    let (given, before, after) = (parts(given), parts(before), parts(after));
    let default = parts(&defaults());
    let is_default = |part: &String, value: &(Value, Option<String>)| {
        default.get(part).is_some_and(|default| default.0 == value.0)
    };
    let mut changes = Changes::default();
    for (part, value) in &after {
        match before.get(part) {
            Some(former) if former.0 != value.0 => changes.changed.push(part.clone()),
            None if given.contains_key(part) => changes.changed.push(part.clone()),
            Some(_) if !given.contains_key(part) && !is_default(part, value) => {
                changes.kept.push(Kept { part: part.clone(), removal: value.1.clone() });
            }
            // As it was, or what the API server fills in.
            _ => {}
        }
    }
    let gone = before
        .iter()
        .filter(|(part, value)| !after.contains_key(*part) && !is_default(part, value));
    changes.dropped.extend(gone.map(|(part, _)| part.clone()));
    changes
}

/// What the API server fills in where nobody says otherwise.
fn defaults() -> FunctionSpec {
    let spec = FunctionSpec {
        scaling: Some(Scaling::default()),
        timeouts: Some(Timeouts::default()),
        ..FunctionSpec::default()
    };
    let (_, max) = spec.replica_limits();
    let whole = |value: u64| i64::try_from(value).ok();
    let fields = json!({
        "port": spec.port(),
        "idleTimeoutSeconds": whole(spec.idle_timeout().as_secs()),
        "protocol": "auto",
        "scaling": {
            "minReplicas": 0, "maxReplicas": max, "concurrency": 0,
            "targetRequestRate": spec.target_request_rate(),
        },
        "timeouts": {
            "coldStartSeconds": whole(spec.cold_start_timeout().as_secs()),
            "responseHeaderSeconds": whole(spec.response_header_timeout().as_secs()),
            "requestSeconds": 0,
        },
    });
    // Never fails: these are fields of the type.
    serde_json::from_value(fields).unwrap_or_default()
}

fn parts(spec: &FunctionSpec) -> Parts {
    let mut parts = Parts::new();
    let fields = serde_json::to_value(spec).unwrap_or_default();
    let Value::Object(mut fields) = fields else { return parts };
    if let Some(Value::Object(source)) = fields.remove("source") {
        of_source(source, &mut parts);
    }
    for (field, value) in fields {
        let mut add = |part: String, value: Value, removal: Option<String>| {
            parts.insert(part, (value, removal));
        };
        match (field.as_str(), value) {
            ("env", Value::Object(env)) => {
                for (name, value) in env {
                    add(format!("variable {name}"), value, Some(format!("--env {name}-")));
                }
            }
            ("volumes" | "serviceBindings" | "imagePullSecrets" | "cspAllowlist", list) => {
                of_list(&field, list, &mut add);
            }
            ("triggers", Value::Array(triggers)) => triggers.into_iter().for_each(|trigger| {
                of_trigger(trigger, &mut add);
            }),
            (_, Value::Object(inner)) => {
                let unit = if field == "timeouts" { " timeout" } else { "" };
                for (name, value) in inner {
                    add(words(&name) + unit, value, None);
                }
            }
            (_, value) => add(words(&field), value, None),
        }
    }
    parts
}

fn of_source(mut source: Map<String, Value>, parts: &mut Parts) {
    let code = [source.remove("code"), source.remove("files")];
    if code.iter().any(Option::is_some) {
        parts.insert("code".to_owned(), (json!(code), None));
    }
    if let Some(Value::Object(packages)) = source.remove("dependencies") {
        let packages = packages.into_iter();
        parts.extend(packages.map(|(name, value)| (format!("package {name}"), (value, None))));
    }
    parts.extend(source.into_iter().map(|(field, value)| (words(&field), (value, None))));
}

fn of_list(field: &str, list: Value, add: &mut impl FnMut(String, Value, Option<String>)) {
    let Value::Array(items) = list else { return };
    for item in items {
        let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = item.as_str().map_or_else(|| text("name"), str::to_owned);
        let (part, removal) = match field {
            "volumes" => (
                format!("volume {name} at {}", text("mountPath")),
                Some(format!("--volume {name}-")),
            ),
            "imagePullSecrets" => {
                (format!("image pull secret {name}"), Some(format!("--image-pull-secret {name}-")))
            }
            "cspAllowlist" => {
                (format!("allowed origin {name}"), Some(format!("--csp-allow {name}-")))
            }
            _ => (format!("binding {name}"), None),
        };
        add(part, item, removal);
    }
}

/// A trigger is a part, and so is each of its settings.
fn of_trigger(trigger: Value, add: &mut impl FnMut(String, Value, Option<String>)) {
    let Value::Object(mut fields) = trigger else { return };
    let type_ = fields.remove("type").unwrap_or_default();
    let type_ = type_.as_str().unwrap_or_default();
    if let Some(Value::Object(config)) = fields.remove("config") {
        fields.extend(config);
    }
    for (field, value) in fields {
        add(format!("{} of the {type_} trigger", words(&field)), value, None);
    }
    add(format!("trigger {type_}"), Value::Null, None);
}

/// `idle timeout` for `idleTimeoutSeconds`: the field as its flag calls it.
fn words(field: &str) -> String {
    let field = match field {
        "cpuRequest" => return "CPU request".to_owned(),
        "cpuLimit" => return "CPU limit".to_owned(),
        "tmpLimit" => return "limit of /tmp".to_owned(),
        field => field.strip_suffix("Seconds").unwrap_or(field),
    };
    let mut words = String::with_capacity(field.len() + 8);
    for c in field.chars() {
        if c.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(specs: [Value; 3], changed: &[&str], kept: &[(&str, &str)], dropped: &[&str]) {
        let [given, before, after] =
            specs.map(|spec| serde_json::from_value::<FunctionSpec>(spec).unwrap());
        let found = changes(&given, &before, &after);
        assert_eq!(found.changed, changed);
        let found_kept: Vec<_> = found
            .kept
            .iter()
            .map(|kept| (kept.part.as_str(), kept.removal.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(found_kept, kept);
        assert_eq!(found.dropped, dropped);
    }

    #[test]
    fn every_part_is_named_for_what_became_of_it() {
        let given = json!({ "image": "b", "env": { "A": "2" }, "triggers": [{ "type": "http" }] });
        let before = json!({
            "image": "a", "port": 8080, "idleTimeoutSeconds": 300, "protocol": "auto",
            "env": { "A": "1", "B": "1", "C": "1" },
            "resources": { "memoryLimit": "1Gi", "tmpLimit": "1Gi" },
            "timeouts": { "coldStartSeconds": 50, "requestSeconds": 7 },
            "scaling": { "minReplicas": 1, "maxReplicas": 10 },
            "volumes": [{ "name": "cache", "mountPath": "/data" }],
            "serviceBindings": [{ "name": "db" }],
            "triggers": [
                { "type": "http" },
                { "type": "cron", "schedule": "@daily", "timeZone": "Europe/Berlin" },
            ],
        });
        let mut after = before.clone();
        after["image"] = json!("b");
        after["env"] = json!({ "A": "2", "B": "1" });
        after["resources"] = json!({ "memoryLimit": "1Gi" });
        check(
            [given, before, after],
            &["image", "variable A"],
            &[
                ("binding db", ""),
                ("memory limit", ""),
                ("min replicas", ""),
                ("request timeout", ""),
                ("schedule of the cron trigger", ""),
                ("time zone of the cron trigger", ""),
                ("trigger cron", ""),
                ("variable B", "--env B-"),
                ("volume cache at /data", "--volume cache-"),
            ],
            &["limit of /tmp", "variable C"],
        );
    }

    #[test]
    fn another_form_is_named() {
        let code =
            json!({ "runtime": "node", "source": { "code": "x", "dependencies": { "ms": "2" } } });
        let image = json!({ "image": "i", "port": 8080 });
        check(
            [json!({ "image": "i" }), code.clone(), image],
            &["image"],
            &[],
            &["code", "package ms", "runtime"],
        );
        check([code.clone(), code.clone(), code], &[], &[], &[]);
    }

    /// What the API server fills in was given by nobody.
    #[test]
    fn defaults_are_no_part_of_a_change() {
        let given = json!({ "image": "i" });
        let stored = serde_json::to_value(defaults()).unwrap();
        let mut before = stored.clone();
        before["image"] = json!("i");
        before["port"] = json!(5000);
        let mut after = stored;
        after["image"] = json!("i");
        check([given, before, after], &["port"], &[], &[]);
    }
}

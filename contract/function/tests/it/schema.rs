//! The generated CRDs: what the API server will check, and what it must not refuse.

use kipper_function::{Function, Service};
use kube::CustomResourceExt;
use serde_json::Value;

fn spec_schema() -> Value {
    let crd = serde_json::to_value(Function::crd()).unwrap();
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap().clone()
}

#[test]
fn names_are_those_of_existing_clusters() {
    assert_eq!(Function::crd_name(), "functions.kipper.run");
    assert_eq!(Service::crd_name(), "services.kipper.run");
    let crd = serde_json::to_value(Function::crd()).unwrap();
    assert_eq!(crd.pointer("/spec/scope").unwrap(), "Namespaced");
    assert!(crd.pointer("/spec/versions/0/subresources/status").is_some());
}

#[test]
fn every_list_and_map_is_bounded_and_lists_merge_by_key() {
    let spec = spec_schema();
    let key = |field: &str| {
        spec.pointer(&format!("/properties/{field}/x-kubernetes-list-map-keys/0")).cloned()
    };
    assert_eq!(key("triggers").unwrap(), "type");
    assert_eq!(key("serviceBindings").unwrap(), "name");
    assert_eq!(key("volumes").unwrap(), "mountPath");
    assert_eq!(key("imagePullSecrets").unwrap(), "name");
    assert_eq!(spec.pointer("/properties/cspAllowlist/x-kubernetes-list-type").unwrap(), "set");
    // The files of a folder belong together: whoever applies them replaces all of them.
    let files = spec.pointer("/properties/source/properties/files/x-kubernetes-map-type");
    assert_eq!(files.unwrap(), "atomic");
    check_bounds("spec", &spec);
}

fn check_bounds(path: &str, schema: &Value) {
    match schema["type"].as_str() {
        Some("array") => assert!(schema["maxItems"].is_u64(), "{path} has no maxItems"),
        Some("object") if schema["additionalProperties"].is_object() => {
            assert!(schema["maxProperties"].is_u64(), "{path} has no maxProperties");
        }
        _ => {}
    }
    if let Some(items) = schema.get("items") {
        check_bounds(&format!("{path}[]"), items);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        check_bounds(&format!("{path}.{name}"), property);
    }
}

#[test]
fn defaults_are_shown_by_the_schema() {
    let spec = spec_schema();
    let cases = [
        ("port", "8080"),
        ("idleTimeoutSeconds", "300"),
        ("protocol", "\"auto\""),
        ("scaling/properties/minReplicas", "0"),
        ("scaling/properties/maxReplicas", "10"),
        ("scaling/properties/targetRequestRate", "5.0"),
        ("scaling/properties/concurrency", "0"),
        ("timeouts/properties/coldStartSeconds", "50"),
        ("timeouts/properties/responseHeaderSeconds", "300"),
        ("timeouts/properties/requestSeconds", "0"),
    ];
    for (path, expected) in cases {
        let default = spec.pointer(&format!("/properties/{path}/default"));
        assert_eq!(default.map(Value::to_string).as_deref(), Some(expected), "{path}");
    }
    // A stored runtime must never make an image function invalid, so it has neither.
    let runtime = spec.pointer("/properties/runtime").unwrap();
    assert!(runtime.get("default").is_none() && runtime.get("enum").is_none());
}

#[test]
fn rules_have_messages() {
    let crd = serde_json::to_value(Function::crd()).unwrap();
    let mut rules = Vec::new();
    collect_rules(&crd, &mut rules);
    assert_eq!(rules.len(), 15, "{rules:#?}");
    assert!(rules.iter().all(|rule| rule["message"].is_string()), "{rules:#?}");
}

fn collect_rules(value: &Value, rules: &mut Vec<Value>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == "x-kubernetes-validations" {
                    rules.extend(value.as_array().unwrap().iter().cloned());
                } else {
                    collect_rules(value, rules);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_rules(item, rules)),
        _ => {}
    }
}

#[test]
fn a_service_may_carry_fields_of_others() {
    let crd = serde_json::to_value(Service::crd()).unwrap();
    let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
    assert_eq!(spec["x-kubernetes-preserve-unknown-fields"], true);
    assert_eq!(spec.pointer("/properties/type/enum/0").unwrap(), "postgres");
}

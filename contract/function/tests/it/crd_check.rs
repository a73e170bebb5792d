//! The generated CRDs through the API server's own validation, and through them every rule that a
//! Function can break, with the words the user gets to read.

use kipper_function::{Function, Service};
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::go;

/// Runs the CRDs and the specs of Functions through it; returns its whole answer.
fn check(objects: &[Value]) -> Value {
    let input = json!({ "definitions": [Function::crd(), Service::crd()], "objects": objects });
    let output = go::ask("crd-check", &serde_json::to_vec(&input).unwrap());
    serde_json::from_slice(&output).unwrap()
}

fn object(spec: &Value) -> Value {
    named("hello", spec)
}

fn named(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
        "metadata": { "name": name, "namespace": "shop-dev" }, "spec": spec,
    })
}

/// A spec with an image and these fields.
fn image(mut spec: Value) -> Value {
    spec["image"] = json!("registry/hello:1");
    spec
}

fn trigger(trigger: Value) -> Value {
    image(json!({ "triggers": [trigger] }))
}

#[test]
fn the_api_server_takes_both_definitions() {
    let answer = check(&[]);
    assert_eq!(answer["definitions"], json!([[], []]));
}

/// Every CEL message of the CRD, collected from it.
fn rules(value: &Value, messages: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for rule in fields.get("x-kubernetes-validations").iter().flat_map(|r| r.as_array()) {
                messages.extend(rule.iter().map(|r| r["message"].as_str().unwrap().to_owned()));
            }
            fields.values().for_each(|value| rules(value, messages));
        }
        Value::Array(items) => items.iter().for_each(|item| rules(item, messages)),
        _ => {}
    }
}

#[test]
fn every_rule_refuses_with_its_words() {
    let event = |type_: &str, config: Value| trigger(json!({ "type": type_, "config": config }));
    let cases = [
        (
            named("Hello", &image(json!({}))),
            "<nil>: Invalid value: name must be a DNS-1035 label of at most 47 characters",
        ),
        (
            named(&"h".repeat(48), &image(json!({}))),
            "<nil>: Invalid value: name must be a DNS-1035 label of at most 47 characters",
        ),
        (
            object(&json!({})),
            "spec: Invalid value: exactly one of image, source.code and source.files must be set",
        ),
        (
            object(&image(json!({ "source": { "code": "x" } }))),
            "spec: Invalid value: exactly one of image, source.code and source.files must be set",
        ),
        (
            object(&json!({ "source": { "code": "x", "files": { "index.js": "x" } } })),
            "spec: Invalid value: exactly one of image, source.code and source.files must be set",
        ),
        (
            object(&json!({ "source": { "files": { "index.js": "x", "/etc/passwd": "x" } } })),
            "spec.source.files: Invalid value: the path of a file must be relative to the function's folder and have at most 253 characters",
        ),
        (
            object(
                &json!({ "source": { "files": { "index.js": "x".repeat(500_000), "a.js": "x".repeat(500_000) } } }),
            ),
            "spec.source.files: Invalid value: all files together must be at most 1000000 bytes",
        ),
        (
            object(&json!({ "source": { "code": "x" }, "runtime": "ruby" })),
            "spec.runtime: Invalid value: runtime must be node or python",
        ),
        (
            object(&json!({ "source": { "code": "x" }, "noTmp": true })),
            "spec.noTmp: Invalid value: noTmp needs image: the runtimes of inline code write to /tmp",
        ),
        (
            object(&image(json!({ "logRequests": true }))),
            "spec.logRequests: Invalid value: logRequests needs inline code: an image logs its requests itself",
        ),
        (
            object(&image(json!({ "triggers": [
                { "type": "redis", "config": { "source": "s", "list": "l" } },
                { "type": "minio", "config": { "source": "s", "bucket": "b" } },
            ] }))),
            "spec.triggers: Invalid value: at most one event trigger is allowed",
        ),
        (
            object(&trigger(json!({ "type": "cron" }))),
            "spec.triggers[0]: Invalid value: a cron trigger needs a schedule",
        ),
        (
            object(&trigger(json!({ "type": "cron", "schedule": "TZ=UTC * * * * *" }))),
            "spec.triggers[0]: Invalid value: a schedule must not name a time zone; set timeZone instead",
        ),
        (
            object(&event("minio", json!({ "bucket": "b" }))),
            "spec.triggers[0]: Invalid value: an event trigger needs config.source",
        ),
        (
            object(&event("mysql", json!({ "source": "s", "query": "" }))),
            "spec.triggers[0]: Invalid value: a postgres or mysql trigger needs config.query",
        ),
        (
            object(&event("postgres", json!({ "source": "s" }))),
            "spec.triggers[0]: Invalid value: a postgres or mysql trigger needs config.query",
        ),
        (
            object(&event("redis", json!({ "source": "s" }))),
            "spec.triggers[0]: Invalid value: a redis trigger needs config.list",
        ),
        (
            object(&event("minio", json!({ "source": "s" }))),
            "spec.triggers[0]: Invalid value: a minio trigger needs config.bucket",
        ),
        (
            // The default of maxReplicas is in force before the rule is.
            object(&image(json!({ "scaling": { "minReplicas": 11 } }))),
            "spec.scaling: Invalid value: minReplicas must not exceed maxReplicas",
        ),
    ];
    let objects: Vec<Value> = cases.iter().map(|(object, _)| object.clone()).collect();
    let answer = check(&objects);
    for ((object, expected), errors) in cases.iter().zip(answer["errors"].as_array().unwrap()) {
        assert_eq!(*errors, json!([expected]), "{object}");
    }
    let mut messages = Vec::new();
    rules(&serde_json::to_value(Function::crd()).unwrap(), &mut messages);
    for message in messages {
        assert!(cases.iter().any(|(_, text)| text.ends_with(&message)), "untested: {message}");
    }
}

fn many_files(count: usize) -> Value {
    let others = (1..count).map(|number| (format!("lib/{number}.js"), json!("x")));
    Value::Object(others.chain([("index.js".to_owned(), json!("x"))]).collect())
}

#[test]
fn the_schema_refuses_what_no_rule_needs_to() {
    let cases = [
        (
            image(json!({ "port": 0 })),
            "spec.port: Invalid value: 0: spec.port in body should be greater than or equal to 1",
        ),
        (
            image(json!({ "serviceBindings": [{ "name": "db", "deletionPolicy": "Keep" }] })),
            "spec.serviceBindings[0].deletionPolicy: Unsupported value: \"Keep\": supported values: \"Retain\", \"Delete\"",
        ),
        (
            image(json!({ "serviceBindings": [{ "name": "db" }, { "name": "db" }] })),
            "spec.serviceBindings[1]: Duplicate value: {\"name\":\"db\"}",
        ),
        (
            image(json!({ "triggers": [{ "type": "http" }, { "type": "http" }] })),
            "spec.triggers[1]: Duplicate value: {\"type\":\"http\"}",
        ),
        (
            trigger(json!({ "type": "kafka" })),
            "spec.triggers[0].type: Unsupported value: \"kafka\": supported values: \"http\", \"cron\", \"postgres\", \"mysql\", \"redis\", \"minio\"",
        ),
        (
            image(json!({ "protocol": "h3" })),
            "spec.protocol: Unsupported value: \"h3\": supported values: \"auto\", \"http1\", \"h2c\"",
        ),
        (
            image(json!({ "env": { "A": 1 } })),
            "spec.env.A: Invalid value: \"integer\": spec.env.A in body must be of type string: \"integer\"",
        ),
        (
            image(json!({ "volumes": [{ "name": "v", "mountPath": "data" }] })),
            "spec.volumes[0].mountPath: Invalid value: \"data\": spec.volumes[0].mountPath in body should match '^/[^:]*$'",
        ),
        (
            json!({ "source": { "files": many_files(101) } }),
            "spec.source.files: Too many: 101: must have at most 100 items",
        ),
        (
            image(
                json!({ "triggers": [{ "type": "cron", "schedule": "* * * * *" }, { "type": "http" }, { "type": "redis" }, { "type": "minio" }] }),
            ),
            "spec.triggers: Too many: 4: must have at most 3 items",
        ),
    ];
    let objects: Vec<Value> = cases.iter().map(|(spec, _)| object(spec)).collect();
    let answer = check(&objects);
    for ((spec, expected), errors) in cases.iter().zip(answer["errors"].as_array().unwrap()) {
        assert_eq!(*errors, json!([expected]), "{spec}");
    }
}

#[test]
fn good_functions_are_stored_with_their_defaults() {
    let specs = [
        image(json!({})),
        json!({ "source": { "code": "x" } }),
        json!({ "source": { "code": "x", "handler": "h", "dependencies": { "pg": "8" } }, "runtime": "python" }),
        // What costs the rules most.
        json!({ "source": { "files": many_files(100) } }),
        // What clusters of old hold beside an image.
        image(json!({ "runtime": "ruby", "source": {} })),
        image(json!({ "triggers": [] })),
        image(json!({ "triggers": [
            { "type": "http" },
            { "type": "cron", "schedule": "*/5 * * * *", "timeZone": "Europe/Berlin", "suspend": true },
            { "type": "postgres", "config": { "source": "db", "query": "select 1", "markDone": "x" } },
        ] })),
        image(json!({ "serviceBindings": [
            { "name": "db", "prefix": "MAIN_", "database": "app", "deletionPolicy": "Delete" },
            { "name": "cache", "deletionPolicy": "Retain" },
            { "name": "shop", "prefix": "SHOP_", "database": "shop", "createDatabase": true },
        ] })),
        image(json!({ "logRequests": false })),
        json!({ "source": { "code": "x" }, "logRequests": true }),
        image(
            json!({ "scaling": { "minReplicas": 3, "maxReplicas": 3, "targetRequestRate": 0.5 } }),
        ),
        image(json!({ "env": { "A": "1" }, "volumes": [{ "name": "v", "mountPath": "/data" }] })),
    ];
    let objects: Vec<Value> = specs.iter().map(object).collect();
    let answer = check(&objects);
    for (spec, errors) in specs.iter().zip(answer["errors"].as_array().unwrap()) {
        assert_eq!(*errors, json!([]), "{spec}");
    }
    let stored = |at: usize, path: &str| answer["objects"][at].pointer(path).cloned();
    assert_eq!(stored(0, "/spec/port"), Some(json!(8080)));
    assert_eq!(stored(0, "/spec/idleTimeoutSeconds"), Some(json!(300)));
    assert_eq!(stored(10, "/spec/scaling/concurrency"), Some(json!(0)));
    assert_eq!(stored(0, "/spec/scaling"), None);
    assert_eq!(stored(7, "/spec/serviceBindings/0/deletionPolicy"), Some(json!("Delete")));
}

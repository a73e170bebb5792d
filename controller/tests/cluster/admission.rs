//! Bad Functions are refused by the API server itself, with the words the CRD has for it.

use kipper_cluster::{names::SERVER_IMAGE, objects, sandbox::run};
use kube::Api;
use serde_json::{Value, json};

/// A spec with an image and these fields.
fn image(mut spec: Value) -> Value {
    spec["image"] = json!(SERVER_IMAGE);
    spec
}

fn trigger(type_: &str, config: Value) -> Value {
    image(json!({ "triggers": [{ "type": type_, "config": config }] }))
}

fn cron(schedule: Value) -> Value {
    image(json!({ "triggers": [{ "type": "cron", "schedule": schedule }] }))
}

/// One bad spec per rule.
fn cases() -> Vec<(Value, &'static str)> {
    let two = json!({ "triggers": [
        { "type": "redis", "config": { "source": "s", "list": "l" } },
        { "type": "minio", "config": { "source": "s", "bucket": "b" } },
    ] });
    vec![
        (json!({}), "exactly one of image, source.code and source.files must be set"),
        (
            json!({ "source": { "files": { "index.js": "x", "/etc/passwd": "x" } } }),
            "the path of a file must be relative to the function's folder and have at most 253 characters",
        ),
        (
            json!({ "source": { "files": {
                "index.js": "x".repeat(600_000), "more.js": "x".repeat(600_000),
            } } }),
            "all files together must be at most 1000000 bytes",
        ),
        (json!({ "source": { "code": "x" }, "runtime": "ruby" }), "runtime must be node or python"),
        (
            json!({ "source": { "code": "x" }, "noTmp": true }),
            "noTmp needs image: the runtimes of inline code write to /tmp",
        ),
        (
            image(json!({ "logRequests": true })),
            "logRequests needs inline code: an image logs its requests itself",
        ),
        (image(two), "at most one event trigger is allowed"),
        (cron(json!("")), "a cron trigger needs a schedule"),
        (
            cron(json!("CRON_TZ=UTC * * * * *")),
            "a schedule must not name a time zone; set timeZone instead",
        ),
        (trigger("minio", json!({ "bucket": "b" })), "an event trigger needs config.source"),
        (
            trigger("postgres", json!({ "source": "s" })),
            "a postgres or mysql trigger needs config.query",
        ),
        (trigger("redis", json!({ "source": "s" })), "a redis trigger needs config.list"),
        (trigger("minio", json!({ "source": "s" })), "a minio trigger needs config.bucket"),
        (
            image(json!({ "scaling": { "minReplicas": 11 } })),
            "minReplicas must not exceed maxReplicas",
        ),
    ]
}

#[tokio::test]
async fn every_rule_refuses_with_its_words() {
    run("admission", |sandbox| async move {
        let name = sandbox.name("bad");
        let mut said = Vec::new();
        let long = "name must be a DNS-1035 label of at most 47 characters";
        let refused = sandbox.try_apply(&"n".repeat(48), image(json!({}))).await;
        said.push((refused, long));
        for (spec, expected) in cases() {
            said.push((sandbox.try_apply(&name, spec).await, expected));
        }
        for (refused, expected) in &said {
            match refused {
                Err(kube::Error::Api(status)) => {
                    assert_eq!(status.code, 422, "{status:?}");
                    assert!(status.message.contains(expected), "{}", status.message);
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
        // Nothing that the installed CRD can say was left out.
        let crds: Api<kube::api::DynamicObject> =
            Api::all_with(sandbox.client.clone(), &objects::crd());
        let crd = crds.get("functions.kipper.run").await.unwrap();
        let mut messages = Vec::new();
        rules(&crd.data, &mut messages);
        for message in messages {
            assert!(said.iter().any(|(_, expected)| *expected == message), "untested: {message}");
        }
        // What is stored stays what it was when a change is refused.
        sandbox.apply(&name, image(json!({}))).await;
        sandbox.try_apply(&name, json!({})).await.unwrap_err();
        sandbox.until_ready(&name).await;
    })
    .await;
}

/// Every message of a CEL rule in `value`.
fn rules(value: &Value, messages: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let own = fields.get("x-kubernetes-validations").and_then(Value::as_array);
            for rule in own.into_iter().flatten() {
                messages.push(rule["message"].as_str().unwrap().to_owned());
            }
            fields.values().for_each(|value| rules(value, messages));
        }
        Value::Array(items) => items.iter().for_each(|item| rules(item, messages)),
        _ => {}
    }
}

//! Rendered objects stay as rendered, and nothing is written where nothing changed.

use kipper_cluster::{
    names::SYSTEM,
    objects,
    sandbox::{Sandbox, run},
    wait::{expect, until},
};
use kipper_function::names;
use serde_json::{Value, json};

const CODE: &str = "module.exports = async () => 'rendered'";

fn spec() -> Value {
    json!({
        "source": { "code": CODE },
        "triggers": [{ "type": "http" }, { "type": "cron", "schedule": "0 4 * * *" }],
    })
}

/// The name of the one object in a list.
fn the_one(objects: &[Value]) -> String {
    assert_eq!(objects.len(), 1, "{objects:?}");
    objects[0]["metadata"]["name"].as_str().unwrap().to_owned()
}

/// Kind, namespace and name of everything rendered.
async fn rendered(sandbox: &Sandbox, name: &str) -> Vec<(&'static str, String, String)> {
    let here = |kind, object: String| (kind, sandbox.namespace.clone(), object);
    vec![
        here("ConfigMap", the_one(&sandbox.codes(name).await)),
        here("ControllerRevision", the_one(&sandbox.revisions(name).await)),
        here("Service", name.to_owned()),
        here("Deployment", name.to_owned()),
        here("ScaledObject", name.to_owned()),
        here("CronJob", names::cron_job(name)),
        ("Ingress", SYSTEM.to_owned(), names::ingress(&sandbox.namespace, name)),
    ]
}

/// Waits until a field of an object is `expected` again.
async fn until_back(sandbox: &Sandbox, kind: &str, name: &str, pointer: &str, expected: &Value) {
    until(&format!("{kind} {name} as rendered"), || async {
        let object = sandbox.object(kind, name).await.unwrap_or_default();
        let seen = object.pointer(pointer).cloned().unwrap_or_default();
        expect(seen == *expected, || seen.to_string())
    })
    .await;
}

#[tokio::test]
async fn what_others_change_is_put_back() {
    run("drift", |sandbox| async move {
        let name = sandbox.name("drift");
        sandbox.apply(&name, spec()).await;
        sandbox.until_ready(&name).await;
        let code = the_one(&sandbox.codes(&name).await);
        let cron = names::cron_job(&name);
        let container = "/spec/template/spec/containers/0/image";
        let deployment = sandbox.object("Deployment", &name).await.unwrap();
        let image = deployment.pointer(container).unwrap();
        let other =
            json!([{ "op": "replace", "path": container, "value": "example.invalid/other" }]);
        replace(&sandbox, "Deployment", &name, other).await;
        until_back(&sandbox, "Deployment", &name, container, image).await;

        // Code cannot be changed at all; what can be is put back.
        let label = json!({ "metadata": { "labels": { names::TRIGGER: "theirs" } } });
        objects::merge(&sandbox.client, "ConfigMap", &sandbox.namespace, &code, label).await;
        let pointer = "/metadata/labels/kipper.run~1trigger";
        until_back(&sandbox, "ConfigMap", &code, pointer, &json!("cron")).await;

        let schedule = json!({ "spec": { "schedule": "* * * * *" } });
        objects::merge(&sandbox.client, "CronJob", &sandbox.namespace, &cron, schedule).await;
        until_back(&sandbox, "CronJob", &cron, "/spec/schedule", &json!("0 4 * * *")).await;

        let cooldown = json!({ "spec": { "cooldownPeriod": 1 } });
        objects::merge(&sandbox.client, "ScaledObject", &sandbox.namespace, &name, cooldown).await;
        until_back(&sandbox, "ScaledObject", &name, "/spec/cooldownPeriod", &json!(300)).await;

        let label = json!({ "metadata": { "labels": { names::RESOURCE_TYPE: null } } });
        objects::merge(&sandbox.client, "Service", &sandbox.namespace, &name, label).await;
        let pointer = "/metadata/labels/kipper.run~1resource-type";
        until_back(&sandbox, "Service", &name, pointer, &json!(names::FUNCTION)).await;
        sandbox.until_answers(&name, "rendered").await;
    })
    .await;
}

async fn replace(sandbox: &Sandbox, kind: &str, name: &str, operations: Value) {
    let patch = kube::api::Patch::Json::<()>(serde_json::from_value(operations).unwrap());
    let api = objects::api(&sandbox.client, kind, &sandbox.namespace);
    api.patch(name, &kube::api::PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn what_others_delete_comes_back() {
    run("deleted", |sandbox| async move {
        let name = sandbox.name("deleted");
        sandbox.apply(&name, spec()).await;
        sandbox.until_ready(&name).await;
        for (kind, namespace, object) in rendered(&sandbox, &name).await {
            let before = objects::get(&sandbox.client, kind, &namespace, &object).await.unwrap();
            objects::delete(&sandbox.client, kind, &namespace, &object).await;
            until(&format!("another {kind} {object}"), || async {
                let object = objects::get(&sandbox.client, kind, &namespace, &object).await;
                let new = object
                    .as_ref()
                    .is_some_and(|object| object["metadata"]["uid"] != before["metadata"]["uid"]);
                expect(new, || format!("{object:?}"))
            })
            .await;
        }
        let claim = sandbox.host(&name);
        objects::delete(&sandbox.client, "Lease", SYSTEM, &claim).await;
        until("another claim", || async {
            let lease = objects::get(&sandbox.client, "Lease", SYSTEM, &claim).await;
            expect(lease.is_some(), String::new)
        })
        .await;
        sandbox.until_ready(&name).await;
        sandbox.until_answers(&name, "rendered").await;
    })
    .await;
}

#[tokio::test]
async fn a_reconcile_without_a_change_writes_nothing() {
    run("noop", |sandbox| async move {
        let name = sandbox.name("noop");
        sandbox.apply(&name, spec()).await;
        sandbox.until_ready(&name).await;
        // KEDA finishes what it adds to a new ScaledObject.
        until("KEDA's look at it", || async {
            let scaled = sandbox.object("ScaledObject", &name).await.unwrap();
            let hpa = &scaled["status"]["hpaName"];
            let there =
                sandbox.object("HorizontalPodAutoscaler", hpa.as_str().unwrap_or("-")).await;
            expect(there.is_some(), || scaled["status"].to_string())
        })
        .await;
        let settled = until("objects at rest", || async {
            let first = versions(&sandbox, &name).await;
            touch(&sandbox, &name).await;
            let second = versions(&sandbox, &name).await;
            expect(first == second, || format!("{first:?} became {second:?}"))?;
            Ok(second)
        })
        .await;
        for _ in 0..3 {
            touch(&sandbox, &name).await;
        }
        assert_eq!(versions(&sandbox, &name).await, settled);
        // Nor the Function itself, but for what this test wrote.
        let function = sandbox.functions().get(&name).await.unwrap();
        let managed = function.metadata.managed_fields.unwrap_or_default();
        let status = managed.iter().filter(|entry| entry.subresource.as_deref() == Some("status"));
        let written = status.filter_map(|entry| entry.time.as_ref()).max();
        let annotated = managed.iter().filter_map(|entry| entry.time.as_ref()).max();
        assert!(written <= annotated);
    })
    .await;
}

/// Changes an annotation that means nothing, and waits until a reconcile has seen it: the same
/// worker then also sees a change of the environment, which comes after.
async fn touch(sandbox: &Sandbox, name: &str) {
    let value = format!("{:x}", fastrand::u64(..));
    let patch = json!({ "metadata": { "annotations": { "example.com/touched": value } } });
    objects::merge(&sandbox.client, "Function", &sandbox.namespace, name, patch).await;
    // A function created after the touch is rendered after it: events come in order.
    let later = sandbox.name(&format!("later{}", fastrand::u16(..)));
    sandbox.apply(&later, spec()).await;
    sandbox.until_ready(&later).await;
    sandbox.delete(&later).await;
    sandbox.until_gone("Function", &later).await;
}

async fn versions(sandbox: &Sandbox, name: &str) -> Vec<(&'static str, String)> {
    let mut versions = Vec::new();
    for (kind, namespace, object) in rendered(sandbox, name).await {
        let object = objects::get(&sandbox.client, kind, &namespace, &object).await.unwrap();
        // A status is written by whoever observes the object; what it should be is not.
        let managers = object["metadata"]["managedFields"].as_array().unwrap();
        let ours = managers.iter().filter(|entry| entry["manager"] == "kipper-controller");
        let generation = &object["metadata"]["generation"];
        versions.push((kind, format!("{generation} {:?}", ours.collect::<Vec<_>>())));
    }
    versions
}

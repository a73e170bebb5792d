//! Every applied spec is a revision, and every pod has the code of its own version.

use std::collections::BTreeSet;

use kipper_cluster::{
    objects,
    sandbox::{Sandbox, run},
    wait::{expect, until},
};
use kipper_function::{
    Function, names,
    revision::{Record, Revision},
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// As many as the controller keeps.
const MAX_REVISIONS: i64 = 10;

/// What JSON and its copies may write in several ways is a part of the code: it must not change on its
/// way through a revision.
fn spec(says: &str) -> Value {
    let code =
        format!("module.exports = async () => 1 < 2 && '{says}' /* <&> \u{2028} \\u003e \"ä\" */");
    // One pod, that stays.
    json!({ "source": { "code": code }, "scaling": { "minReplicas": 1, "maxReplicas": 1 } })
}

/// Number and spec of every revision, oldest first.
async fn history(sandbox: &Sandbox, name: &str) -> Vec<Revision> {
    let revisions = sandbox.revisions(name).await.into_iter();
    revisions
        .map(|object| Revision::read(&serde_json::from_value(object).unwrap()).unwrap())
        .collect()
}

async fn until_numbers(sandbox: &Sandbox, name: &str, expected: &[i64]) -> Vec<Revision> {
    until(&format!("revisions {expected:?}"), || async {
        let history = history(sandbox, name).await;
        let numbers: Vec<_> = history.iter().map(|revision| revision.number).collect();
        expect(numbers == expected, || format!("{numbers:?}"))?;
        Ok(history)
    })
    .await
}

/// Names of the ConfigMaps with code.
async fn codes(sandbox: &Sandbox, name: &str) -> BTreeSet<String> {
    let codes = sandbox.codes(name).await;
    codes.iter().map(|code| code["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// The ConfigMap with a pod's code.
fn mounted(pod: &Value) -> String {
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    let first = env.iter().find(|variable| variable["name"] == names::file_variable(0)).unwrap();
    first["valueFrom"]["configMapKeyRef"]["name"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_spec_is_a_revision_and_an_earlier_one_gets_a_new_number() {
    run("history", |sandbox| async move {
        let name = sandbox.name("history");
        let first = sandbox.apply(&name, spec("one")).await;
        sandbox.until_answers(&name, "one").await;
        let cause =
            json!({ "metadata": { "annotations": { names::CHANGE_CAUSE: "a second one" } } });
        objects::merge(&sandbox.client, "Function", &sandbox.namespace, &name, cause).await;
        sandbox.apply(&name, spec("two")).await;
        sandbox.until_answers(&name, "two").await;
        let third = sandbox.apply(&name, spec("three")).await;
        sandbox.until_answers(&name, "three").await;
        let history = until_numbers(&sandbox, &name, &[1, 2, 3]).await;
        assert_eq!((&history[0].spec, &history[2].spec), (&first.spec, &third.spec));
        assert_eq!(history[1].cause.as_deref(), Some("a second one"));
        assert_eq!(history[1].changed_by.as_deref(), Some("cluster-test"));

        // The way back: the Function gets the spec again, and the revision the next number.
        restore(&sandbox, &name, &history[0]).await;
        sandbox.until_answers(&name, "one").await;
        let history = until_numbers(&sandbox, &name, &[2, 3, 4]).await;
        assert_eq!(history[2].spec, first.spec);
        // A number may be changed, and what is recorded beside it; the spec may not.
        let object = &sandbox.revisions(&name).await[2];
        let revision = object["metadata"]["name"].as_str().unwrap();
        let label = json!({ "metadata": { "labels": { "example.com/seen": "yes" } } });
        objects::merge(&sandbox.client, "ControllerRevision", &sandbox.namespace, revision, label)
            .await;
        let other = json!({ "data": { "spec": { "image": "other" } } });
        let api = objects::api(&sandbox.client, "ControllerRevision", &sandbox.namespace);
        let refused = api.patch(revision, &PatchParams::default(), &Patch::Merge(other)).await;
        assert!(refused.unwrap_err().to_string().contains("immutable"));
        sandbox.until_ready(&name).await;
    })
    .await;
}

async fn restore(sandbox: &Sandbox, name: &str, revision: &Revision) -> Function {
    sandbox.apply(name, serde_json::to_value(&revision.spec).unwrap()).await
}

#[tokio::test]
async fn the_history_is_bounded_and_its_code_immutable() {
    run("bounded", |sandbox| async move {
        let name = sandbox.name("bounded");
        let last = MAX_REVISIONS + 2;
        for number in 1..=last {
            let mut spec = spec(&number.to_string());
            spec["scaling"] = json!({});
            sandbox.apply(&name, spec).await;
            sandbox.until_ready(&name).await;
        }
        let kept: Vec<_> = (3..=last).collect();
        until_numbers(&sandbox, &name, &kept).await;
        let records = sandbox.revisions(&name).await;
        let records = records.iter().map(|object| {
            Record::read(&serde_json::from_value(object["metadata"].clone()).unwrap()).unwrap()
        });
        let expected: BTreeSet<_> = records.filter_map(|record| record.code).collect();
        assert_eq!(expected.len(), kept.len());
        until("the code of the kept revisions", || async {
            let codes = codes(&sandbox, &name).await;
            expect(codes == expected, || format!("{codes:?}"))
        })
        .await;
        let code = &sandbox.codes(&name).await[0];
        assert_eq!(code["immutable"], true);
        let code = code["metadata"]["name"].as_str().unwrap();
        let theirs = json!({ "data": { "index.js": "theirs" } });
        let api = objects::api(&sandbox.client, "ConfigMap", &sandbox.namespace);
        let refused = api.patch(code, &PatchParams::default(), &Patch::Merge(theirs)).await;
        assert!(refused.unwrap_err().to_string().contains("immutable"));
    })
    .await;
}

#[tokio::test]
async fn an_old_pod_keeps_its_code_while_new_ones_do_not_start() {
    run("oldcode", |sandbox| async move {
        let name = sandbox.name("old");
        sandbox.apply(&name, spec("works")).await;
        sandbox.until_answers(&name, "works").await;
        let old = mounted(&sandbox.pods(&name).await[0]);

        let mut broken = spec("broken");
        broken["source"]["code"] = json!("throw new Error('no such ledger')");
        sandbox.apply(&name, broken).await;
        sandbox.until_broken(&name, "ContainerCrashed").await;
        // More changes than are kept, none of which gets a pod ready.
        for number in 0..=MAX_REVISIONS {
            let mut broken = spec("broken");
            broken["source"]["code"] = json!(format!("throw new Error('{number}')"));
            sandbox.apply(&name, broken).await;
            let applied = format!("the change {number}");
            sandbox.function_that(&name, &applied, |_| Ok(())).await;
        }
        until("fewer revisions than changes", || async {
            let history = history(&sandbox, &name).await;
            let first = history.first().map(|revision| revision.number);
            expect(first > Some(1), || format!("{first:?}"))
        })
        .await;
        assert!(codes(&sandbox, &name).await.contains(&old));
        sandbox.until_answers(&name, "works").await;
        sandbox.apply(&name, spec("repaired")).await;
        sandbox.until_answers(&name, "repaired").await;
        until("the end of the old code", || async {
            let codes = codes(&sandbox, &name).await;
            expect(!codes.contains(&old), || format!("{codes:?}"))
        })
        .await;
    })
    .await;
}

/// The ConfigMap of a version that had one for all code.
#[tokio::test]
async fn the_code_of_an_earlier_version_goes_with_the_last_pod_that_has_it() {
    run("former", |sandbox| async move {
        let name = sandbox.name("former");
        sandbox.apply(&name, spec("new")).await;
        sandbox.until_answers(&name, "new").await;
        let former = names::former_code_config_map(&name);
        let code = sandbox.codes(&name).await.remove(0);
        let metadata = json!({
            "name": former,
            "labels": code["metadata"]["labels"],
            "ownerReferences": code["metadata"]["ownerReferences"],
        });
        let config_map = json!({ "metadata": metadata, "data": code["data"] });
        objects::create(&sandbox.client, "ConfigMap", &sandbox.namespace, config_map).await;
        // Nothing has it: there is nothing to wait for.
        sandbox.until_gone("ConfigMap", &former).await;
        sandbox.until_answers(&name, "new").await;
    })
    .await;
}

#[tokio::test]
async fn what_kubectl_rolls_back_is_put_right_again() {
    run("undo", |sandbox| async move {
        let name = sandbox.name("undo");
        sandbox.apply(&name, spec("one")).await;
        sandbox.until_answers(&name, "one").await;
        sandbox.apply(&name, spec("two")).await;
        sandbox.until_answers(&name, "two").await;
        // As `kubectl rollout undo`: the template of the former ReplicaSet.
        let codes = until_numbers(&sandbox, &name, &[1, 2]).await;
        let former = codes[0].code.clone().unwrap();
        let deployment = sandbox.object("Deployment", &name).await.unwrap();
        let env = "/spec/template/spec/containers/0/env";
        let env_list = deployment.pointer(env).and_then(Value::as_array).unwrap();
        let first = names::file_variable(0);
        let at = env_list.iter().position(|variable| variable["name"] == *first).unwrap();
        let path = &*format!("{env}/{at}/valueFrom/configMapKeyRef/name");
        let undo = json!([{ "op": "replace", "path": path, "value": former }]);
        let undo = Patch::Json::<()>(serde_json::from_value(undo).unwrap());
        let api = objects::api(&sandbox.client, "Deployment", &sandbox.namespace);
        api.patch(&name, &PatchParams::default(), &undo).await.unwrap();
        until("the template of the present spec", || async {
            let deployment = sandbox.object("Deployment", &name).await.unwrap();
            let seen = deployment.pointer(path).cloned();
            expect(seen == codes[1].code.clone().map(Value::from), || format!("{seen:?}"))
        })
        .await;
        until_numbers(&sandbox, &name, &[1, 2]).await;
        sandbox.until_answers(&name, "two").await;
    })
    .await;
}

//! Replicas are KEDA's: the controller starts no pod and resets no number.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kipper_cluster::{
    names::SERVER_IMAGE,
    objects,
    sandbox::{Sandbox, run},
    wait::{expect, until},
};
use kube::{
    Api, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watcher},
    },
};
use parking_lot::Mutex;
use serde_json::json;

/// Names of all pods that were ever seen in a sandbox.
type Ever = Arc<Mutex<BTreeSet<String>>>;

fn watch_pods(sandbox: &Sandbox) -> Ever {
    let ever = Ever::default();
    let api: Api<Pod> = Api::namespaced(sandbox.client.clone(), &sandbox.namespace);
    let seen = Arc::clone(&ever);
    tokio::spawn(async move {
        let mut pods = std::pin::pin!(
            watcher(api, watcher::Config::default()).default_backoff().touched_objects()
        );
        while let Some(pod) = pods.next().await {
            seen.lock().insert(pod.unwrap().name_any());
        }
    });
    ever
}

/// Creates a pod that never runs and waits until the watch has it: everything before was seen too.
async fn mark(sandbox: &Sandbox, ever: &Ever, name: &str) {
    let container = json!({ "name": "c", "image": SERVER_IMAGE });
    let spec = json!({ "schedulerName": "nobody", "containers": [container] });
    let pod = json!({ "metadata": { "name": name }, "spec": spec });
    objects::create(&sandbox.client, "Pod", &sandbox.namespace, pod).await;
    until("the marker pod", || async { expect(ever.lock().contains(name), String::new) }).await;
}

#[tokio::test]
async fn creating_a_function_starts_no_pod() {
    run("zero", |sandbox| async move {
        let name = sandbox.name("zero");
        let ever = watch_pods(&sandbox);
        mark(&sandbox, &ever, "begin").await;
        sandbox.apply(&name, json!({ "image": SERVER_IMAGE })).await;
        sandbox.until_ready(&name).await;
        // By then KEDA has decided what to do with it.
        until("KEDA's look at it", || async {
            let scaled = sandbox.object("ScaledObject", &name).await.unwrap_or_default();
            let conditions = scaled["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            expect(ready, || scaled["status"].to_string())
        })
        .await;
        mark(&sandbox, &ever, "end").await;
        let pods: Vec<_> = ever.lock().iter().cloned().collect();
        assert_eq!(pods, ["begin", "end"]);
        let sets = objects::list(&sandbox.client, "ReplicaSet", &sandbox.namespace, "").await;
        assert!(sets.iter().all(|set| set["spec"]["replicas"] == 0), "{sets:?}");
        // The first template is the one that stays: `rollout undo` has nothing else to go back to.
        assert_eq!(sets.len(), 1, "{sets:?}");
    })
    .await;
}

#[tokio::test]
async fn minimum_replicas_come_unasked() {
    run("minimum", |sandbox| async move {
        let name = sandbox.name("minimum");
        let spec = json!({ "image": SERVER_IMAGE, "scaling": { "minReplicas": 1 } });
        sandbox.apply(&name, spec).await;
        let running = sandbox.until_phase(&name, "Running").await;
        assert_eq!(running.status.unwrap().replicas, Some(1));
        assert_eq!(sandbox.wake(&name).await.status, 200);
    })
    .await;
}

/// Has KEDA leave a function's replicas alone, and waits until it does.
async fn paused(sandbox: &Sandbox, name: &str) {
    let annotations = json!({ "autoscaling.keda.sh/paused": "true" });
    let pause = json!({ "metadata": { "annotations": annotations } });
    objects::merge(&sandbox.client, "ScaledObject", &sandbox.namespace, name, pause).await;
    until("KEDA's pause", || async {
        let scaled = sandbox.object("ScaledObject", name).await.unwrap_or_default();
        let conditions = scaled["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let paused = conditions.iter().any(|c| c["type"] == "Paused" && c["status"] == "True");
        expect(paused, || scaled["status"].to_string())
    })
    .await;
}

#[tokio::test]
async fn a_change_keeps_the_replicas() {
    run("replicas", |sandbox| async move {
        let name = sandbox.name("scaled");
        let spec = |color: &str| json!({ "image": SERVER_IMAGE, "env": { "COLOR": color } });
        sandbox.apply(&name, spec("red")).await;
        sandbox.until_ready(&name).await;
        paused(&sandbox, &name).await;
        let scale = json!({ "spec": { "replicas": 2 } });
        objects::merge(&sandbox.client, "Deployment", &sandbox.namespace, &name, scale).await;
        sandbox
            .function_that(&name, "two replicas", |function| {
                let status = function.status.clone().unwrap_or_default();
                expect(status.replicas == Some(2), || format!("{status:?}"))
            })
            .await;

        sandbox.apply(&name, spec("red")).await;
        sandbox.apply(&name, spec("blue")).await;
        let deployment = until("the new environment", || async {
            let deployment = sandbox.object("Deployment", &name).await.unwrap();
            let env = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
            expect(env.to_string().contains("blue"), || env.to_string())?;
            Ok(deployment)
        })
        .await;
        assert_eq!(deployment["spec"]["replicas"], 2);
        for entry in deployment["metadata"]["managedFields"].as_array().unwrap() {
            let holds = !entry["fieldsV1"]["f:spec"]["f:replicas"].is_null();
            assert!(!(holds && entry["manager"] == "kipper-controller"), "{entry}");
        }
    })
    .await;
}

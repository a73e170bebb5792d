//! What cannot run beside other tests: the controller dies in the middle of work, or Kipper is
//! uninstalled.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kipper_cluster::{
    components,
    names::SYSTEM,
    objects,
    sandbox::{Sandbox, delete_namespace, run_alone},
    wait::{expect, until},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use tokio::process::Command;

use crate::deletion::{create_functions, spec, until_namespace_gone, until_unpublished};

const CONTROLLER: &str = "controller";

fn of(component: &str) -> ListParams {
    ListParams::default().labels(&format!("app.kubernetes.io/component={component}"))
}

/// Kills every pod of a component at once, without a chance to finish anything.
pub(crate) async fn kill(sandbox: &Sandbox, component: &str) {
    let pods: Api<Pod> = Api::namespaced(sandbox.client.clone(), SYSTEM);
    let running = pods.list(&of(component)).await.unwrap();
    assert!(!running.items.is_empty(), "no {component} runs in the cluster");
    for pod in running {
        let now = DeleteParams::default().grace_period(0);
        pods.delete(&pod.name_any(), &now).await.unwrap();
    }
}

/// Waits until a pod of a component is ready.
pub(crate) async fn until_runs(sandbox: &Sandbox, component: &str) {
    let pods: Api<Pod> = Api::namespaced(sandbox.client.clone(), SYSTEM);
    until(component, || async {
        let running = pods.list(&of(component)).await.unwrap();
        let ready = |pod: &Pod| {
            let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
            conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        expect(running.iter().any(ready), || format!("{} pods", running.items.len()))
    })
    .await;
}

#[tokio::test]
async fn deletions_outlive_the_controller() {
    run_alone("killed", |sandbox| async move {
        let gone = sandbox.beside("gone");
        let names = create_functions(&gone, 10).await;
        for name in &names[..5] {
            gone.delete(name).await;
        }
        kill(&sandbox, CONTROLLER).await;
        delete_namespace(&gone.client, &gone.namespace).await;
        until_namespace_gone(&gone).await;
        for name in &names {
            until_unpublished(&gone, name).await;
        }
        until_runs(&sandbox, CONTROLLER).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_applied_while_nobody_looked_comes_to_be() {
    run_alone("absent", |sandbox| async move {
        let name = sandbox.name("absent");
        kill(&sandbox, CONTROLLER).await;
        sandbox.apply(&name, spec()).await;
        sandbox.until_answers(&name, "here").await;
        kill(&sandbox, CONTROLLER).await;
        // What serves goes on serving without a controller.
        let answer = sandbox.request(&name).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        until_runs(&sandbox, CONTROLLER).await;
    })
    .await;
}

/// Runs a command of the cluster's own to its end.
async fn execute(program: &Path, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).kill_on_drop(true).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[tokio::test]
async fn namespaces_go_after_an_uninstallation() {
    run_alone("uninstall", |sandbox| async move {
        let name = sandbox.name("survivor");
        sandbox.apply(&name, spec()).await;
        sandbox.until_answers(&name, "here").await;
        let checked = tokio::spawn(uninstalled(sandbox.clone(), name.clone())).await;
        // Whatever came of it, the next test finds Kipper.
        execute(&components::program(), &["install"]).await;
        checked.unwrap();
        // A function that was left behind is taken up again, with what it had.
        until("the claim of its host", || async {
            let claim = objects::get(&sandbox.client, "Lease", SYSTEM, &sandbox.host(&name)).await;
            expect(claim.is_some(), String::new)
        })
        .await;
        sandbox.until_ready(&name).await;
    })
    .await;
}

/// Functions are there, the controller is not, and a namespace is deleted.
async fn uninstalled(sandbox: Sandbox, survivor: String) {
    let gone = sandbox.beside("gone");
    let names = create_functions(&gone, 3).await;
    execute(Path::new("helm"), &["uninstall", "kipper", "--namespace", SYSTEM, "--wait"]).await;
    until_unpublished(&sandbox, &survivor).await;
    for name in &names {
        until_unpublished(&gone, name).await;
    }
    for space in [&sandbox, &gone] {
        assert!(space.object("RoleBinding", "kipper-controller").await.is_none());
    }
    delete_namespace(&gone.client, &gone.namespace).await;
    until_namespace_gone(&gone).await;
    // The workload of a function that stays goes on.
    assert!(sandbox.object("Deployment", &survivor).await.is_some());
}

//! What goes when a function goes, and that nothing of it stays.

use std::future::Future;

use k8s_openapi::api::core::v1::Namespace;
use kipper_cluster::{
    names::SYSTEM,
    objects,
    sandbox::{Sandbox, create_namespace, delete_namespace, run},
    wait::{expect, until},
};
use kipper_function::names;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};

/// Name of the controller's RoleBinding in a namespace of functions.
pub(crate) const ROLE_BINDING: &str = "kipper-controller";

pub(crate) fn spec() -> Value {
    json!({
        "source": { "code": "module.exports = async () => 'here'" },
        "triggers": [{ "type": "http" }, { "type": "cron", "schedule": "0 4 * * *" }],
        // Kubernetes looks at a namespace again after half the grace period that its pods have, even
        // if they are gone at once, and that period follows from this.
        "timeouts": { "responseHeaderSeconds": 10 },
    })
}

pub(crate) async fn until_namespace_gone(sandbox: &Sandbox) {
    let api: Api<Namespace> = Api::all(sandbox.client.clone());
    until(&format!("the end of namespace {}", sandbox.namespace), || async {
        let namespace = api.get_opt(&sandbox.namespace).await.unwrap();
        expect(namespace.is_none(), || format!("{:?}", namespace.unwrap_or_default().status))
    })
    .await;
}

/// What no owner reference removes: publication and claim, beside the controller.
pub(crate) async fn until_unpublished(sandbox: &Sandbox, name: &str) {
    let (ingress, claim) = (names::ingress(&sandbox.namespace, name), sandbox.host(name));
    for (kind, object) in [("Ingress", &ingress), ("Lease", &claim)] {
        until(&format!("the end of {kind} {object}"), || async {
            let left = objects::get(&sandbox.client, kind, SYSTEM, object).await;
            expect(left.is_none(), || format!("{left:?}"))
        })
        .await;
    }
}

#[tokio::test]
async fn a_function_with_traffic_goes_whole() {
    run("delete", |sandbox| async move {
        let name = sandbox.name("delete");
        sandbox.apply(&name, spec()).await;
        sandbox.until_answers(&name, "here").await;
        sandbox.until_object("RoleBinding", ROLE_BINDING).await;
        let asking = tokio::spawn(ask(sandbox.clone(), name.clone()));
        sandbox.delete(&name).await;
        sandbox.until_gone("Function", &name).await;
        until_unpublished(&sandbox, &name).await;
        for (kind, object) in [
            ("Deployment", name.clone()),
            ("Service", name.clone()),
            ("ScaledObject", name.clone()),
            ("CronJob", names::cron_job(&name)),
            ("RoleBinding", ROLE_BINDING.to_owned()),
        ] {
            sandbox.until_gone(kind, &object).await;
        }
        until("the end of its code and its history", || async {
            let left = [sandbox.codes(&name).await, sandbox.revisions(&name).await].concat();
            expect(left.is_empty(), || format!("{} objects", left.len()))
        })
        .await;
        until("the end of its pods", || async {
            let pods = sandbox.pods(&name).await;
            expect(pods.is_empty(), || format!("{} pods", pods.len()))
        })
        .await;
        // From the last pod's end at the latest there is no such host.
        until("404", || async {
            let answer = sandbox.request(&name).await?;
            expect(answer.status == 404, || format!("{answer:?}"))
        })
        .await;
        asking.abort();
        // Nothing remembers it: the same name works again.
        sandbox.apply(&name, spec()).await;
        sandbox.until_answers(&name, "here").await;
    })
    .await;
}

/// Requests in a row until aborted. Each is answered somehow: 200 while the function is there, a
/// clean refusal after.
async fn ask(sandbox: Sandbox, name: String) {
    loop {
        let answer = sandbox.request(&name).await.unwrap();
        assert!([200, 404, 502, 503, 504].contains(&answer.status), "{answer:?}");
    }
}

#[tokio::test]
async fn the_rights_stay_while_one_function_is_left() {
    run("rights", |sandbox| async move {
        let (first, second) = (sandbox.name("first"), sandbox.name("second"));
        for name in [&first, &second] {
            sandbox.apply(name, spec()).await;
            sandbox.until_ready(name).await;
        }
        sandbox.delete(&first).await;
        sandbox.until_gone("Function", &first).await;
        sandbox.until_object("RoleBinding", ROLE_BINDING).await;
        // Its rights are still enough to work with.
        sandbox.until_answers(&second, "here").await;
        sandbox.delete(&second).await;
        sandbox.until_gone("RoleBinding", ROLE_BINDING).await;
    })
    .await;
}

#[tokio::test]
async fn a_namespace_with_functions_goes() {
    run("namespace", |sandbox| async move {
        let gone = sandbox.beside("gone");
        let names = create_functions(&gone, 5).await;
        gone.until_answers(&names[0], "here").await;
        delete_namespace(&gone.client, &gone.namespace).await;
        until_namespace_gone(&gone).await;
        for name in &names {
            until_unpublished(&gone, name).await;
        }
        // The rights came to be there and left with it: a namespace of the same name works.
        create_namespace(&gone.client, &gone.namespace).await;
        gone.apply(&names[0], spec()).await;
        gone.until_ready(&names[0]).await;
    })
    .await;
}

#[tokio::test]
async fn functions_deleted_together_leave_no_rights() {
    run("together", |sandbox| async move {
        let all = sandbox.beside("all");
        let names = create_functions(&all, 6).await;
        all.until_object("RoleBinding", ROLE_BINDING).await;
        let functions = all.functions();
        functions
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await
            .unwrap();
        for name in &names {
            all.until_gone("Function", name).await;
            until_unpublished(&all, name).await;
        }
        all.until_gone("RoleBinding", ROLE_BINDING).await;
    })
    .await;
}

/// Several ready functions in a new namespace.
pub(crate) fn create_functions(
    sandbox: &Sandbox,
    count: usize,
) -> impl Future<Output = Vec<String>> + Send {
    let sandbox = sandbox.clone();
    async move {
        create_namespace(&sandbox.client, &sandbox.namespace).await;
        let names: Vec<_> = (0..count).map(|n| sandbox.name(&format!("many{n}"))).collect();
        for name in &names {
            sandbox.apply(name, spec()).await;
        }
        for name in &names {
            sandbox.until_ready(name).await;
        }
        names
    }
}

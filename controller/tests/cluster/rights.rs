//! What the components may not do, and namespaces that have no functions.

use std::path::Path;

use kipper_cluster::{
    names::SERVER_IMAGE,
    sandbox::{Sandbox, run},
};
use kube::api::DeleteParams;
use serde_json::json;
use tokio::process::Command;

use crate::deletion::ROLE_BINDING;

/// Belongs to the cluster: the controller has no rights there and asks for none.
const DENIED: &str = "kube-system";

#[tokio::test]
async fn a_denied_namespace_has_no_functions() {
    run("denied", |sandbox| async move {
        let name = sandbox.name("denied");
        let denied = sandbox.inside(DENIED);
        denied.apply(&name, json!({ "image": SERVER_IMAGE })).await;
        let checked = tokio::spawn(refused(denied.clone(), name.clone())).await;
        denied.functions().delete(&name, &DeleteParams::default()).await.unwrap();
        checked.unwrap();
        denied.until_gone("Function", &name).await;
    })
    .await;
}

async fn refused(sandbox: Sandbox, name: String) {
    let message = sandbox.until_broken(&name, "NamespaceDenied").await;
    assert_eq!(message, format!("functions are refused in namespace {DENIED}"));
    sandbox.until_phase(&name, "Failed").await;
    for (kind, object) in [("RoleBinding", ROLE_BINDING), ("Deployment", &name), ("Service", &name)]
    {
        assert_eq!(sandbox.object(kind, object).await, None);
    }
    let answer = sandbox.request(&name).await.unwrap();
    assert_eq!(answer.status, 404, "{answer:?}");
}

/// The chart's own check: every component by impersonation, on this cluster.
#[tokio::test]
async fn every_component_has_its_own_rights_and_no_other() {
    run("chart", |_| async move {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart/tests/rights");
        let output = Command::new(script).kill_on_drop(true).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    })
    .await;
}

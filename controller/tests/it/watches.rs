//! Every watch of the process survives whatever the API server does.

use kipper_api_server::watches::{Expected, survive_as};
use tokio::process::Command;

const OURS: &str = "kipper.run%2Fresource-type%3Dfunction";

/// Makes the controller enter its namespace, whose Secrets it watches from then on.
const FUNCTION: &str = r#"{"apiVersion":"kipper.run/v1alpha1","kind":"Function","metadata":{
    "namespace":"shop-dev","name":"hello","uid":"u","resourceVersion":"1","generation":1,
    "finalizers":["kipper.run/function-cleanup"]},"spec":{"image":"hello:1"}}"#;

/// A new watch of the process fails this test until it stands here.
const WATCHES: [Expected; 16] = [
    Expected::all("/apis/kipper.run/v1alpha1/functions").with(FUNCTION),
    Expected::all("/apis/kipper.run/v1alpha1/services"),
    Expected::all("/apis/networking.k8s.io/v1/ingresses"),
    Expected::all("/api/v1/namespaces/shop-dev/secrets"),
    Expected::labelled(
        "/apis/coordination.k8s.io/v1/namespaces/kipper-system/leases",
        "kipper.run%2Fresource-type%3Dhost-claim",
    ),
    Expected::labelled("/api/v1/pods", OURS),
    Expected::labelled("/api/v1/configmaps", OURS),
    Expected::labelled("/api/v1/services", OURS),
    Expected::labelled("/apis/apps/v1/deployments", OURS),
    Expected::labelled("/apis/apps/v1/controllerrevisions", OURS),
    Expected::labelled("/apis/batch/v1/cronjobs", OURS),
    Expected::labelled("/apis/batch/v1/jobs", OURS),
    Expected::labelled("/apis/keda.sh/v1alpha1/scaledobjects", OURS),
    Expected::labelled("/apis/keda.sh/v1alpha1/triggerauthentications", OURS),
    Expected::labelled("/apis/networking.k8s.io/v1/ingresses", OURS),
    Expected::labelled("/apis/networking.k8s.io/v1/networkpolicies", OURS),
];

#[tokio::test]
async fn every_watch_survives_the_api_server() {
    let mut controller = Command::new(env!("CARGO_BIN_EXE_kipper-controller"));
    controller
        .args(["run", "--cluster-domain", "example.com", "--scaler-address", "adapter:9090"])
        .args(["--namespace", "kipper-system", "--name", "controller-1"])
        .args(["--node-image", "node:1", "--python-image", "python:1", "--poller-image", "p:1"])
        .args(["--interceptor-service", "interceptor", "--admin-listen", "127.0.0.1:0"])
        .args(["--log-level", "error"]);
    survive_as(&mut controller, &WATCHES).await;
}

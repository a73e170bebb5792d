//! Every watch of the process survives whatever the API server does.

use kipper_api_server::watches::{Expected, survive_as};
use tokio::process::Command;

const FUNCTIONS: &str = "kipper.run%2Fresource-type%3Dfunction";

/// A new watch of the process fails this test until it stands here.
const WATCHES: [Expected; 3] = [
    Expected::labelled(
        "/apis/coordination.k8s.io/v1/namespaces/kipper-system/leases",
        "kipper.run%2Fresource-type%3Dhost-claim",
    ),
    Expected::labelled("/apis/discovery.k8s.io/v1/endpointslices", FUNCTIONS),
    Expected::labelled(
        "/apis/discovery.k8s.io/v1/namespaces/kipper-system/endpointslices",
        "kubernetes.io%2Fservice-name%3Dinterceptor%2C\
         endpointslice.kubernetes.io%2Fmanaged-by%3Dendpointslice-controller.k8s.io",
    ),
];

#[tokio::test]
async fn every_watch_survives_the_api_server() {
    let mut interceptor = Command::new(env!("CARGO_BIN_EXE_kipper-interceptor"));
    interceptor
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(["--service", "interceptor", "--service-namespace", "kipper-system"])
        .args(["--cluster-domain", "example.com", "--name", "i-1", "--log-level", "error"]);
    survive_as(&mut interceptor, &WATCHES).await;
}

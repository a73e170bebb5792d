//! Every watch of the process survives whatever the API server does.

use kipper_api_server::watches::{Expected, survive_as};
use tokio::process::Command;

/// A new watch of the process fails this test until it stands here.
const WATCHES: [Expected; 1] = [Expected::labelled(
    "/api/v1/namespaces/kipper-system/secrets",
    "kipper.run%2Fbucket-trigger%3Dtrue",
)];

#[tokio::test]
async fn every_watch_survives_the_api_server() {
    let mut adapter = Command::new(env!("CARGO_BIN_EXE_kipper-scaler-adapter"));
    adapter
        .args(["--grpc-listen", "127.0.0.1:0", "--counts-listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0", "--bucket-namespace", "kipper-system"])
        .args(["--log-level", "error"]);
    survive_as(&mut adapter, &WATCHES).await;
}

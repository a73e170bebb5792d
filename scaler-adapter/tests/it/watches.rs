//! Every watch of the process survives whatever the API server does.

use kipper_api_server::{
    ApiServer,
    watches::{Expected, Time, survive},
};
use tokio::process::Command;

/// A new watch of the process fails this test until it stands here.
const WATCHES: [Expected; 1] = [Expected::labelled(
    "/api/v1/namespaces/kipper-system/secrets",
    "kipper.run%2Fbucket-trigger%3Dtrue",
)];

#[tokio::test]
async fn every_watch_survives_the_api_server() {
    let mut api = ApiServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("config");
    std::fs::write(&kubeconfig, api.kubeconfig()).unwrap();
    let mut adapter = Command::new(env!("CARGO_BIN_EXE_kipper-scaler-adapter"))
        .env("KUBECONFIG", &kubeconfig)
        .args(["--grpc-listen", "127.0.0.1:0", "--counts-listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0", "--bucket-namespace", "kipper-system"])
        .args(["--log-level", "error"])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    tokio::select! {
        () = survive(&mut api, Time::Real, &WATCHES) => {}
        ended = adapter.wait() => panic!("it ended: {ended:?}"),
    }
    adapter.kill().await.unwrap();
}

//! `kip console`: the web console with the rights of its user.

use http::Method;
use kipper_cluster::{
    names::SERVER_IMAGE,
    sandbox::{Sandbox, run},
};
use kipper_console_contract::{Console, check};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
};

use crate::{kip::Kip, rights};

/// One that runs until the child is dropped.
async fn start(kip: &Kip) -> (Child, Console) {
    let mut child = kip.command(&["console", "--no-open"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let printed = lines.next_line().await.unwrap().expect("the URL");
    (child, Console::new(&printed))
}

async fn spec(kip: &Kip, name: &str) -> Value {
    kip.json(&["function", "get", name, "-o", "json"]).await["spec"].clone()
}

fn one(sandbox: &Sandbox, name: &str) -> String {
    format!("/api/v1/ns/{}/functions/{name}", sandbox.namespace)
}

#[tokio::test]
async fn a_cluster_is_a_backend_as_any_other() {
    run("console", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let (_child, console) = start(&kip).await;
        check(&console, &sandbox.namespace, &sandbox.name("console")).await;
    })
    .await;
}

#[tokio::test]
async fn who_may_only_look_is_told_so_when_they_save() {
    run("console-reader", |sandbox| async move {
        let admin = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("console-reader");
        admin.ok(&["function", "create", &name, "--image", SERVER_IMAGE]).await;
        let before = spec(&admin, &name).await;
        let kip = Kip::new(&sandbox, &[]).await.with_kubeconfig(&rights::reader(&sandbox).await);
        let (_child, console) = start(&kip).await;

        let one = one(&sandbox, &name);
        let reply = console.get(&one).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let base = json!({ "generation": reply.body["generation"], "spec": reply.body["spec"] });
        let mut changed = reply.body["spec"].clone();
        changed["env"] = json!({ "A": "1" });
        let secrets = json!({ "set": {}, "delete": [] });
        let save = json!({ "spec": changed, "secrets": secrets, "base": base });
        let reply = console.send(Method::PUT, &one, &save).await;
        assert_eq!((reply.status, &reply.body["reason"]), (403, &json!("forbidden")), "{reply:?}");
        let words = reply.body["error"].as_str().unwrap();
        assert!(words.contains("cannot") && words.contains("resource \"functions\""), "{words}");
        assert_eq!(spec(&admin, &name).await, before);
    })
    .await;
}

//! What a function was before, and the way back.

use kipper_cluster::{
    sandbox::{Sandbox, run},
    wait::{expect, until},
};
use serde_json::json;

use crate::kip::Kip;

fn code(says: &str) -> String {
    format!("module.exports = async () => '{says}' // <&>\n")
}

/// Rows of the table without its heading, as words.
async fn rows(kip: &Kip, name: &str) -> Vec<Vec<String>> {
    let table = kip.ok(&["function", "history", name]).await;
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    table.lines().skip(1).map(words).collect()
}

/// Waits until the revisions have these numbers and the last is the current one.
async fn until_revisions(kip: &Kip, name: &str, numbers: &[&str]) {
    until(&format!("revisions {numbers:?}"), || async {
        let rows = rows(kip, name).await;
        let seen: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
        let is_last = rows.last().is_some_and(|row| row[1] == "*");
        expect(seen == numbers && is_last, || format!("{rows:?}"))
    })
    .await;
}

async fn answers(kip: &Kip, name: &str, expected: &str) {
    let end = kip.run(&["function", "invoke", name]).await;
    assert_eq!((end.code, end.stdout.trim_end()), (0, expected), "{end:?}");
}

async fn two_revisions(sandbox: &Sandbox, name: &str) -> Kip {
    let files = [("one.js", code("one")), ("two.js", code("two"))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let kip = Kip::new(sandbox, &files).await;
    kip.ok(&["function", "create", name, "--code-file", "one.js", "--wait"]).await;
    let update = ["--code-file", "two.js", "--env", "GREETING=hi", "--wait"];
    kip.ok(&[&["function", "update", name], &update[..]].concat()).await;
    until_revisions(&kip, name, &["1", "2"]).await;
    kip
}

#[tokio::test]
async fn a_function_goes_back_and_forth() {
    run("rollback", |sandbox| async move {
        let name = sandbox.name("back");
        let name = name.as_str();
        let kip = two_revisions(&sandbox, name).await;
        answers(&kip, name, "two").await;
        let rows = rows(&kip, name).await;
        assert_eq!(rows[0][2], "kip", "{rows:?}");
        assert_eq!(rows[1][4..6], ["node,", "code"], "{rows:?}");

        let shown = kip.ok(&["function", "history", name, "--revision", "1"]).await;
        assert!(shown.contains("'one'") && !shown.contains("GREETING"), "{shown}");
        let list = kip.json(&["function", "history", name, "-o", "json"]).await;
        assert_eq!(list["items"][1]["data"]["spec"]["env"], json!({ "GREETING": "hi" }));
        let named = kip.ok(&["function", "history", name, "-o", "name"]).await;
        assert!(named.starts_with(&format!("controllerrevision.apps/{name}-")), "{named}");

        let diff = ["function", "diff", name, "--revision", "1"];
        let shown = kip.ok(&diff).await;
        assert!(
            shown.contains("+++ current/index.js") && shown.contains("+  GREETING: hi"),
            "{shown}"
        );
        let end = kip.run(&[&diff[..], &["--exit-code"]].concat()).await;
        assert_eq!(end.code, 1, "{end:?}");

        let back = ["function", "rollback", name, "--wait"];
        let told = kip.ok(&back).await;
        let expected = format!("function {name} rolled back to revision 1 in namespace");
        assert!(told.starts_with(&expected) && told.contains("awake "), "{told}");
        answers(&kip, name, "one").await;
        until_revisions(&kip, name, &["2", "3"]).await;
        let object = kip.json(&["function", "get", name, "-o", "json"]).await;
        assert_eq!(object["spec"]["env"], json!(null));
        assert_eq!(kip.ok(&["function", "diff", name, "--revision", "3", "--exit-code"]).await, "");

        let told = kip.ok(&[&back[..], &["--to", "3"]].concat()).await;
        assert!(told.starts_with(&format!("function {name} unchanged: revision 3 is")), "{told}");
        // Back from the way back.
        kip.ok(&back).await;
        answers(&kip, name, "two").await;
        until_revisions(&kip, name, &["3", "4"]).await;

        for command in ["rollback", "history", "diff"] {
            let flag = if command == "rollback" { "--to" } else { "--revision" };
            let stderr = kip.fails(1, &["function", command, name, flag, "9"]).await;
            let expected = format!("function {name} has no revision 9; it has 3, 4");
            assert!(stderr.contains(&expected), "{stderr}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_image_goes_back_to_code() {
    run("image", |sandbox| async move {
        let name = sandbox.name("image");
        let name = name.as_str();
        let kip = two_revisions(&sandbox, name).await;
        let image = ["--image", kipper_cluster::names::SERVER_IMAGE, "--wait"];
        kip.ok(&[&["function", "update", name], &image[..]].concat()).await;
        until_revisions(&kip, name, &["1", "2", "3"]).await;
        kip.ok(&["function", "rollback", name, "--wait"]).await;
        answers(&kip, name, "two").await;
        let object = kip.json(&["function", "get", name, "-o", "json"]).await;
        assert_eq!(object["spec"]["image"], json!(null));
        until_revisions(&kip, name, &["1", "3", "4"]).await;
    })
    .await;
}

#[tokio::test]
async fn the_first_revision_has_none_before_it() {
    run("first", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("one.js", &code("one"))]).await;
        let name = sandbox.name("first");
        let name = name.as_str();
        kip.ok(&["function", "create", name, "--code-file", "one.js"]).await;
        until_revisions(&kip, name, &["1"]).await;
        let stderr = kip.fails(1, &["function", "rollback", name]).await;
        let expected = format!("function {name} has no earlier revision; it has 1");
        assert!(stderr.contains(&expected), "{stderr}");
        let stderr = kip.fails(1, &["function", "history", "none"]).await;
        assert!(stderr.contains("function none does not exist"), "{stderr}");
    })
    .await;
}

#[tokio::test]
async fn a_restart_replaces_the_pods_and_stays() {
    run("restart", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("one.js", &code("one"))]).await;
        let name = sandbox.name("restart");
        let name = name.as_str();
        kip.ok(&["function", "create", name, "--code-file", "one.js"]).await;
        let told = kip.ok(&["function", "restart", name]).await;
        let expected =
            format!("function {name} is at zero replicas: there is nothing to restart\n");
        assert_eq!(told, expected);

        answers(&kip, name, "one").await;
        sandbox.until_phase(name, "Running").await;
        let uids = || async {
            let pods = sandbox.pods(name).await;
            let is_live = |pod: &&serde_json::Value| pod["metadata"]["deletionTimestamp"].is_null();
            let live = pods.iter().filter(is_live);
            live.map(|pod| pod["metadata"]["uid"].clone()).collect::<Vec<_>>()
        };
        let before = uids().await;
        let told = kip.ok(&["function", "restart", name, "--wait"]).await;
        assert!(told.starts_with(&format!("function {name} restarted in namespace")), "{told}");
        let after = uids().await;
        assert!(after.iter().all(|uid| !before.contains(uid)), "{before:?} {after:?}");
        // It is no change of the spec.
        until_revisions(&kip, name, &["1"]).await;
        let object = kip.json(&["function", "get", name, "-o", "json"]).await;
        assert_eq!(object["metadata"]["generation"], json!(1));
        // What the controller does later does not start them again.
        kip.ok(&["function", "env", "set", name, "A=1"]).await;
        until_revisions(&kip, name, &["1", "2"]).await;
        let deployment = sandbox.object("Deployment", name).await.unwrap();
        let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
        assert!(annotations["kipper.run/restarted-at"].is_string(), "{annotations}");
    })
    .await;
}

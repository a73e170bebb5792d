//! Words that kubectl has, too: what they mean here.

use kipper_cluster::{names::SERVER_IMAGE, sandbox::run};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::kip::Kip;

/// Tells its line and its variable.
const CODE: &str = "module.exports = async (event) => {
  console.log('got', JSON.stringify(event))
  return { a: process.env.A ?? null, b: process.env.B ?? null, event }
}
";

#[tokio::test]
async fn lists_are_selected_and_watched() {
    run("watched", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("watched");
        let file = json!({
            "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
            "metadata": { "name": name, "labels": { "team": "web" } },
            "spec": { "image": SERVER_IMAGE },
        });
        std::fs::write(kip.folder.path().join("f.yaml"), file.to_string()).unwrap();
        kip.ok(&["function", "apply", "-f", "f.yaml"]).await;
        let listed = kip.ok(&["function", "list", "-l", "team=web", "-o", "name"]).await;
        assert_eq!(listed, format!("function.kipper.run/{name}\n"));
        assert_eq!(kip.ok(&["function", "list", "-l", "team=other", "-o", "name"]).await, "");

        let mut child = kip.command(&["function", "list", "-w", "-o", "name"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = format!("function.kipper.run/{name}");
        assert_eq!(lines.next_line().await.unwrap(), Some(line.clone()));
        // Each change is a line of its own.
        kip.ok(&["function", "env", "set", &name, "A=1"]).await;
        assert_eq!(lines.next_line().await.unwrap(), Some(line));
        child.kill().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_change_is_waited_for_until_pods_have_it() {
    run("settled", |sandbox| async move {
        let files = [
            ("f.js", CODE),
            ("env", "# two of them\nA=\"1\"\nB=2\n"),
            ("order.json", "{\"id\": 7}\n"),
        ];
        let kip = Kip::new(&sandbox, &files).await;
        let name = sandbox.name("settled");
        kip.ok(&["function", "create", &name, "--code-file", "f.js", "--wait"]).await;
        let told = kip.ok(&["function", "env", "set", &name, "--env-file", "env", "--wait"]).await;
        assert!(told.contains(&format!("function {name} ready, 200 after ")), "{told}");
        let answer = kip.json(&["function", "invoke", &name, "-d", "@order.json"]).await;
        assert_eq!(answer, json!({ "a": "1", "b": "2", "event": { "id": 7 } }));

        let set = ["function", "secret", "set", &name, "A", "--wait"];
        let end = kip.with_stdin(&set, "secret").await;
        assert_eq!(end.code, 0, "{end:?}");
        let answer = kip.json(&["function", "invoke", &name]).await;
        assert_eq!(answer["a"], "secret");

        let logs = ["function", "logs", &name, "--pods"];
        for body in ["1", "2", "3"] {
            kip.ok(&["function", "invoke", &name, "-d", body]).await;
        }
        assert_eq!(kip.ok(&[&logs[..], &["--tail", "2"]].concat()).await, "got 2\ngot 3\n");
        let end = kip.run(&["function", "logs", &name, "--previous"]).await;
        assert!(end.code == 0 && end.stderr.contains("has been restarted"), "{end:?}");

        let described = kip.json(&["function", "describe", &name, "-o", "json"]).await;
        assert_eq!(described["function"]["metadata"]["name"], json!(name));
        assert!(described["pods"].as_array().is_some_and(|pods| !pods.is_empty()), "{described}");
    })
    .await;
}

/// What the cluster refuses is said by its fields, and commands to paste go to the same namespace.
#[tokio::test]
async fn refusals_are_readable_and_hints_can_be_pasted() {
    run("hints", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("hints");
        let create = ["function", "create", &name, "--image", SERVER_IMAGE];
        let long = format!("--env=A={}", "x".repeat(10));
        let timeout = [&create[..], &["--cold-start-timeout=90000", &long]].concat();
        let stderr = kip.fails(2, &timeout).await;
        assert!(stderr.contains("spec.timeouts.coldStartSeconds: must be between"), "{stderr}");
        kip.ok(&create).await;
        let namespace = sandbox.namespace.as_str();
        let stderr = kip.fails(1, &["function", "get", "nothing", "-n", namespace]).await;
        assert!(stderr.contains(&format!("`kip function list -n {namespace}`")), "{stderr}");
        let cron = ["--trigger", "cron", "--schedule", "0 4 1 1 *", "-n", namespace];
        let told = kip.ok(&[&["function", "update", &name], &cron[..]].concat()).await;
        assert!(
            told.contains(&format!("try       kip function test {name} -n {namespace}")),
            "{told}"
        );
    })
    .await;
}

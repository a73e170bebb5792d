//! A function from its first deployment to its end.

use kipper_cluster::{
    sandbox::run,
    wait::{expect, until},
};
use serde_json::json;

use crate::kip::Kip;

/// Answers with what it got, and says so.
const ECHO: &str = "module.exports = async (event, context) => {
  console.log('echo of', JSON.stringify(event))
  if (context.path === '/teapot') return { statusCode: 418, body: 'short and stout' }
  return { statusCode: 200, body: { event, greeting: process.env.GREETING } }
}
";

#[tokio::test]
async fn a_function_is_deployed_asked_changed_and_deleted() {
    run("life", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("echo.js", ECHO)]).await;
        let name = sandbox.name("echo");
        let name = name.as_str();
        let host = sandbox.host(name);
        let create = [
            "function",
            "create",
            name,
            "--code-file",
            "echo.js",
            "--env",
            "GREETING=hi",
            "--wait",
        ];
        let told = kip.ok(&create).await;
        let lines: Vec<&str> = told.lines().collect();
        let created = format!("function {name} created in namespace {}", sandbox.namespace);
        assert_eq!(lines[0], created);
        assert_eq!(lines[1], format!("url       https://{host}"));
        assert_eq!(lines[2], format!("try       curl -H 'Host: {host}' {}", kip.interceptor()));
        assert!(lines[3].starts_with("awake     200 after "), "{told}");

        // Once more is no change, by the alias as well.
        let told = kip.ok(&[&["fn"], &create[1..7]].concat()).await;
        assert!(told.starts_with(&format!("function {name} unchanged in ")), "{told}");

        let data = "{\"a\":1}";
        let end = kip.run(&["function", "invoke", name, "--data", data]).await;
        assert_eq!(end.code, 0, "{end:?}");
        let body: serde_json::Value = serde_json::from_str(&end.stdout).unwrap();
        assert_eq!(body, json!({ "event": { "a": 1 }, "greeting": "hi" }));
        assert!(end.stderr.contains("200 OK after "), "{end:?}");
        let stderr = kip.fails(1, &["function", "invoke", name, "--path", "/teapot"]).await;
        assert!(stderr.contains("answered 418"), "{stderr}");
        let answer = kip.json(&["function", "invoke", name, "--data", data, "-o", "json"]).await;
        assert_eq!((&answer["status"], &answer["body"]["greeting"]), (&json!(200), &json!("hi")));

        logs(&kip, name).await;
        shown(&kip, name, &host).await;

        let update = ["function", "update", name, "--env", "GREETING=hello", "--wait"];
        let updated = kip.ok(&update).await;
        assert!(updated.starts_with(&format!("function {name} changed in ")), "{updated}");
        until("the new greeting", || async {
            let answer = kip.json(&["function", "invoke", name, "-o", "json"]).await;
            expect(answer["body"]["greeting"] == "hello", || answer.to_string())
        })
        .await;
        // The old pod answers, and is not what was waited for.
        let image = ["--image", "docker.io/kipper/no-such-image:dev", "--wait", "--timeout", "60s"];
        let stderr = kip.fails(1, &[&["function", "update", name], &image[..]].concat()).await;
        assert!(stderr.contains("is not ready: ImagePullFailed"), "{stderr}");
        let deleted = kip.ok(&["function", "delete", name]).await;
        assert_eq!(deleted, format!("function {name} deleted\n"));
        assert_eq!(sandbox.object("Function", name).await, None);
        let stderr = kip.fails(1, &["function", "invoke", name]).await;
        assert!(
            stderr.contains(&format!("function {name} does not exist in namespace")),
            "{stderr}"
        );
        assert!(stderr.contains("hint: `kip function list`"), "{stderr}");
    })
    .await;
}

async fn logs(kip: &Kip, name: &str) {
    let logs = ["function", "logs", name, "--search", "echo of {\"a\":1}", "--since"];
    // The kubelet reads a line a moment after it was said.
    until("the line of the invocation", || async {
        let lines = kip.ok(&[&logs[..], &["5m"]].concat()).await;
        expect(lines.lines().any(|line| line.ends_with("echo of {\"a\":1}")), || lines.clone())
    })
    .await;
    for since in ["15m", "1h", "6h", "24h", "7d"] {
        let json = kip.ok(&[&logs[..], &[since, "--json"]].concat()).await;
        let line: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(line["container"], "function", "{since}");
        assert!(line["pod"].as_str().unwrap().starts_with(name), "{since}");
    }
    let end = kip.run(&["function", "logs", name, "--search", "echo.*"]).await;
    assert_eq!((end.code, end.stdout.as_str()), (0, ""), "{end:?}");
    assert!(end.stderr.contains("no matching lines"), "{end:?}");
}

async fn shown(kip: &Kip, name: &str, host: &str) {
    let list = kip.ok(&["function", "list"]).await;
    let lines: Vec<Vec<&str>> =
        list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "TRIGGER", "PHASE", "REPLICAS", "URL", "AGE"]);
    assert_eq!((lines[1][0], lines[1][1]), (name, "http"));
    assert_eq!(lines[1][4], format!("https://{host}"));
    let names = kip.ok(&["function", "list", "-o", "name"]).await;
    assert_eq!(names, format!("function.kipper.run/{name}\n"));
    let everywhere = kip.ok(&["function", "list", "-A", "-o", "name"]).await;
    assert!(everywhere.contains(&names), "{everywhere}");
    let object = kip.json(&["function", "get", name, "-o", "json"]).await;
    assert_eq!(object["spec"]["env"], json!({ "GREETING": "hi" }));
    assert_eq!(object["metadata"]["managedFields"], json!(null));
    let described = kip.ok(&["function", "describe", name]).await;
    for expected in ["runs      node, 5 lines of code", "  GREETING=hi", "  Ready=True Reconciled"]
    {
        assert!(described.contains(expected), "{described}");
    }
    let end = kip.run(&["function", "get", name, "gone"]).await;
    assert_eq!(end.code, 1, "{end:?}");
    assert!(end.stdout.contains(name) && end.stderr.contains("function gone does not exist"));
}

#[tokio::test]
async fn at_zero_there_is_nothing_to_read_and_it_says_so() {
    run("zero", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("echo.js", ECHO)]).await;
        let name = sandbox.name("zero");
        kip.ok(&["function", "create", &name, "--code-file", "echo.js"]).await;
        let end = kip.run(&["function", "logs", &name]).await;
        assert_eq!((end.code, end.stdout.as_str()), (0, ""), "{end:?}");
        assert!(end.stderr.contains("is scaled to zero"), "{end:?}");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_become_ready_ends_the_wait() {
    run("broken", |sandbox| async move {
        let crash = "throw new Error('no such ledger')\n";
        let kip = Kip::new(&sandbox, &[("crash.js", crash)]).await;
        let name = sandbox.name("crash");
        let create =
            ["function", "create", &name, "--code-file", "crash.js", "--wait", "--timeout", "45s"];
        let stderr = kip.fails(1, &create).await;
        let told = "is not ready: ContainerCrashed: exit code 1: kipper: cannot load the function: \
                    no such ledger\n";
        assert!(stderr.contains(told), "{stderr}");
        let stderr = kip.fails(1, &["function", "invoke", &name]).await;
        assert!(
            stderr.contains(&format!("function {name} cannot start: ContainerCrashed")),
            "{stderr}"
        );
    })
    .await;
}

/// The pods of the version before serve all the while: the wait ends with the cause none the less, and the
/// cause stays.
#[tokio::test]
async fn a_broken_update_of_a_function_that_serves_ends_the_wait() {
    run("brokenlive", |sandbox| async move {
        let files = [("good.js", ECHO), ("bad.js", "module.exports = async () => {\n")];
        let kip = Kip::new(&sandbox, &files).await;
        let name = sandbox.name("live");
        kip.ok(&["function", "create", &name, "--code-file", "good.js", "--wait"]).await;
        let update = ["function", "update", &name, "--code-file", "bad.js", "--wait"];
        let stderr = kip.fails(1, &update).await;
        assert!(stderr.contains("is not ready: ContainerCrashed"), "{stderr}");
        assert!(stderr.contains("SyntaxError"), "{stderr}");
        kip.ok(&["function", "invoke", &name]).await;
        kip.ok(&["function", "rollback", &name, "--wait"]).await;
    })
    .await;
}

//! The web console of `kip dev`: the contract of every backend, and what is its own: files.

use std::fs;

use kipper_console_contract::{Console, check};
use serde_json::{Value, json};

use crate::support::{Kip, folder, save};

const HELLO: &str = "module.exports = async () => 'hello'\n";
const MANIFEST: &str = "# Ours.\napiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {name: a}\n\
    spec: {runtime: node, source: {code: \"module.exports = () => 'a'\"}}\n---\n\
    apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {name: b}\n\
    spec: {runtime: node, source: {code: \"module.exports = () => 'b'\"}}\n";

fn start(files: &[(&str, &str)]) -> (tempfile::TempDir, Kip, Console) {
    let folder = folder(files);
    let kip = Kip::start(folder.path(), &["--console-port=0"]);
    let console = Console::new(&kip.wait_for("console on "));
    (folder, kip, console)
}

fn on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

fn one(name: &str) -> String {
    format!("/api/v1/ns/local/functions/{name}")
}

async fn change(console: &Console, name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let loaded = console.get(&one(name)).await.body;
    let mut spec = loaded["spec"].clone();
    change(&mut spec);
    let base = json!({ "generation": loaded["generation"], "spec": loaded["spec"] });
    let form = json!({ "spec": spec, "base": base });
    let reply = console.send(http::Method::PUT, &one(name), &form).await;
    json!({ "status": reply.status, "body": reply.body })
}

#[test]
fn local_functions_are_as_those_of_a_cluster() {
    let (_folder, _kip, console) = start(&[("hello.js", HELLO)]);
    on(check(&console, "local", "made-here"));
}

#[test]
fn a_save_writes_the_file_and_what_runs_follows() {
    let (folder, kip, console) = start(&[("hello.js", HELLO), ("all.yaml", MANIFEST)]);
    assert_eq!(kip.get("fn-hello-localhost", "/").1, "hello");
    let code = "module.exports = async () => `hi ${process.env.WHO}`\n";
    let saved = on(change(&console, "hello", |spec| spec["source"]["code"] = json!(code)));
    assert_eq!(saved["body"]["outcome"], "changed", "{saved}");
    assert_eq!(fs::read_to_string(folder.path().join("hello.js")).unwrap(), code);
    crate::support::until("the new code answers", || {
        kip.get("fn-hello-localhost", "/").1 == "hi undefined"
    });

    // Code files hold code alone: what else there is makes a manifest of it.
    let saved = on(change(&console, "hello", |spec| spec["env"] = json!({ "WHO": "you" })));
    assert_eq!(saved["body"]["outcome"], "changed", "{saved}");
    assert!(!folder.path().join("hello.js").exists());
    let manifest = fs::read_to_string(folder.path().join("hello.yaml")).unwrap();
    assert!(
        manifest.contains("WHO: you") && manifest.contains("hi ${process.env.WHO}"),
        "{manifest}"
    );
    crate::support::until("the variable is there", || {
        kip.get("fn-hello-localhost", "/").1 == "hi you"
    });

    // One document of a file; the other one and the comment above stay.
    let saved = on(change(&console, "b", |spec| {
        spec["source"]["code"] = json!("module.exports = () => 'b2'");
    }));
    assert_eq!(saved["body"]["outcome"], "changed", "{saved}");
    let all = fs::read_to_string(folder.path().join("all.yaml")).unwrap();
    assert!(all.starts_with(&MANIFEST[..MANIFEST.find("---").unwrap()]), "{all}");
    crate::support::until("the new code answers", || kip.get("fn-b-localhost", "/").1 == "b2");
    assert_eq!(kip.get("fn-a-localhost", "/").1, "a");
}

#[test]
fn what_an_editor_changed_meanwhile_is_kept() {
    let (folder, _kip, console) = start(&[("hello.js", HELLO)]);
    on(async {
        let loaded = console.get(&one("hello")).await.body;
        let base = json!({ "generation": loaded["generation"], "spec": loaded["spec"] });
        let mut stream = console.stream("ns=local&fn=hello").await;
        stream.until("the function", |update| update["type"] == "function").await;
        save(&folder.path().join("hello.js"), "module.exports = async () => 'edited'\n");
        let edited = |update: &Value| {
            let code = &update["function"]["spec"]["source"]["code"];
            code.as_str().is_some_and(|code| code.contains("edited"))
        };
        stream.until("the edit", edited).await;
        let mut spec = loaded["spec"].clone();
        spec["source"]["code"] = json!("module.exports = async () => 'typed'\n");
        let form = json!({ "spec": spec, "base": base });
        let reply = console.send(http::Method::PUT, &one("hello"), &form).await;
        assert_eq!(reply.status, 409, "{reply:?}");
        assert_eq!(reply.body["conflicts"][0]["path"], "spec.source.code");
    });
}

#[test]
fn what_does_not_start_is_told_and_a_broken_file_cannot_be_saved() {
    let (folder, kip, console) = start(&[("hello.js", "throw new Error('no luck')\n")]);
    assert_eq!(kip.get("fn-hello-localhost", "/").0, 502);
    on(async {
        let mut stream = console.stream("ns=local&fn=hello").await;
        let failed = |update: &Value| update["function"]["status"]["phase"] == "Failed";
        let update = stream.until("the failure", failed).await;
        let ready = &update["function"]["status"]["conditions"][0];
        assert!(ready["message"].as_str().is_some_and(|m| m.contains("no luck")), "{ready}");
        let made = json!({ "name": "y", "spec": { "runtime": "node", "source": { "code": HELLO },
            "env": { "A": "1" } } });
        let list = "/api/v1/ns/local/functions";
        assert_eq!(console.send(http::Method::POST, list, &made).await.status, 201);
        fs::write(folder.path().join("y.yaml"), "kind: [\n").unwrap();
        let found = console.get(&one("y")).await.body;
        assert!(found["readOnly"].as_str().is_some_and(|why| why.contains("y.yaml")), "{found}");
        let refused = change(&console, "y", |spec| spec["env"]["A"] = json!("2")).await;
        assert_eq!(refused["status"], 501, "{refused}");
        assert_eq!(fs::read_to_string(folder.path().join("y.yaml")).unwrap(), "kind: [\n");
    });
}

#[test]
fn a_cron_function_is_run_by_the_page() {
    let cron = "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {name: nightly}\nspec:\n  \
        runtime: node\n  source: {code: \"module.exports = () => \
        console.log('run by', process.env.KIPPER_TRIGGER)\"}\n  \
        triggers: [{type: cron, schedule: '0 2 1 1 *'}]\n";
    let (_folder, _kip, console) = start(&[("nightly.yaml", cron)]);
    on(async {
        let mut stream = console.stream("ns=local&fn=nightly&logs=true").await;
        stream.until("the function", |update| update["type"] == "function").await;
        let run = format!("{}/test", one("nightly"));
        assert_eq!(console.send(http::Method::POST, &run, &Value::Null).await.status, 202);
        let said = |update: &Value| update["line"]["text"] == "run by test";
        stream.until("its line", said).await;
        let ended = |update: &Value| {
            update["function"]["status"]["schedule"]["lastRun"]["result"] == "Succeeded"
        };
        stream.until("its end", ended).await;
    });
}

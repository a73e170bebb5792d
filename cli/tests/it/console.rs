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
        save(&folder.path().join("y.yaml"), "kind: [\n");
        let found = console.get(&one("y")).await.body;
        assert!(found["readOnly"].as_str().is_some_and(|why| why.contains("y.yaml")), "{found}");
        let refused = change(&console, "y", |spec| spec["env"]["A"] = json!("2")).await;
        assert_eq!(refused["status"], 501, "{refused}");
        assert_eq!(fs::read_to_string(folder.path().join("y.yaml")).unwrap(), "kind: [\n");
    });
}

#[test]
fn a_function_goes_with_its_file_and_comes_back_with_it() {
    let (folder, kip, console) = start(&[("hello.js", HELLO), ("all.yaml", MANIFEST)]);
    on(async {
        let mut stream = console.stream("ns=local&fn=hello").await;
        stream.until("the function", |update| update["type"] == "function").await;
        let mut all = console.stream("ns=local").await;
        let names = |update: &Value| {
            let items = update["items"].as_array().cloned().unwrap_or_default();
            items.iter().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
        };
        let are = |expected: &'static [&str]| {
            move |update: &Value| -> bool {
                let found: Vec<String> = names(update);
                found == expected
            }
        };
        all.until("all of them", are(&["a", "b", "hello"])).await;
        fs::remove_file(folder.path().join("hello.js")).unwrap();
        stream.until("its end", |update| update["type"] == "gone").await;
        all.until("a list without it", are(&["a", "b"])).await;
        let reply = console.get(&one("hello")).await;
        assert_eq!((reply.status, &reply.body["reason"]), (404, &json!("not_found")));
        assert_eq!(kip.get("fn-hello-localhost", "/").0, 404);
        // Every function of a file goes with it.
        fs::remove_file(folder.path().join("all.yaml")).unwrap();
        all.until("an empty list", are(&[])).await;
        save(&folder.path().join("hello.js"), HELLO);
        stream.until("the function again", |update| update["type"] == "function").await;
        assert_eq!(kip.get("fn-hello-localhost", "/").1, "hello");
    });
}

/// An editor that renames the old file away before it writes the new one.
#[test]
fn a_file_that_is_away_for_a_moment_keeps_its_function() {
    let folder = folder(&[("hello.js", HELLO)]);
    // Given by its own name, and not by its folder's.
    let path = folder.path().join("hello.js");
    let kip = Kip::start(&path, &["--console-port=0"]);
    assert_eq!(kip.get("fn-hello-localhost", "/").1, "hello");
    let aside = folder.path().join("hello.js~");
    fs::rename(&path, &aside).unwrap();
    fs::write(&path, "module.exports = async () => 'edited'\n").unwrap();
    crate::support::until("the edit", || kip.get("fn-hello-localhost", "/").1 == "edited");
    fs::remove_file(&path).unwrap();
    kip.wait_for("hello: removed");
    fs::rename(&aside, &path).unwrap();
    crate::support::until("the former one", || kip.get("fn-hello-localhost", "/").1 == "hello");
    assert_eq!(kip.lines().iter().filter(|line| line.contains("hello: removed")).count(), 1);
}

#[test]
fn a_restart_replaces_the_process_and_nothing_else() {
    let code = "module.exports = async () => String(process.pid)\n";
    let (_folder, kip, console) = start(&[("hello.js", code)]);
    on(async {
        let restart = format!("{}/restart", one("hello"));
        let restart = || console.send(http::Method::POST, &restart, &Value::Null);
        let reply = restart().await;
        let nothing = json!({ "restarted": false, "why": "is at zero replicas" });
        assert_eq!((reply.status, &reply.body), (200, &nothing));
        let first = kip.get("fn-hello-localhost", "/").1;
        let mut stream = console.stream("ns=local&fn=hello").await;
        let runs = |update: &Value| update["function"]["status"]["phase"] == "Running";
        let before = stream.until("it runs", runs).await;
        let reply = restart().await;
        assert_eq!((reply.status, &reply.body["restarted"]), (200, &json!(true)), "{reply:?}");
        crate::support::until("another process", || {
            let (status, pid) = kip.get("fn-hello-localhost", "/");
            status == 200 && pid != first
        });
        let after = console.get(&one("hello")).await.body;
        assert_eq!(after["generation"], before["function"]["generation"]);
    });
}

#[test]
fn requests_are_told_by_the_second() {
    let (_folder, kip, console) = start(&[("hello.js", HELLO)]);
    on(async {
        let mut stream = console.stream("ns=local&fn=hello").await;
        let rate = |update: &Value| update["type"] == "rate";
        let quiet = stream.until("a rate", rate).await;
        assert_eq!((&quiet["perSecond"], &quiet["source"]), (&json!(0.0), &json!("counter")));
        assert_eq!(kip.get("fn-hello-localhost", "/").1, "hello");
        let is_busy = |update: &Value| update["perSecond"].as_f64().is_some_and(|rate| rate > 0.0);
        let busy = stream.until("the request", |update| rate(update) && is_busy(update)).await;
        assert_eq!(busy["replicas"], 1, "{busy}");
        // One that is over is none of the next seconds.
        stream.until("quiet again", |update| rate(update) && !is_busy(update)).await;
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

/// A link in a folder leads a save nowhere, and a file that the page does not show is not replaced by it.
#[cfg(unix)]
#[test]
fn a_save_stays_within_its_folder_and_replaces_nothing_that_is_not_shown() {
    use std::os::unix::fs::symlink;

    let outside = folder(&[("x.js", "before")]);
    let home = folder(&[("f/index.js", HELLO), ("f/.env", "A=1"), ("f/image.bin", "\0")]);
    let folder = home.path().join("f");
    symlink(outside.path(), folder.join("lib")).unwrap();
    let kip = Kip::start(&folder, &["--console-port=0"]);
    let console = Console::new(&kip.wait_for("console on "));
    for (file, reason) in [
        ("lib/x.js", "unsupported"),
        ("lib/new.js", "unsupported"),
        (".env", "unsupported"),
        ("node_modules/p/index.js", "unsupported"),
        ("image.bin", "exists"),
    ] {
        let saved = on(change(&console, "f", |spec| {
            spec["source"]["files"]["index.js"] = json!("module.exports = () => 'changed'\n");
            spec["source"]["files"][file] = json!("after");
        }));
        assert_eq!(saved["body"]["reason"], reason, "{file}: {saved}");
    }
    // Nothing of a refused save is written.
    assert_eq!(fs::read_to_string(folder.join("index.js")).unwrap(), HELLO);
    assert_eq!(fs::read_to_string(outside.path().join("x.js")).unwrap(), "before");
    assert!(!outside.path().join("new.js").exists() && !folder.join("node_modules").exists());
    assert_eq!(fs::read_to_string(folder.join(".env")).unwrap(), "A=1");

    let saved = on(change(&console, "f", |spec| {
        spec["source"]["files"]["deep/new.js"] = json!("module.exports = 1\n");
    }));
    assert_eq!(saved["body"]["outcome"], "changed", "{saved}");
    assert!(folder.join("deep/new.js").exists());
}

#[cfg(unix)]
#[test]
fn a_file_that_is_a_link_stays_one() {
    let outside = folder(&[("there.js", HELLO)]);
    let home = folder(&[("other.js", HELLO)]);
    std::os::unix::fs::symlink(outside.path().join("there.js"), home.path().join("linked.js"))
        .unwrap();
    let kip = Kip::start(home.path(), &["--console-port=0"]);
    let console = Console::new(&kip.wait_for("console on "));
    let code = "module.exports = () => 'changed'\n";
    let saved = on(change(&console, "linked", |spec| spec["source"]["code"] = json!(code)));
    assert_eq!(saved["body"]["outcome"], "changed", "{saved}");
    assert_eq!(fs::read_to_string(outside.path().join("there.js")).unwrap(), code);
    assert!(home.path().join("linked.js").is_symlink());
}

#[test]
fn one_function_too_many_is_refused_before_its_file_is_written() {
    let names: Vec<String> = (0..100).map(|n| format!("f{n}.js")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), HELLO)).collect();
    let (folder, _kip, console) = start(&files);
    let new = json!({ "name": "more", "spec": { "runtime": "node", "source": { "code": HELLO } } });
    let reply = on(console.send(http::Method::POST, "/api/v1/ns/local/functions", &new));
    assert_eq!((reply.status, &reply.body["reason"]), (501, &json!("unsupported")), "{reply:?}");
    assert!(reply.body["error"].as_str().unwrap().contains("100"), "{reply:?}");
    assert!(!folder.path().join("more.js").exists());
}

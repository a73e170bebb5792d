//! What programs may rely on: the form of everything that `-o json` prints.

use kipper_cluster::{
    sandbox::{condition_is, run},
    wait::{expect, until},
};
use kipper_function::{Function, names::condition::READY};
use serde_json::{Map, Value, json};

use crate::kip::{Kip, service};

const CODE: &str = "module.exports = async () => ({ ok: true })\n";

/// Keys with their types. Of a list every form that is in it; `null` beside another form is a field
/// that may be absent.
fn schema(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("boolean"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Array(values) => {
            let mut forms: Vec<Value> = values.iter().map(schema).collect();
            forms.sort_by_key(Value::to_string);
            forms.dedup();
            Value::Array(forms)
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), schema(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

#[track_caller]
fn check(name: &str, printed: &Value) {
    let text = serde_json::to_string_pretty(&schema(printed)).unwrap();
    insta::assert_snapshot!(name, text);
}

#[tokio::test]
async fn what_is_printed_for_programs_keeps_its_form() {
    run("schemas", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("code.js", CODE)]).await;
        let name = sandbox.name("forms");
        let name = name.as_str();
        service(&sandbox, "cache", "redis").await;
        let values = [("HOST", "cache"), ("PORT", "6379"), ("PASSWORD", "first")];
        sandbox.secret("cache-credentials", &values).await;
        kip.ok(&["volume", "create", "scratch"]).await;
        let create = [
            ["function", "create", name, "--code-file", "code.js"],
            ["--env", "A=b", "--bind", "cache", "-o=json"],
            ["--dependency", "left-pad@1.3.0", "--volume", "scratch:/data", "--dry-run=server"],
        ]
        .concat();
        check("create_dry_run", &kip.json(&create).await);
        let create = [&create[..10], &["--secret", "TOKEN"]].concat();
        let end = kip.with_stdin(&create, "hunter2").await;
        assert_eq!(end.code, 0, "{end:?}");
        check("create", &serde_json::from_str(&end.stdout).unwrap());
        // The secret may be seen a moment after the function.
        let is_told = |f: &Function| {
            condition_is(f, READY, "True", "Reconciled")?;
            let keys = f.status.clone().unwrap_or_default().secret_keys;
            expect(keys.len() == 1, || format!("{keys:?}"))
        };
        sandbox.function_that(name, "to be ready", is_told).await;
        check("get", &kip.json(&["function", "get", name, "-o", "json"]).await);
        check("list", &kip.json(&["function", "list", "-o", "json"]).await);
        check("list_nothing", &kip.json(&["fn", "list", "-o", "json", "-n", "default"]).await);
        let update = ["function", "update", name, "--env", "A=c", "-o", "json"];
        check("update", &kip.json(&update).await);
        let yaml = kip.ok(&["function", "get", name, "-o", "yaml"]).await;
        std::fs::write(kip.folder.path().join("f.yaml"), yaml).unwrap();
        let apply = ["function", "apply", "-f", "f.yaml", "--dry-run=client", "-o", "json"];
        check("apply_dry_run", &kip.json(&apply).await);
        check("invoke", &kip.json(&["function", "invoke", name, "-o", "json"]).await);
        let logs = ["function", "logs", name, "--json"];
        // The kubelet reads a line a moment after it was said.
        until("a line", || async {
            let lines = kip.ok(&logs).await;
            expect(!lines.is_empty(), || lines)
        })
        .await;
        let logs = kip.ok(&logs).await;
        check("logs", &serde_json::from_str(logs.lines().next().unwrap()).unwrap());
        kip.ok(&["function", "deps", "add", name, "left-pad@1.3.0"]).await;
        for (list, snapshot) in
            [("env", "env_list"), ("secret", "secret_list"), ("deps", "deps_list")]
        {
            check(snapshot, &kip.json(&["function", list, "list", name, "-o", "json"]).await);
        }
        check("volume_list", &kip.json(&["volume", "list", "-o", "json"]).await);
        check("version", &kip.json(&["version", "-o", "json"]).await);
        check("version_client", &kip.json(&["version", "--client", "-o", "json"]).await);
    })
    .await;
}

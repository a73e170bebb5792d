//! `docs/fields.md` names every field of the Function resource as its schema has it.
//! `UPDATE=1 cargo test -p kipper-function` writes it anew.

use std::{env, fmt::Write as _, fs};

use kipper_function::Function;
use kube::CustomResourceExt as _;
use serde_json::Value;

const HEAD: &str = "# Fields of a Function

Every field of `kipper.run/v1alpha1`, kind `Function`, made from its schema. `[]` is a list, `*` a required field. What the settings
of an event trigger's `config` are: [PostgreSQL](../../../poller/docs/postgres.md), [MySQL and
MariaDB](../../../poller/docs/mysql.md), [Redis](../../../poller/docs/redis.md), [buckets](../../../poller/docs/minio.md).
`kubectl explain function.spec` prints the same from a cluster.
";

#[test]
fn every_field_is_in_the_reference() {
    let crd = serde_json::to_value(Function::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut text = HEAD.to_owned();
    for part in ["spec", "status"] {
        text.push_str(&format!(
            "\n## {part}\n\n| field | type | default | what |\n|---|---|---|---|\n"
        ));
        rows(&mut text, "", &schema["properties"][part]);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fields.md");
    if env::var_os("UPDATE").is_some() {
        fs::write(path, &text).unwrap();
    }
    assert!(fs::read_to_string(path).unwrap() == text, "run it with UPDATE=1 to write {path}");
    // What the schema has in a form that the table does not know would be missing.
    for field in ["`source.files`", "`triggers[].schedule`", "`resources.tmpLimit`"] {
        assert!(text.contains(field), "{field}");
    }
}

/// A row for each field below `prefix`, those of objects and lists behind their own.
fn rows(text: &mut String, prefix: &str, schema: &Value) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let is_list = field["type"] == "array";
        let inner = if is_list { &field["items"] } else { field };
        let path = format!("{prefix}{name}{}", if is_list { "[]" } else { "" });
        let star = if required.contains(&name.as_str()) { " *" } else { "" };
        let default = field.get("default").map(|value| format!("`{value}`")).unwrap_or_default();
        let words = field["description"].as_str().unwrap_or_default();
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        assert!(!words.is_empty(), "{path} has no description");
        writeln!(text, "| `{path}`{star} | {} | {default} | {words} |", kind(inner)).unwrap();
        rows(text, &format!("{path}."), inner);
    }
}

fn kind(schema: &Value) -> String {
    let mut words = schema["type"].as_str().unwrap_or("any").to_owned();
    if let Some(values) = schema.get("additionalProperties") {
        words = format!("map to {}", values["type"].as_str().unwrap_or("any"));
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        return values.join(", ");
    }
    let bound = |name: &str| schema[name].as_f64().map(|bound| bound.to_string());
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!("{words}, {least} to {most}"),
        (Some(least), None) => format!("{words}, at least {least}"),
        _ => words,
    }
}

//! The contract, from the first look to the deletion of a function.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::Console;

/// A value that no answer may contain, but the function's own.
const CANARY: &str = "canary-4f1c9a77";
const CODE: &str = "module.exports = async () => {\n  console.log('called with', process.env.GREETING)\n  \
    return { greeting: process.env.GREETING ?? null, key: Boolean(process.env.API_KEY) }\n}\n";

/// Runs all of it in namespace `ns`, with a function of this name.
pub async fn check(console: &Console, ns: &str, name: &str) {
    strangers_are_refused(console, ns).await;
    what_is_the_same_everywhere(console).await;
    what_is_wrong_is_told_at_its_field(console, ns, name).await;
    let one = format!("/api/v1/ns/{ns}/functions/{name}");
    a_function_is_made_once(console, ns, name, &one).await;
    a_save_is_merged_or_refused(console, &one).await;
    secrets_are_never_read_again(console, &one).await;
    it_is_called_and_its_lines_are_read(console, ns, name, &one).await;
    it_goes(console, ns, name, &one).await;
    assert!(!console.has_heard(CANARY), "a secret was in an answer");
}

async fn strangers_are_refused(console: &Console, ns: &str) {
    let list = format!("/api/v1/ns/{ns}/functions");
    let stranger = console.with_token("0123");
    let reply = stranger.get(&list).await;
    assert_eq!((reply.status, &reply.body["reason"]), (401, &json!("unauthenticated")));
    let none = http::HeaderMap::new();
    let reply = console.raw(console.url(), Method::GET, &list, none, Bytes::new()).await;
    assert_eq!(reply.status, 401);

    // A name of somebody else that leads here.
    let rebound = "http://rebound.example";
    let reply = console.raw(rebound, Method::GET, &list, console.headers(), Bytes::new()).await;
    assert_eq!((reply.status, &reply.body["reason"]), (403, &json!("origin")));
    // A page of a function, which has the token by whatever means.
    for (field, value) in [("origin", "http://fn-x.example"), ("sec-fetch-site", "same-site")] {
        let mut headers = console.headers();
        headers.insert(field, value.parse().unwrap());
        let reply =
            console.raw(console.url(), Method::POST, &list, headers, Bytes::from("{}")).await;
        assert_eq!((reply.status, &reply.body["reason"]), (403, &json!("origin")), "{field}");
    }
    let mut headers = console.headers();
    headers.remove("kipper-console");
    let reply = console.raw(console.url(), Method::POST, &list, headers, Bytes::from("{}")).await;
    assert_eq!(reply.status, 403);
    let page = console.raw(console.url(), Method::GET, "/", http::HeaderMap::new(), Bytes::new());
    let page = page.await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
}

async fn what_is_the_same_everywhere(console: &Console) {
    let meta = console.get("/api/v1/meta").await.body;
    for field in ["runtimes", "cronPresets", "triggers", "defaults", "limits", "can", "prefixes"] {
        assert!(!meta[field].is_null(), "{field}: {meta}");
    }
    let first = console.get("/api/v1/functions").await.body;
    assert_eq!(first["namespace"], meta["namespace"]);
    let same = format!("/api/v1/ns/{}/functions", meta["namespace"].as_str().unwrap());
    assert_eq!(first["items"], console.get(&same).await.body["items"]);
    let cron = json!({ "schedule": "0 2 * * *" });
    let told = console.send(Method::POST, "/api/v1/cron", &cron).await.body;
    assert_eq!(told["description"], "Every day at 02:00 UTC");
    assert_eq!(told["next"].as_array().map(Vec::len), Some(5));
    let cron = json!({ "schedule": "often" });
    let reply = console.send(Method::POST, "/api/v1/cron", &cron).await;
    assert_eq!((reply.status, &reply.body["problems"][0]["path"]), (422, &json!("schedule")));
    let binding = json!({ "kind": "postgres", "prefix": "SHOP_" });
    let told = console.send(Method::POST, "/api/v1/bindings/preview", &binding).await.body;
    assert!(told["names"].as_array().is_some_and(|n| n.contains(&json!("SHOP_HOST"))), "{told}");
    let reply = console.get("/api/v1/nothing").await;
    assert_eq!((reply.status, &reply.body["reason"]), (404, &json!("not_found")));
}

async fn what_is_wrong_is_told_at_its_field(console: &Console, ns: &str, name: &str) {
    let list = format!("/api/v1/ns/{ns}/functions");
    let spec = json!({ "runtime": "node", "source": { "code": CODE }, "port": 99_999,
        "triggers": [{ "type": "cron", "schedule": "often" }] });
    let draft = json!({ "namespace": ns, "name": name, "spec": spec, "isNew": true });
    let told = console.send(Method::POST, "/api/v1/check", &draft).await.body;
    let problems = told["problems"].as_array().unwrap();
    let paths: Vec<&str> = problems.iter().filter_map(|p| p["path"].as_str()).collect();
    assert_eq!(paths, ["spec.port", "spec.triggers[0].schedule"], "{told}");
    let reply = console.send(Method::POST, &list, &json!({ "name": name, "spec": spec })).await;
    assert_eq!((reply.status, &reply.body["reason"]), (422, &json!("invalid")));
    let reply = console.send(Method::POST, &list, &json!({ "name": "No Name", "spec": {} })).await;
    assert_eq!(reply.body["problems"][0]["path"], "metadata.name");
    let typo = json!({ "name": name, "spec": { "runtime": "node", "sourc": {} } });
    let reply = console.send(Method::POST, &list, &typo).await;
    assert_eq!((reply.status, &reply.body["error"]), (400, &json!("unknown field spec.sourc")));
    let large = json!({ "name": name, "spec": { "source": { "code": "x".repeat(5 << 20) } } });
    let reply = console.send(Method::POST, &list, &large).await;
    assert_eq!((reply.status, &reply.body["reason"]), (413, &json!("too_large")));
    let reply = console.get(&format!("{list}/{name}")).await;
    assert_eq!((reply.status, &reply.body["reason"]), (404, &json!("not_found")));
}

async fn a_function_is_made_once(console: &Console, ns: &str, name: &str, one: &str) {
    let list = format!("/api/v1/ns/{ns}/functions");
    let mut stream = console.stream(&format!("ns={ns}")).await;
    stream.until("the list", |update| update["type"] == "functions").await;
    let spec = json!({ "runtime": "node", "source": { "code": CODE } });
    let new = json!({ "name": name, "spec": spec, "secrets": { "set": { "API_KEY": CANARY } } });
    let reply = console.send(Method::POST, &list, &new).await;
    let function = &reply.body["function"];
    assert_eq!((reply.status, &function["name"]), (201, &json!(name)), "{reply:?}");
    let done = (&reply.body["outcome"], &reply.body["written"], &reply.body["failed"]);
    assert_eq!(done, (&json!("created"), &json!(["secrets", "spec"]), &Value::Null));
    let is_listed = |items: &Value| {
        items.as_array().is_some_and(|items| items.iter().any(|item| item["name"] == name))
    };
    stream.until("the new function", |update| is_listed(&update["items"])).await;
    assert!(is_listed(&console.get(&list).await.body["items"]));
    // Created is never overwritten.
    let reply = console.send(Method::POST, &list, &new).await;
    assert_eq!((reply.status, &reply.body["reason"]), (409, &json!("exists")));
    let found = console.get(one).await.body;
    assert_eq!(found["spec"]["source"]["code"], CODE);
    assert!(found["generation"].as_i64().is_some_and(|generation| generation > 0), "{found}");
    // Whoever may do everything is told of nothing that they may not.
    assert_eq!(found["readOnly"], Value::Null, "{found}");
    let rights = console.get(&format!("/api/v1/ns/{ns}/rights")).await;
    assert_eq!((rights.status, &rights.body), (200, &json!({ "create": null })));
}

/// A form that was loaded with `from` and has this spec now.
fn form(from: &Value, spec: &Value) -> Value {
    let base = json!({ "generation": from["generation"], "spec": from["spec"] });
    json!({ "spec": spec, "base": base })
}

async fn a_save_is_merged_or_refused(console: &Console, one: &str) {
    let loaded = console.get(one).await.body;
    let saved = console.send(Method::PUT, one, &form(&loaded, &loaded["spec"])).await.body;
    assert_eq!((&saved["outcome"], &saved["written"]), (&json!("unchanged"), &json!([])));
    assert_eq!(saved["function"]["generation"], loaded["generation"]);

    let mut theirs = loaded["spec"].clone();
    theirs["env"] = json!({ "GREETING": "hello" });
    let saved = console.send(Method::PUT, one, &form(&loaded, &theirs)).await.body;
    assert_eq!((&saved["outcome"], &saved["written"]), (&json!("changed"), &json!(["spec"])));
    assert_eq!(saved["function"]["spec"]["env"]["GREETING"], "hello");
    assert_ne!(saved["function"]["generation"], loaded["generation"]);

    // Loaded before that, and of another field.
    let mut yours = loaded["spec"].clone();
    yours["idleTimeoutSeconds"] = json!(77);
    let saved = console.send(Method::PUT, one, &form(&loaded, &yours)).await.body;
    let spec = &saved["function"]["spec"];
    assert_eq!(
        (&spec["env"]["GREETING"], &spec["idleTimeoutSeconds"]),
        (&json!("hello"), &json!(77))
    );
    assert_eq!(saved["merged"], json!(["spec.env"]));

    // Of the same field.
    let mut yours = loaded["spec"].clone();
    yours["env"] = json!({ "GREETING": "good evening" });
    let reply = console.send(Method::PUT, one, &form(&loaded, &yours)).await;
    assert_eq!((reply.status, &reply.body["reason"]), (409, &json!("conflict")));
    let expected = json!({ "path": "spec.env.GREETING", "base": null, "yours": "good evening",
        "theirs": "hello" });
    assert_eq!(reply.body["conflicts"], json!([expected]));
    let current = &reply.body["current"];
    let mut spec = current["spec"].clone();
    spec["env"]["GREETING"] = json!("good evening");
    let saved = console.send(Method::PUT, one, &form(current, &spec)).await.body;
    assert_eq!(saved["function"]["spec"]["env"]["GREETING"], "good evening");
    assert_eq!(saved["function"]["spec"]["idleTimeoutSeconds"], 77);

    let mut wrong = spec.clone();
    wrong["port"] = json!(0);
    let reply = console.send(Method::PUT, one, &form(&saved["function"], &wrong)).await;
    assert_eq!((reply.status, &reply.body["problems"][0]["path"]), (422, &json!("spec.port")));
    assert_eq!(console.get(one).await.body["generation"], saved["function"]["generation"]);
}

async fn secrets_are_never_read_again(console: &Console, one: &str) {
    let mut stream_of_one = one.split('/').skip(4);
    let (ns, name) = (stream_of_one.next().unwrap(), stream_of_one.nth(1).unwrap());
    let mut stream = console.stream(&format!("ns={ns}&fn={name}")).await;
    let keys = |function: &Value| function["secrets"].clone();
    let has = |update: &Value, has_previous: bool| {
        let secrets = keys(&update["function"]);
        let key = secrets.as_array().and_then(|keys| keys.iter().find(|k| k["name"] == "API_KEY"));
        key.is_some_and(|key| key["hasPrevious"] == has_previous)
    };
    stream.until("the key", |update| has(update, false)).await;
    let change = |secrets: Value, loaded: &Value| {
        let mut form = form(loaded, &loaded["spec"]);
        form["secrets"] = secrets;
        form
    };
    let loaded = console.get(one).await.body;
    let again = change(json!({ "set": { "API_KEY": format!("{CANARY}-2") } }), &loaded);
    let saved = console.send(Method::PUT, one, &again).await.body;
    assert_eq!(saved["written"], json!(["secrets"]), "{saved}");
    stream.until("the rotation", |update| has(update, true)).await;
    for (key, value) in [("KIPPER_X", "1"), ("1A", "1"), ("A", "\0")] {
        let wrong = change(json!({ "set": { key: value } }), &loaded);
        let reply = console.send(Method::PUT, one, &wrong).await;
        let path = reply.body["problems"][0]["path"].clone();
        assert_eq!((reply.status, path), (422, json!(format!("secrets.{key}"))));
    }
    let added = change(json!({ "set": { "OTHER": CANARY } }), &loaded);
    console.send(Method::PUT, one, &added).await;
    let removed = change(json!({ "delete": ["OTHER"] }), &loaded);
    let saved = console.send(Method::PUT, one, &removed).await;
    assert_eq!(saved.status, 200, "{saved:?}");
}

async fn it_is_called_and_its_lines_are_read(console: &Console, ns: &str, name: &str, one: &str) {
    let mut stream = console.stream(&format!("ns={ns}&fn={name}&logs=true")).await;
    stream.until("the function", |update| update["type"] == "function").await;
    let call = json!({ "method": "GET", "path": "/?x=1", "headers": [["accept", "a/b"]] });
    let reply = console.send(Method::POST, &format!("{one}/invoke"), &call).await;
    assert_eq!((reply.status, &reply.body["status"]), (200, &json!(200)), "{reply:?}");
    let answer: Value = serde_json::from_str(reply.body["body"].as_str().unwrap()).unwrap();
    assert_eq!(answer, json!({ "greeting": "good evening", "key": true }));
    let phases = reply.body["phases"].as_array().unwrap();
    assert!(phases.iter().any(|phase| phase["name"] == "queue"), "{phases:?}");
    let is_said = |line: &Value| {
        line["text"].as_str().is_some_and(|text| text.contains("called with good evening"))
    };
    stream.until("the line", |update| is_said(&update["line"])).await;
    // Text, in any case of its letters.
    for (search, is_found) in [("called", true), ("CALLED%20With", true), ("c.lled", false)] {
        let logs = console.get(&format!("{one}/logs?since=5m&search={search}")).await.body;
        let lines = logs["lines"].as_array().unwrap();
        assert_eq!(lines.iter().any(is_said), is_found, "{search}: {logs}");
    }
    let long = "x".repeat(1001);
    assert_eq!(console.get(&format!("{one}/logs?search={long}")).await.status, 400);
    let reply = console.get(&format!("{one}/logs?since=forever")).await;
    assert_eq!(reply.status, 400);
    let wrong = json!({ "method": "GET", "path": "nowhere" });
    let reply = console.send(Method::POST, &format!("{one}/invoke"), &wrong).await;
    assert_eq!((reply.status, &reply.body["problems"][0]["path"]), (422, &json!("path")));
    let reply = console.send(Method::POST, &format!("{one}/restart"), &Value::Null).await;
    let begun = json!({ "restarted": true, "why": null });
    assert_eq!((reply.status, &reply.body), (200, &begun));
    let reply = console.send(Method::POST, &format!("{one}/test"), &Value::Null).await;
    assert_eq!((reply.status, &reply.body["reason"]), (501, &json!("unsupported")));
}

async fn it_goes(console: &Console, ns: &str, name: &str, one: &str) {
    let mut stream = console.stream(&format!("ns={ns}&fn={name}")).await;
    stream.until("the function", |update| update["type"] == "function").await;
    assert_eq!(console.send(Method::DELETE, one, &Value::Null).await.status, 204);
    stream.until("its end", |update| update["type"] == "gone").await;
    assert_eq!(console.get(one).await.status, 404);
}

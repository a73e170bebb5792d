#![allow(clippy::unwrap_used)]

use kipper_function::FunctionSpec;
use serde_json::json;

use super::*;

fn spec(type_: &str, config: &serde_json::Value) -> FunctionSpec {
    let trigger = json!({ "type": type_, "config": config });
    serde_json::from_value(json!({ "image": "x", "triggers": [trigger] })).unwrap()
}

#[test]
fn statements_are_those_a_poller_takes() {
    let check = |type_: &str, config: serde_json::Value, expected: Result<Option<&str>, &str>| {
        let spec = spec(type_, &config);
        let found = statements(&spec.event().unwrap());
        match (&found, expected) {
            (Ok(query), Ok(expected)) => assert_eq!(query.as_deref(), expected, "{config}"),
            (Err(message), Err(start)) => assert!(message.starts_with(start), "{message}"),
            _ => panic!("{config}: {found:?}"),
        }
    };
    let query = "SELECT * FROM orders -- all of them";
    check("postgres", json!({ "query": format!("{query}\n;") }), Ok(Some(query)));
    check("redis", json!({ "list": "jobs", "query": "nonsense" }), Ok(None));
    check("mysql", json!({ "query": "SELECT 1 LIMIT 3" }), Err("query: LIMIT at "));
    check("postgres", json!({ "query": "SELECT $1" }), Err("query: $1 at "));
    check(
        "postgres",
        json!({ "query": query, "markDone": "UPDATE o SET s = 'x {{id}}'" }),
        Err("markDone: "),
    );
    check(
        "postgres",
        json!({ "query": query, "markDone": "UPDATE o SET s = {{_error}}" }),
        Err("markDone: {{_error}}"),
    );
    check(
        "mysql",
        json!({ "query": query, "onFailed": "UPDATE o SET s = {{_error}}; SELECT 1" }),
        Err("onFailed: "),
    );
}

#[test]
fn all_replicas_together_leave_the_server_its_locks() {
    let check = |config: serde_json::Value, replicas, capacity, expected: Result<u32, &str>| {
        let spec = spec("postgres", &config);
        let found = held(&spec.event().unwrap(), replicas, capacity);
        match (&found, expected) {
            (Ok(held), Ok(expected)) => assert_eq!(*held, expected, "{config} {replicas}"),
            (Err(problem), Err(part)) => {
                assert_eq!((problem.reason, problem.retry), ("LockBudget", true));
                assert!(problem.message.contains(part), "{}", problem.message);
            }
            _ => panic!("{config} {replicas}: {found:?}"),
        }
    };
    // Without a word of the trigger as many as the server has room for, if it says how much.
    check(json!({}), 1, None, Ok(256));
    check(json!({}), 10, None, Ok(160));
    check(json!({}), 10, Some(64_000), Ok(256));
    check(json!({}), 10, Some(1280), Ok(32));
    // Fewer than are handled at once make no sense.
    check(json!({}), 100, Some(1280), Err("100 replicas with 8 events each would take 800 of"));
    check(json!({ "concurrency": "50" }), 10, Some(1280), Err("may take 320"));
    check(json!({ "maxHeld": "256" }), 10, Some(6400), Err("would take 2560 of the server's 6400"));
    check(json!({ "maxHeld": "160" }), 10, Some(6400), Ok(160));
    // Nobody can be told that something unknown is too little.
    check(json!({ "maxHeld": "256" }), 10, None, Ok(256));
}

#[test]
fn only_postgres_has_a_lock_for_each_event() {
    let redis = spec("redis", &json!({ "list": "jobs", "maxHeld": "9000" }));
    assert_eq!(held(&redis.event().unwrap(), 1000, None).unwrap(), 9000);
    let redis = spec("redis", &json!({ "list": "jobs" }));
    assert_eq!(held(&redis.event().unwrap(), 1000, None).unwrap(), 256);
}

#[test]
fn the_bucket_watcher_is_told_what_it_needs_and_no_more() {
    let config = json!({ "source": "files", "bucket": "photos", "suffix": ".jpg" });
    let spec = spec("minio", &config);
    let source = [
        (keys::URL, "http://files.shop-prod.svc:9000"),
        (keys::ACCESS_KEY, "key"),
        (keys::SECRET_KEY, "secret"),
        (keys::DRAIN_TOKEN, "token"),
    ];
    let source = source.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let values = bucket::values(&Key::new("shop-prod", "thumbs"), &spec.event().unwrap(), &source);
    let expected = [
        ("access-key", "key"),
        ("bucket", "photos"),
        ("endpoint", "http://files.shop-prod.svc:9000"),
        ("function", "thumbs"),
        ("namespace", "shop-prod"),
        ("secret-key", "secret"),
        ("suffix", ".jpg"),
    ];
    assert_eq!(values, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
}

#![allow(clippy::unwrap_used)]

use kipper_function::FunctionSpec;
use serde_json::json;

use super::*;

fn spec(type_: &str, config: &serde_json::Value) -> FunctionSpec {
    let trigger = json!({ "type": type_, "config": config });
    serde_json::from_value(json!({ "image": "x", "triggers": [trigger] })).unwrap()
}

#[test]
fn all_replicas_together_leave_the_server_its_locks() {
    let check = |config: serde_json::Value, replicas, capacity, expected: Result<u32, &str>| {
        let spec = spec("postgres", &config);
        let found = held(&spec.event().unwrap(), replicas, capacity);
        match (&found, expected) {
            (Ok(held), Ok(expected)) => assert_eq!(*held, expected, "{config} {replicas}"),
            (Err(problem), Err(part)) => {
                assert_eq!((problem.reason.reason, problem.retry), ("LockBudget", true));
                assert!(problem.reason.message.contains(part), "{}", problem.reason.message);
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
    check(json!({ "concurrency": "50" }), 10, Some(1280), Err("at most 320"));
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
        (SecretKey::Url, "http://files.shop-prod.svc:9000"),
        (SecretKey::AccessKey, "key"),
        (SecretKey::SecretKey, "secret"),
        (SecretKey::DrainToken, "token"),
    ];
    let source = source.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
    let function = Key::new("shop-prod", "thumbs");
    let secret = bucket::secret(&function, &spec.event().unwrap(), &source, "waiting");
    let expected = [
        ("access-key", "key"),
        ("bucket", "photos"),
        ("endpoint", "http://files.shop-prod.svc:9000"),
        ("function", "thumbs"),
        ("namespace", "shop-prod"),
        ("secret-key", "secret"),
        ("state-bucket", "waiting"),
        ("suffix", ".jpg"),
    ];
    assert_eq!(secret.data(), expected.into());
}

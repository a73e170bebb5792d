//! Settings of event triggers: what they mean and what is wrong with them.

use std::time::Duration;

use kipper_function::{FunctionSpec, function::TriggerKind, service::ServiceKind};
use kipper_trigger::{Kind, Setting};
use serde_json::{Value, json};

fn spec(type_: &str, config: Value) -> FunctionSpec {
    let trigger = json!({ "type": type_, "config": config });
    serde_json::from_value(json!({ "image": "i", "triggers": [trigger] })).unwrap()
}

#[test]
fn what_a_trigger_does_not_say_has_a_default() {
    let spec = spec("redis", json!({ "source": "cache", "list": "jobs", "maxHeld": "" }));
    let event = spec.event().unwrap();
    assert_eq!((event.kind, event.source()), (Kind::Redis, "cache"));
    assert_eq!(ServiceKind::from(event.kind), ServiceKind::Redis);
    assert_eq!((event.batch(), event.concurrency(), event.max_held()), (100, 8, None));
    assert_eq!(event.deliver_timeout(), Duration::from_secs(300));
    assert_eq!((event.poll_interval(), event.lease(), event.max_attempts()), (None, None, None));
    assert!(!event.kind.is_sql() && !event.leaves_no_mark());
    let http = FunctionSpec::default();
    assert!(http.event().is_none());
    assert_eq!(http.replica_limits(), (0, 10));
}

#[test]
fn values_are_read_and_those_out_of_range_count_as_absent() {
    let spec = spec(
        "minio",
        json!({
            "batch": "7", "concurrency": "0", "maxHeld": "999999", "maxAttempts": "x",
            "pollInterval": "1.5s", "deliverTimeout": "2h", "lease": "1m30s",
        }),
    );
    let event = spec.event().unwrap();
    assert_eq!((event.batch(), event.concurrency(), event.max_held()), (7, 8, None));
    assert_eq!(event.max_attempts(), None);
    assert_eq!(event.poll_interval(), Some(Duration::from_millis(1500)));
    assert_eq!(event.deliver_timeout(), Duration::from_secs(300));
    assert_eq!(event.lease(), Some(Duration::from_secs(90)));
}

#[test]
fn rows_that_nothing_marks_have_one_replica() {
    let limits = |type_: &str, mark_done: Value| {
        let config = json!({ "source": "db", "query": "q", "markDone": mark_done });
        let mut spec = spec(type_, config);
        spec.scaling =
            serde_json::from_value(json!({ "minReplicas": 2, "maxReplicas": 5 })).unwrap();
        spec.replica_limits()
    };
    for type_ in ["postgres", "mysql"] {
        assert_eq!(limits(type_, json!("")), (1, 1));
        assert_eq!(limits(type_, json!("m")), (2, 5));
    }
    assert_eq!(limits("redis", json!("")), (2, 5));
}

#[test]
fn a_function_bursts_up_to_its_maximum_unless_it_says_otherwise() {
    let most = |scaling: Value| {
        let scaling = serde_json::from_value(scaling).unwrap();
        FunctionSpec { scaling, ..FunctionSpec::default() }.burst_max_replicas()
    };
    assert_eq!(most(Value::Null), 10);
    assert_eq!(most(json!({ "maxReplicas": 5 })), 5);
    assert_eq!(most(json!({ "maxReplicas": 5, "burst": false })), 0);
}

#[test]
fn every_problem_of_a_setting_is_told() {
    let cases: [(&str, Value, &[&str]); 6] = [
        (
            "postgres",
            json!({
                "source": "db", "query": "q", "key": "id, shop", "markDone": "m", "onFailed": "f",
                "batch": "10", "concurrency": "4", "maxHeld": "4", "maxAttempts": "3",
                "pollInterval": "250ms", "deliverTimeout": "5m",
            }),
            &[],
        ),
        (
            "postgres",
            json!({ "source": "db", "query": "q", "markdone": "m", "list": "" }),
            &[
                "list: is not a setting of a postgres trigger, which has source, database, batch, concurrency, maxHeld, \
                 maxAttempts, pollInterval, deliverTimeout, query, key, markDone, onFailed",
                "markdone: is not a setting of a postgres trigger, which has source, database, batch, concurrency, \
                 maxHeld, maxAttempts, pollInterval, deliverTimeout, query, key, markDone, onFailed",
            ],
        ),
        (
            "mysql",
            json!({ "source": "db", "query": "q", "key": "id,,shop", "lease": "30s" }),
            &[
                "key: must be columns separated by commas",
                "lease: is not a setting of a mysql trigger, which has source, database, batch, concurrency, maxHeld, \
                 maxAttempts, pollInterval, deliverTimeout, query, key, markDone, onFailed",
            ],
        ),
        (
            "redis",
            json!({ "source": "r", "list": "l", "listEnd": "top", "lease": "1", "maxHeld": "7" }),
            &[
                "lease: must be a duration such as 30s or 5m, from 10s to 3600s",
                "listEnd: must be left or right",
                "maxHeld: must be at least concurrency",
            ],
        ),
        (
            "redis",
            json!({ "source": "r", "list": "a\u{0}b", "batch": "0", "deliverTimeout": "2h" }),
            &[
                "batch: must be a whole number from 1 to 1000000",
                "deliverTimeout: must be a duration such as 30s or 5m, from 1s to 3600s",
                "list: must not contain a null character",
            ],
        ),
        ("minio", json!({ "source": "m", "bucket": "b", "prefix": "p/", "suffix": ".jpg" }), &[]),
    ];
    for (type_, config, expected) in cases {
        let problems = spec(type_, config.clone()).validate();
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let expected: Vec<_> =
            expected.iter().map(|problem| format!("spec.triggers[0].config.{problem}")).collect();
        assert_eq!(told, expected, "{type_} {config}");
    }
}

/// The CRD names them to whoever asks `kubectl explain`.
#[test]
fn the_schema_names_every_setting() {
    use kube::CustomResourceExt as _;
    let crd = serde_json::to_value(kipper_function::Function::crd()).unwrap();
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let path = format!("{schema}/triggers/items/properties/config/description");
    let described = crd.pointer(&path).unwrap().as_str().unwrap();
    for setting in Setting::ALL {
        assert!(described.contains(setting.name()), "{setting}: {described}");
    }
}

/// What the API server refuses is what [`kipper_function::FunctionSpec::validate`] calls missing.
#[test]
fn the_schema_requires_what_a_trigger_needs() {
    use kube::CustomResourceExt as _;
    let crd = serde_json::to_string(&kipper_function::Function::crd()).unwrap();
    for kind in Kind::ALL {
        assert_eq!(TriggerKind::from(kind).event(), Some(kind));
        let problems = spec(kind.as_str(), json!({})).validate();
        assert_eq!(problems.len(), Setting::required(kind).len());
        for setting in Setting::required(kind) {
            let rule = match setting {
                Setting::Source => "an event trigger needs config.source".to_owned(),
                Setting::Query => "a postgres or mysql trigger needs config.query".to_owned(),
                _ => format!("a {kind} trigger needs config.{setting}"),
            };
            assert!(crd.contains(&rule), "{rule}");
        }
    }
}

//! Which numbers revisions get, and what is kept of them and of their code.
#![allow(clippy::unwrap_used)]

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::*;
use crate::cache::Pod;

const MIB: u64 = 1 << 20;

fn known(name: &str, number: i64, bytes: u64) -> Known {
    let changed_by = Some(format!("who wrote {name}"));
    let code = Some(format!("code of {name}"));
    (name.to_owned(), Record { number, bytes, code, changed_by, changed_at: None })
}

#[track_caller]
fn check_next(there: &[(&str, i64)], name: &str, number: i64, by: &str) {
    let there: Vec<_> = there.iter().map(|(name, number)| known(name, *number, 1)).collect();
    let change = Stamp { number: 1, changed_at: None, changed_by: Some("now".to_owned()) };
    let stamp = next(&there, name, change);
    assert_eq!((stamp.number, stamp.changed_by.as_deref()), (number, Some(by)));
}

#[test]
fn a_change_is_the_next_number_and_no_change_is_none() {
    check_next(&[], "a", 1, "now");
    check_next(&[("a", 1)], "a", 1, "who wrote a");
    check_next(&[("a", 1)], "b", 2, "now");
    check_next(&[("b", 7), ("a", 1)], "b", 7, "who wrote b");
    // Back to an earlier spec: the same revision with a new number.
    check_next(&[("a", 1), ("b", 2)], "a", 3, "now");
    // What somebody made unreadable is written again.
    check_next(&[("a", 0)], "a", 1, "now");
    check_next(&[("a", -5), ("b", -9)], "b", 1, "now");
    check_next(&[("a", i64::MAX)], "b", i64::MAX, "now");
}

#[track_caller]
fn check_newest(there: &[(i64, u64)], expected: &[i64]) {
    let there = there.iter().map(|(number, bytes)| known(&number.to_string(), *number, *bytes));
    let kept = newest(there.collect());
    let numbers: Vec<_> = kept.iter().map(|(_, record)| record.number).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn the_last_ones_are_kept_within_both_bounds() {
    check_newest(&[], &[]);
    check_newest(&[(1, 9), (3, 9), (2, 9)], &[3, 2, 1]);
    let twelve: Vec<_> = (1..=12).map(|number| (number, 9)).collect();
    check_newest(&twelve, &[12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
    // The two largest that there can be.
    check_newest(&[(1, 3 * MIB / 2), (2, 3 * MIB / 2), (3, 3 * MIB / 2)], &[3, 2]);
    check_newest(&[(1, 1), (2, 4 * MIB), (3, 1)], &[3]);
    check_newest(&[(1, u64::MAX), (2, u64::MAX)], &[]);
}

fn function() -> Function {
    let function = json!({
        "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
        "metadata": { "namespace": "shop", "name": "f", "uid": "u", "managedFields": [{
            "manager": "kip", "operation": "Update", "time": "2026-01-01T10:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": { "f:env": {} } },
        }] },
        "spec": { "image": "x" },
    });
    serde_json::from_value(function).unwrap()
}

/// Puts an object of the function with this uid into the cache.
fn put(cache: &Cache, kind: Kind, name: &str, uid: &str, mut json: Value) {
    let owner = json!({ "apiVersion": "kipper.run/v1alpha1", "kind": "Function", "name": "f",
        "uid": uid, "controller": true });
    json["metadata"]["namespace"] = "shop".into();
    json["metadata"]["name"] = name.into();
    json["metadata"]["ownerReferences"] = json!([owner]);
    let object: DynamicObject = serde_json::from_value(json).unwrap();
    cache.objects.put((kind, Key::new("shop", name)), Observed::new(kind, &object));
}

fn put_revision(cache: &Cache, name: &str, uid: &str, number: i64) {
    let (_, record) = known(name, number, 1);
    let json =
        json!({ "metadata": { "annotations": { names::REVISION: record.write().unwrap() } } });
    put(cache, Kind::ControllerRevision, name, uid, json);
}

#[test]
fn the_numbers_of_another_function_of_that_name_do_not_count() {
    let (cache, key) = (Cache::new(), Key::new("shop", "f"));
    put_revision(&cache, "f-1", "u", 1);
    put_revision(&cache, "f-2", "former", 7);
    let stamp = stamp(&cache, &function(), &key, "f-3");
    assert_eq!((stamp.number, stamp.changed_by.as_deref()), (2, Some("kip")));
    assert_eq!(json!(stamp.changed_at), json!("2026-01-01T10:00:00Z"));
    let kept = kept(&cache, &function(), &key);
    assert!(!kept.contains(&(Kind::ControllerRevision, "f-2".to_owned())));
}

#[test]
fn code_stays_for_revisions_pods_and_an_unfinished_rollout() {
    let (cache, key) = (Cache::new(), Key::new("shop", "f"));
    for number in 1..=11 {
        put_revision(&cache, &format!("f-{number}"), "u", number);
    }
    let pod = |code: Option<&str>| Pod {
        function: key.clone(),
        server: true,
        job: None,
        has_run: true,
        created: None,
        ready: true,
        silent_since: None,
        creating_since: None,
        poller: None,
        failure: None,
        template: None,
        exit: None,
        evicted_at: None,
        code: code.map(str::to_owned),
    };
    let codes = || {
        let kept = kept(&cache, &function(), &key).into_iter();
        let codes = kept.filter(|(kind, _)| *kind == Kind::ConfigMap);
        let mut codes: Vec<String> = codes.map(|(_, name)| name).collect();
        codes.sort();
        codes
    };
    let mut expected: Vec<_> = (2..=11).map(|number| format!("code of f-{number}")).collect();
    expected.sort();
    assert_eq!(codes(), expected);

    cache.pods.put(Key::new("shop", "f-a"), pod(Some("code of f-1")));
    cache.pods.put(Key::new("shop", "f-b"), pod(None));
    let of_another = Pod { function: Key::new("shop", "g"), ..pod(Some("code of g")) };
    cache.pods.put(Key::new("shop", "g-a"), of_another);
    assert!(codes().contains(&"code of f-1".to_owned()));
    assert!(!codes().contains(&"code of g".to_owned()));
    cache.pods.remove(&Key::new("shop", "f-a"));
    assert_eq!(codes(), expected);

    let rollout = |generation: i64, replicas: i32, updated: i32| {
        let status = json!({
            "observedGeneration": generation, "replicas": replicas, "updatedReplicas": updated,
        });
        let json = json!({ "metadata": { "generation": 2 }, "status": status });
        put(&cache, Kind::Deployment, "f", "u", json);
        codes().contains(&"f-code".to_owned())
    };
    assert!(rollout(1, 0, 0));
    assert!(rollout(2, 2, 1));
    assert!(!rollout(2, 1, 1));
    assert!(!rollout(2, 0, 0));
}

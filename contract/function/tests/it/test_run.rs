//! The Job of a test run, from the CronJob of a schedule.

use k8s_openapi::api::batch::v1::CronJob;
use kipper_function::test_run::{self, TestRunError};
use serde_json::{Value, json};

/// A CronJob as the controller renders it, with `changes` merged in.
fn cron_job(changes: Value) -> CronJob {
    let labels = json!({
        "app": "report", "app.kubernetes.io/component": "batch", "kipper.run/trigger": "cron",
    });
    let mut object = json!({
        "metadata": {
            "name": "report-cron", "namespace": "shop-dev", "uid": "c-1", "resourceVersion": "7",
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": "kipper.run/v1alpha1", "kind": "Function", "name": "report",
                "uid": "f-1", "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "schedule": "0 2 * * *", "timeZone": "Etc/UTC", "concurrencyPolicy": "Forbid",
            "jobTemplate": {
                "metadata": { "labels": labels, "annotations": { "note": "kept" } },
                "spec": {
                    "backoffLimit": 3,
                    "activeDeadlineSeconds": 60,
                    "template": {
                        "metadata": { "labels": labels },
                        "spec": {
                            "restartPolicy": "OnFailure",
                            "serviceAccountName": "none",
                            "initContainers": [{ "name": "wait", "env": [{ "name": "A", "value": "1" }] }],
                            "containers": [{
                                "name": "function", "image": "registry/report:1",
                                "env": [
                                    { "name": "KIPPER_MODE", "value": "batch" },
                                    { "name": "KIPPER_TRIGGER", "value": "cron" },
                                    { "name": "PORT", "value": "8080" },
                                ],
                                "envFrom": [{ "secretRef": { "name": "report-secrets", "optional": true } }],
                            }],
                        },
                    },
                },
            },
        },
        "status": { "lastScheduleTime": "2026-07-01T02:00:00Z" },
    });
    merge(&mut object, changes);
    serde_json::from_value(object).unwrap()
}

/// JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(&key)),
            value => merge(&mut target[key], value),
        }
    }
}

#[test]
fn runs_what_the_schedule_runs_and_says_so() {
    let job = test_run::job(&cron_job(json!({})), 0x2a).unwrap();
    let labels = json!({
        "app": "report", "app.kubernetes.io/component": "batch", "kipper.run/trigger": "cron",
        "kipper.run/test-run": "true",
    });
    let expected = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": "report-test-0000002a", "namespace": "shop-dev", "labels": labels,
            "annotations": { "note": "kept", "cronjob.kubernetes.io/instantiate": "manual" },
            "ownerReferences": [{
                "apiVersion": "kipper.run/v1alpha1", "kind": "Function", "name": "report",
                "uid": "f-1", "controller": true,
            }],
        },
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": 600,
            "activeDeadlineSeconds": 60,
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": "none",
                    "initContainers": [{ "name": "wait", "env": [{ "name": "A", "value": "1" }] }],
                    "containers": [{
                        "name": "function", "image": "registry/report:1",
                        "env": [
                            { "name": "KIPPER_MODE", "value": "batch" },
                            { "name": "PORT", "value": "8080" },
                            { "name": "KIPPER_TRIGGER", "value": "test" },
                        ],
                        "envFrom": [{ "secretRef": { "name": "report-secrets", "optional": true } }],
                    }],
                },
            },
        },
    });
    assert_eq!(serde_json::to_value(&job).unwrap(), expected);
}

#[test]
fn names_are_of_eight_digits_and_fit() {
    let longest = "f".repeat(47);
    let changes = json!({ "metadata": {
        "name": format!("{longest}-cron"),
        "ownerReferences": [{ "apiVersion": "kipper.run/v2", "kind": "Function",
            "name": longest, "uid": "f", "controller": true }],
    } });
    let cases = [(0, "00000000"), (0xdead_beef, "deadbeef"), (u32::MAX, "ffffffff")];
    for (run, digits) in cases {
        let name = test_run::job(&cron_job(changes.clone()), run).unwrap().metadata.name.unwrap();
        assert_eq!(name, format!("{longest}-test-{digits}"));
        // A pod's name and its `job-name` label are made from it.
        assert!(name.len() <= 63);
    }
}

#[test]
fn a_bare_template_becomes_a_whole_run() {
    let bare = json!({ "spec": { "jobTemplate": {
        "metadata": null,
        "spec": { "template": { "metadata": null, "spec": {
            "restartPolicy": null, "containers": [{ "name": "function" }], "initContainers": null,
        } } },
    } } });
    let job = test_run::job(&cron_job(bare), 1).unwrap();
    let labels = json!({ "app.kubernetes.io/component": "batch", "kipper.run/test-run": "true" });
    assert_eq!(serde_json::to_value(&job.metadata.labels).unwrap(), labels);
    let template = job.spec.unwrap().template;
    assert_eq!(serde_json::to_value(template.metadata.unwrap().labels).unwrap(), labels);
    let pod = template.spec.unwrap();
    assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
    let env = serde_json::to_value(&pod.containers[0].env).unwrap();
    assert_eq!(env, json!([{ "name": "KIPPER_TRIGGER", "value": "test" }]));
}

#[test]
fn refuses_what_is_no_schedule_of_a_function() {
    let name = || "report-cron".to_owned();
    let foreign = |owner: Value| json!({ "metadata": { "ownerReferences": [owner] } });
    let owner = |group: &str, kind: &str, name: &str, controller: bool| {
        foreign(
            json!({ "apiVersion": group, "kind": kind, "name": name, "uid": "u", "controller": controller }),
        )
    };
    let cases = [
        (json!({ "metadata": { "ownerReferences": null } }), TestRunError::NotAFunctions(name())),
        (owner("example.com/v1", "Function", "report", true), TestRunError::NotAFunctions(name())),
        (owner("v1", "Function", "report", true), TestRunError::NotAFunctions(name())),
        (owner("kipper.run/v1alpha1", "App", "report", true), TestRunError::NotAFunctions(name())),
        (
            owner("kipper.run/v1alpha1", "Function", "report", false),
            TestRunError::NotAFunctions(name()),
        ),
        (
            owner("kipper.run/v1alpha1", "Function", "other", true),
            TestRunError::NotAFunctions(name()),
        ),
        (json!({ "metadata": { "name": null } }), TestRunError::NotAFunctions(String::new())),
        (json!({ "spec": null }), TestRunError::NoTemplate(name())),
        (json!({ "spec": { "jobTemplate": { "spec": null } } }), TestRunError::NoTemplate(name())),
        (
            json!({ "spec": { "jobTemplate": { "spec": { "template": { "spec": null } } } } }),
            TestRunError::NoTemplate(name()),
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(test_run::job(&cron_job(changes.clone()), 1), Err(expected), "{changes}");
    }
}

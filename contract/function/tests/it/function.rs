//! Reading, defaults and validation of Functions.

use std::time::Duration;

use kipper_function::{
    Function,
    function::{
        Phase, Protocol, Runtime, TriggerKind,
        effective::{Readiness, Workload},
    },
};
use serde_json::{Value, json};

fn function(spec: Value) -> Function {
    let metadata = json!({ "name": "hello", "namespace": "shop-dev" });
    let object = json!({ "apiVersion": "kipper.run/v1alpha1", "kind": "Function", "metadata": metadata, "spec": spec });
    serde_json::from_value(object).unwrap()
}

#[test]
fn an_empty_spec_has_every_default() {
    let spec = function(json!({ "image": "registry/hello:1" })).spec;
    assert_eq!(spec.workload(), Some(Workload::Image("registry/hello:1")));
    assert_eq!(spec.port(), 8080);
    assert_eq!(spec.idle_timeout(), Duration::from_secs(300));
    assert_eq!((spec.min_replicas(), spec.max_replicas()), (0, 10));
    assert_eq!(spec.target_request_rate(), 5.0);
    assert_eq!(spec.concurrency(), 0);
    assert_eq!(spec.cold_start_timeout(), Duration::from_secs(50));
    assert_eq!(spec.response_header_timeout(), Duration::from_secs(300));
    assert_eq!(spec.request_timeout(), None);
    assert_eq!(spec.readiness(), Readiness::Tcp);
    assert_eq!(spec.protocol(), Protocol::Auto);
    assert_eq!((spec.cpu_request(), spec.cpu_limit()), ("50m", None));
    assert_eq!((spec.memory_request(), spec.memory_limit()), ("64Mi", "256Mi"));
    assert_eq!(spec.tmp_limit(), "512Mi");
    assert_eq!(spec.cron_deadline(), Duration::from_secs(3600));
    assert!(spec.is_http() && spec.http_trigger().is_none());
    assert_eq!(spec.main_trigger(), TriggerKind::Http);
    assert!(!spec.no_security_headers);
}

#[test]
fn runtime_counts_for_inline_code_only() {
    let cases = [
        (json!({ "image": "i", "runtime": "node" }), None),
        (json!({ "image": "i", "runtime": "deno" }), None),
        (json!({ "source": { "code": "x" } }), Some(Runtime::Node)),
        (json!({ "source": { "code": "x" }, "runtime": "python" }), Some(Runtime::Python)),
        // What an older or newer version stored stays readable.
        (json!({ "source": { "code": "x" }, "runtime": "ruby" }), None),
        (json!({ "image": "", "source": { "code": "x" }, "runtime": "" }), Some(Runtime::Node)),
    ];
    for (spec, expected) in cases {
        assert_eq!(function(spec.clone()).spec.effective_runtime(), expected, "{spec}");
    }
    let folder = function(json!({ "source": { "files": { "index.js": "x" } } })).spec;
    assert!(matches!(folder.workload(), Some(Workload::Inline(Runtime::Node, _))));
    let inline = function(json!({ "source": { "code": "x" } })).spec;
    assert_eq!(inline.readiness(), Readiness::Http("/health"));
    assert!(matches!(inline.workload(), Some(Workload::Inline(Runtime::Node, _))));
}

#[test]
fn limits_and_requests_never_contradict() {
    let resources = |value: Value| function(json!({ "image": "i", "resources": value })).spec;
    let spec = resources(json!({ "memoryRequest": "1Gi" }));
    assert_eq!((spec.memory_request(), spec.memory_limit()), ("1Gi", "1Gi"));
    let spec = resources(json!({ "memoryLimit": "32Mi" }));
    assert_eq!((spec.memory_request(), spec.memory_limit()), ("32Mi", "32Mi"));
    let spec = resources(json!({ "cpuLimit": "20m" }));
    assert_eq!((spec.cpu_request(), spec.cpu_limit()), ("20m", Some("20m")));
}

#[test]
fn triggers_are_found_by_kind() {
    let spec = function(json!({ "image": "i", "triggers": [
        { "type": "cron", "schedule": "0 2 * * *" },
        { "type": "kafka" },
        { "type": "redis", "config": { "source": "cache", "list": "jobs" } },
    ] }))
    .spec;
    assert!(!spec.is_http());
    assert!(spec.is_served());
    assert_eq!(spec.cron_trigger().unwrap().schedule(), Some("0 2 * * *"));
    assert_eq!(spec.event().unwrap().setting(kipper_trigger::Setting::List), Some("jobs"));
    assert_eq!(spec.main_trigger(), TriggerKind::Redis);
    let cron =
        function(json!({ "image": "i", "triggers": [{ "type": "cron", "schedule": "@daily" }] }))
            .spec;
    assert!(!cron.is_http() && !cron.is_served());
}

#[test]
fn a_run_of_a_schedule_has_an_end() {
    let deadline = |trigger: Value, timeouts: Value| {
        let spec = json!({ "image": "i", "triggers": [trigger], "timeouts": timeouts });
        function(spec).spec.cron_deadline().as_secs()
    };
    let cron = json!({ "type": "cron", "schedule": "@daily" });
    let limited = json!({ "type": "cron", "schedule": "@daily", "deadlineSeconds": 60 });
    assert_eq!(deadline(cron.clone(), json!({})), 3600);
    assert_eq!(deadline(cron, json!({ "requestSeconds": 90 })), 90);
    assert_eq!(deadline(limited, json!({ "requestSeconds": 90 })), 60);
    let endless = json!({ "type": "cron", "schedule": "@daily", "deadlineSeconds": 0 });
    assert_eq!(deadline(endless, json!({})), 3600);
}

#[test]
fn databases_are_dropped_only_on_a_clear_word() {
    let cases = [
        (json!({ "name": "db" }), false),
        (json!({ "name": "db", "deletionPolicy": "" }), false),
        (json!({ "name": "db", "deletionPolicy": "Retain" }), false),
        (json!({ "name": "db", "deletionPolicy": "delete" }), false),
        (json!({ "name": "db", "deletionPolicy": "Delete" }), true),
    ];
    for (binding, expected) in cases {
        let spec = function(json!({ "image": "i", "serviceBindings": [binding.clone()] })).spec;
        assert_eq!(spec.service_bindings[0].deletes_database(), expected, "{binding}");
    }
}

#[test]
fn values_out_of_range_count_as_absent() {
    let spec = function(json!({
        "image": "i", "port": 0, "idleTimeoutSeconds": 0,
        "scaling": { "minReplicas": 20, "maxReplicas": 5, "targetRequestRate": 0, "concurrency": -1 },
        "timeouts": { "coldStartSeconds": -5, "responseHeaderSeconds": 0, "requestSeconds": 30 },
        "protocol": "h3",
    }))
    .spec;
    assert_eq!(spec.port(), 8080);
    assert_eq!(spec.idle_timeout(), Duration::from_secs(300));
    assert_eq!((spec.min_replicas(), spec.max_replicas()), (5, 5));
    assert_eq!((spec.target_request_rate(), spec.concurrency()), (5.0, 0));
    assert_eq!(spec.cold_start_timeout(), Duration::from_secs(50));
    assert_eq!(spec.response_header_timeout(), Duration::from_secs(300));
    assert_eq!(spec.request_timeout(), Some(Duration::from_secs(30)));
    assert_eq!(spec.protocol(), Protocol::Auto);
}

#[test]
fn nothing_stored_is_lost_on_the_way_through() {
    let object = json!({
        "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
        "metadata": { "name": "hello", "namespace": "shop-dev", "annotations": { "kipper.run/retry-idempotent": "true" } },
        "spec": {
            "runtime": "ruby", "port": 3000,
            "source": { "code": "x", "files": { "lib/a.js": "y" }, "handler": "main", "dependencies": { "pg": "8.11.5" }, "npmrc": "a=b" },
            "env": { "A": "1" }, "resources": { "cpuRequest": "1", "tmpLimit": "1Gi" },
            "serviceBindings": [{ "name": "db", "prefix": "P_", "database": "d", "createDatabase": true, "deletionPolicy": "Delete" }],
            "volumes": [{ "name": "cache", "mountPath": "/data" }],
            "triggers": [{ "type": "http" }, {
                    "type": "cron", "schedule": "@daily", "timeZone": "Europe/Berlin",
                    "suspend": true, "deadlineSeconds": 5,
                },
                { "type": "kafka", "config": { "source": "s" } }],
            "noTmp": true, "noSecurityHeaders": true, "logRequests": true, "cspAllowlist": ["https://cdn.example.com"],
            "idleTimeoutSeconds": 60,
            "scaling": { "minReplicas": 1, "maxReplicas": 3, "targetRequestRate": 2.5, "concurrency": 4 },
            "timeouts": { "coldStartSeconds": 5, "responseHeaderSeconds": 6, "requestSeconds": 7 },
            "readinessPath": "/ready", "protocol": "h2c", "imagePullSecrets": [{ "name": "registry" }],
        },
        "status": {
            "phase": "Running", "replicas": 2, "endpoint": "https://fn-hello.example.com", "observedGeneration": 3,
            "conditions": [{ "type": "HostReserved", "status": "True", "reason": "Claimed", "message": "",
                "lastTransitionTime": "2026-07-01T00:00:00Z" }],
            "secretKeys": [{ "name": "KEY", "rotatedAt": "2026-07-01T00:00:00Z" }],
            "appliedDigest": "0123456789abcdef",
            "schedule": {
                "lastScheduleTime": "2026-07-01T00:00:00Z",
                "activeRun": { "job": "hello-cron-2", "startTime": "2026-07-02T00:00:00Z" },
                "lastRun": {
                    "job": "hello-cron-1", "startTime": "2026-07-01T00:00:00Z",
                    "completionTime": "2026-07-01T00:00:09Z", "result": "Failed",
                    "reason": "OutOfMemory", "message": "too much",
                },
            },
        },
    });
    let function: Function = serde_json::from_value(object.clone()).unwrap();
    assert!(function.retries_idempotent());
    let status = function.status.as_ref().unwrap();
    assert_eq!(status.phase(), Some(Phase::Running));
    assert!(status.is_true("HostReserved") && !status.is_true("Ready"));
    assert_eq!(serde_json::to_value(&function).unwrap(), object);
}

#[test]
fn problems_are_reported_with_their_paths() {
    let cases: &[(Value, &[&str])] = &[
        (json!({ "image": "i" }), &[]),
        (json!({ "source": { "code": "x" }, "runtime": "python" }), &[]),
        (json!({}), &["spec: one of image, source.code and source.files is required"]),
        (
            json!({ "source": { "handler": "x", "files": {} } }),
            &["spec: one of image, source.code and source.files is required"],
        ),
        (
            json!({ "image": "i", "source": { "code": "x" } }),
            &["spec: only one of image and source can be set"],
        ),
        (
            json!({ "source": { "code": "x" }, "runtime": "ruby" }),
            &["spec.runtime: must be node or python"],
        ),
        (json!({ "image": "i", "runtime": "ruby" }), &[]),
        (json!({ "image": "i", "noTmp": true }), &[]),
        (
            json!({ "source": { "code": "x" }, "noTmp": true }),
            &["spec.noTmp: needs an image: the runtimes of inline code write to /tmp"],
        ),
        (json!({ "source": { "code": "x" }, "logRequests": true }), &[]),
        (
            json!({ "image": "i", "logRequests": true }),
            &["spec.logRequests: is for inline code: an image logs its requests itself"],
        ),
        (json!({ "image": "i", "port": 70000 }), &["spec.port: must be between 1 and 65535"]),
        (
            json!({ "image": "i", "env": { "A": "x\0y", "B": "\n" } }),
            &["spec.env.A: must not contain a null character"],
        ),
        (
            json!({ "image": "i", "env": { "1A": "", "KIPPER_MODE": "", "OK": "", "PORT": "" } }),
            &[
                "spec.env.1A: must consist of letters, digits, '_', '-' and '.', and must not start with a digit",
                "spec.env.KIPPER_MODE: is set by Kipper and cannot be overridden",
                "spec.env.PORT: is set by Kipper and cannot be overridden",
            ],
        ),
        (
            json!({ "image": "i", "triggers": [{ "type": "cron" }] }),
            &["spec.triggers[0].schedule: is required for a cron trigger"],
        ),
        (
            json!({ "image": "i", "triggers": [{ "type": "cron", "schedule": "0 25 * * *" }] }),
            &["spec.triggers[0].schedule: hour: \"25\" is not within 0-23"],
        ),
        (
            json!({ "image": "i", "triggers": [{ "type": "cron", "schedule": "0 0 30 2 *" }] }),
            &["spec.triggers[0].schedule: no date matches this schedule, so it would never run"],
        ),
        (
            json!({ "image": "i", "triggers": [
                { "type": "cron", "schedule": "TZ=UTC @daily", "timeZone": "Europe/Berln" },
            ] }),
            &[
                "spec.triggers[0].schedule: a schedule must not name a time zone; set timeZone \
                 (--time-zone) instead",
                "spec.triggers[0].timeZone: unknown time zone \"Europe/Berln\"; did you mean \
                 Europe/Berlin?",
            ],
        ),
        (
            json!({ "image": "i", "triggers": [
                { "type": "http", "timeZone": "UTC", "suspend": true },
            ] }),
            &[
                "spec.triggers[0].timeZone: is for a cron trigger",
                "spec.triggers[0].suspend: is for a cron trigger",
            ],
        ),
        (
            json!({ "image": "i", "triggers": [
                { "type": "cron", "schedule": "@daily", "deadlineSeconds": 0 },
            ] }),
            &["spec.triggers[0].deadlineSeconds: must be between 1 and 604800"],
        ),
        (
            json!({ "image": "i", "resources": { "tmpLimit": "0" } }),
            &["spec.resources.tmpLimit: must be above zero"],
        ),
        (json!({ "source": { "code": "x", "npmrc": "//r.test/:_authToken=${NPM_TOKEN}\n" } }), &[]),
        (
            json!({ "source": { "code": "x", "npmrc": "//r.test/:_authToken=abc\n" } }),
            &[
                "spec.source.npmrc: holds a token: write ${NPM_TOKEN} in its place, and set the function's \
               secret NPM_TOKEN to it",
            ],
        ),
        (
            json!({ "source": { "code": "x", "npmrc": "a=b" }, "runtime": "python" }),
            &[
                "spec.source.npmrc: is for npm; pip reads PIP_INDEX_URL and PIP_EXTRA_INDEX_URL, which \
               may be secrets",
            ],
        ),
        (
            json!({ "image": "i", "triggers": [{ "type": "postgres" }] }),
            &[
                "spec.triggers[0].config.source: is required for a postgres trigger",
                "spec.triggers[0].config.query: is required for a postgres trigger",
            ],
        ),
        (
            json!({ "image": "i", "triggers": [{ "type": "http" }, { "type": "http" }] }),
            &["spec.triggers[1]: only one http trigger is allowed"],
        ),
        (
            json!({ "image": "i", "triggers": [
                { "type": "redis", "config": { "source": "r", "list": "l" } },
                { "type": "minio", "config": { "source": "m", "bucket": "b" } },
            ] }),
            &["spec.triggers[1]: only one event trigger is allowed"],
        ),
        (
            json!({ "image": "i", "triggers": [{ "type": "kafka" }] }),
            &["spec.triggers[0].type: must be one of http, cron, postgres, mysql, redis, minio"],
        ),
        (
            json!({ "image": "i", "scaling": { "minReplicas": 20 }, "timeouts": { "coldStartSeconds": 0 } }),
            &[
                "spec.scaling.minReplicas: must not exceed maxReplicas",
                "spec.timeouts.coldStartSeconds: must be between 1 and 86400",
            ],
        ),
        (
            json!({ "image": "i", "serviceBindings": [{ "name": "db", "deletionPolicy": "Retain" }, { "name": "db", "prefix": "1" }, { "name": "No", "deletionPolicy": "Keep" }] }),
            &[
                "spec.serviceBindings[1].name: is bound by serviceBindings[0] already",
                "spec.serviceBindings[1].prefix: must consist of letters, digits, '_', '-' and '.', and must not start with a digit",
                "spec.serviceBindings[2].name: must consist of lower-case letters, digits and '-', start with a letter and end with a letter or digit",
                "spec.serviceBindings[2].deletionPolicy: must be Retain or Delete",
            ],
        ),
        (
            json!({ "image": "i", "volumes": [
                { "name": "a", "mountPath": "/data" }, { "name": "b", "mountPath": "/data/" },
                { "name": "c", "mountPath": "data" }, { "name": "d", "mountPath": "/app/function" },
            ] }),
            &[
                "spec.volumes[1].mountPath: is the path of volumes[0] already",
                "spec.volumes[2].mountPath: must be an absolute path below '/' without ':' or '..'",
                "spec.volumes[3].mountPath: would hide the function's code",
            ],
        ),
        (
            json!({ "image": "i", "resources": { "memoryLimit": "40m", "memoryRequest": "64" } }),
            &[
                "spec.resources.memoryRequest: 64 is less than 1Mi; did you mean 64Mi?",
                "spec.resources.memoryLimit: 40m is less than 1Mi; did you mean 40Mi?",
            ],
        ),
        (
            json!({ "image": "i", "resources": { "memoryLimit": "lots", "cpuRequest": "2", "cpuLimit": "1" } }),
            &[
                "spec.resources.memoryLimit: must be a quantity such as 250m, 64Mi or 1.5",
                "spec.resources.cpuRequest: must not exceed its limit",
            ],
        ),
        (
            json!({ "image": "i", "cspAllowlist": ["https://a.example", "x; script-src *"], "protocol": "h3", "readinessPath": "ready" }),
            &[
                "spec.cspAllowlist[1]: must be one origin without spaces, ';' or ','",
                "spec.readinessPath: must be a path that starts with '/'",
                "spec.protocol: must be auto, http1 or h2c",
            ],
        ),
    ];
    for (spec, expected) in cases {
        let actual: Vec<String> =
            function(spec.clone()).validate().iter().map(ToString::to_string).collect();
        assert_eq!(&actual, expected, "{spec}");
    }
    let mut unnamed = function(json!({ "image": "i" }));
    unnamed.metadata.name = Some("Not-A-Label".into());
    assert_eq!(unnamed.validate()[0].path, "metadata.name");
}

use serde_json::json;

use super::*;

/// Since when a pod whose container started at 10:00:00 is silent, by the status of `Ready` and
/// the minute since which it has it.
#[track_caller]
fn check(ready: &str, since: &str, expected: Option<&str>) {
    let at = |minute: &str| format!("2026-01-01T{minute}:00Z");
    let pod = json!({
        "metadata": {
            "namespace": "shop-dev",
            "labels": { names::RESOURCE_TYPE: names::FUNCTION, names::APP: "f" },
        },
        "status": {
            "conditions": [
                { "type": "Ready", "status": ready, "lastTransitionTime": at(since) },
            ],
            "containerStatuses": [{
                "name": "function", "image": "", "imageID": "", "restartCount": 0,
                "ready": ready == "True",
                "state": { "running": { "startedAt": at("10:00") } },
            }],
        },
    });
    let pod = reduce(&serde_json::from_value(pod).unwrap()).unwrap();
    assert_eq!(pod.silent_since, expected.map(|minute| at(minute).parse().unwrap()));
}

#[test]
fn a_pod_that_has_ended_needs_no_code() {
    let check = |phase: &str, volumes: serde_json::Value, expected: Option<&str>| {
        let pod = json!({
            "metadata": {
                "namespace": "shop-dev",
                "labels": { names::RESOURCE_TYPE: names::FUNCTION, names::APP: "f" },
            },
            "spec": { "containers": [], "volumes": volumes },
            "status": { "phase": phase },
        });
        let pod = reduce(&serde_json::from_value(pod).unwrap()).unwrap();
        assert_eq!(pod.code.as_deref(), expected, "{phase}");
    };
    let code = || {
        let tmp = json!({ "name": names::TMP_VOLUME, "emptyDir": {} });
        json!([tmp, { "name": names::CODE_VOLUME, "configMap": { "name": "f-code-1" } }])
    };
    check("Pending", code(), Some("f-code-1"));
    check("Running", code(), Some("f-code-1"));
    check("Succeeded", code(), None);
    check("Failed", code(), None);
    check("Running", json!([]), None);
}

#[test]
fn code_in_the_environment_is_a_pods_as_well() {
    let selector = |key: &str| json!({ "configMapKeyRef": { "name": "f-code-2", "key": key } });
    let env = json!([
        { "name": names::FILES_VARIABLE, "value": "index.js" },
        { "name": names::file_variable(0), "valueFrom": selector("index.js") },
    ]);
    let pod = json!({
        "metadata": {
            "namespace": "shop-dev",
            "labels": { names::RESOURCE_TYPE: names::FUNCTION, names::APP: "f" },
        },
        "spec": { "containers": [{ "name": "function", "env": env }] },
    });
    let pod = reduce(&serde_json::from_value(pod).unwrap()).unwrap();
    assert_eq!(pod.code.as_deref(), Some("f-code-2"));
}

/// What a pod's poller is known by: ready, refused, and the failure of the pod.
#[track_caller]
fn check_poller(status: serde_json::Value, expected: (bool, Option<&str>, Option<&str>)) {
    let mut container = json!({
        "name": "kipper-poll", "image": "", "imageID": "", "restartCount": 1, "ready": false,
    });
    let fields = status.as_object().unwrap().clone();
    container.as_object_mut().unwrap().extend(fields);
    let pod = json!({
        "metadata": {
            "namespace": "shop-dev",
            "labels": { names::RESOURCE_TYPE: names::FUNCTION, names::APP: "f" },
            "annotations": { names::TRIGGER_DIGEST: "0123" },
        },
        "status": {
            "initContainerStatuses": [container],
            "containerStatuses": [{
                "name": "function", "image": "", "imageID": "", "restartCount": 0,
                "ready": true,
                "state": { "running": { "startedAt": "2026-01-01T10:00:00Z" } },
            }],
        },
    });
    let pod = reduce(&serde_json::from_value(pod).unwrap()).unwrap();
    let poller = pod.poller.unwrap();
    let failure = pod.failure.map(|failure| failure.message);
    let found = (poller.ready, poller.refused.as_deref(), failure.as_deref());
    assert_eq!((found, &*poller.digest), (expected, "0123"));
    // The function itself is ready.
    assert_eq!(pod.silent_since, None);
}

#[test]
fn a_poller_that_cannot_work_is_told_from_one_that_broke() {
    let ended = |code: i32, message: &str| json!({ "terminated": { "exitCode": code, "message": message } });
    let back_off = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    let running = json!({ "running": { "startedAt": "2026-01-01T10:00:00Z" } });
    let refused = ended(64, "{\"level\":\"INFO\"}\nerror: query: no column id\n");
    let words = Some("query: no column id");
    check_poller(json!({ "ready": true, "state": running }), (true, None, None));
    check_poller(json!({ "state": refused }), (false, words, None));
    let state = json!({ "state": back_off, "lastState": refused });
    check_poller(state, (false, words, None));
    // On its next try it may fare better.
    check_poller(json!({ "state": running, "lastState": refused }), (false, None, None));
    let broke = Some("kipper-poll: exit code 101: a bug");
    let state = json!({ "state": back_off, "lastState": ended(101, "a bug") });
    check_poller(state, (false, None, broke));
    let pull = json!({ "waiting": { "reason": "ErrImagePull", "message": "no such image" } });
    check_poller(json!({ "state": pull }), (false, None, Some("kipper-poll: no such image")));
}

/// What the failure of a function's pod with this status is.
fn failure(status: serde_json::Value) -> Failure {
    let container = json!({
        "name": "function", "resources": { "limits": { "memory": "256Mi" } },
    });
    let pod = json!({
        "metadata": {
            "namespace": "shop-dev",
            "labels": { names::RESOURCE_TYPE: names::FUNCTION, names::APP: "f" },
        },
        "spec": { "containers": [container] },
        "status": status,
    });
    reduce(&serde_json::from_value(pod).unwrap()).unwrap().failure.unwrap()
}

#[test]
fn a_limit_that_was_too_low_is_named_with_what_raises_it() {
    let ended = |reason: &str, code: i32, message: &str| {
        let ended =
            json!({ "terminated": { "reason": reason, "exitCode": code, "message": message } });
        json!({ "containerStatuses": [{
            "name": "function", "image": "", "imageID": "", "restartCount": 1, "ready": false,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": ended,
        }] })
    };
    let message = |status| failure(status).message;
    assert_eq!(
        message(ended("OOMKilled", 137, "hello")),
        "the container exceeded its memory limit of 256Mi; resources.memoryLimit (--memory) raises it"
    );
    let installs = message(ended("OOMKilled", 137, "kipper: installing 3 packages with npm\n"));
    assert!(installs.contains("256Mi while it installed packages; "), "{installs}");
    let done = "kipper: installing 1 package with npm\nkipper: installed in 9 ms\n";
    assert!(!message(ended("OOMKilled", 137, done)).contains("installed packages"));
    let gyp = "kipper: cannot load the function: npm install failed: gyp ERR! stack Error";
    assert!(message(ended("Error", 1, gyp)).ends_with("use an image of your own"));
    assert_eq!(message(ended("Error", 1, "boom")), "exit code 1: boom");
    // What npm or pip said stands before the line that says why, and stays in the log.
    let npm = "npm error code E404\nnpm error 404 Not Found - GET https://r/nope\nnpm error 404\n";
    let why = "kipper: cannot load the function: npm install failed: code E404: Not Found - GET \
               https://r/nope";
    let failed = message(ended("Error", 1, &format!("{npm}{why}\n")));
    assert_eq!(failed, format!("exit code 1: {why}"));
    let git = "npm error code ENOENT\nnpm error syscall spawn git\n";
    assert!(message(ended("Error", 1, &format!("{git}{why}\n"))).ends_with("image of your own"));

    for full in [
        "Usage of EmptyDir volume \"tmp\" exceeds the limit \"512Mi\".",
        "Pod ephemeral local storage usage exceeds the total limit of containers 576Mi. ",
        "Container function exceeded its local ephemeral storage limit \"576Mi\". ",
    ] {
        let evicted = failure(json!({ "phase": "Failed", "reason": "Evicted", "message": full }));
        assert_eq!(evicted.reason, "Evicted");
        let message = evicted.message;
        assert!(message.starts_with(full.trim_end()) && message.contains("--tmp"), "{message}");
    }
    let node = json!({ "reason": "Evicted", "message": "The node was low on resource: memory." });
    assert_eq!(failure(node).message, "The node was low on resource: memory.");
}

#[test]
fn a_crash_is_told_in_the_runtimes_own_line() {
    let crash = |message: &str| {
        let state = json!({ "terminated": { "exitCode": 1, "message": message } });
        ended(&serde_json::from_value(state).unwrap(), None).unwrap().message
    };
    let why = "kipper: cannot load the function: SyntaxError: Unexpected end of input";
    let said = format!("kipper: starting\n{why}\nindex.js:2\n\n    at wrapSafe (node:internal)\n");
    assert_eq!(crash(&said), format!("exit code 1: {why}"));
    assert_eq!(crash("a\nb\n"), "exit code 1: a\nb");
    assert_eq!(crash(""), "exit code 1");
}

#[test]
fn requests_are_not_why_it_ended() {
    let words = "kipper: listening on x\nboom\nkipper: request GET / 200 1 ms cold 9 MiB\n\
                 kipper: event POST /event 200 1 ms warm 9 MiB\n";
    assert_eq!(without_requests(words), "kipper: listening on x\nboom");
    let state = json!({ "terminated": { "exitCode": 3, "message": words } });
    let failure = ended(&serde_json::from_value(state).unwrap(), None).unwrap();
    assert_eq!(failure.message, "exit code 3: kipper: listening on x\nboom");
}

#[test]
fn long_words_keep_the_part_that_says_why() {
    let long = "x".repeat(MAX_MESSAGE);
    assert_eq!(clipped(&long), long);
    assert_eq!(clipped(&format!("a\n{long}")), format!("…{long}"));
    let why = "kipper: cannot load the function: npm install failed: ";
    let said = clipped(&format!("kipper: installing 1 package with npm\n{why}{long}"));
    assert!(said.starts_with(why) && said.ends_with("x…"), "{said}");
    assert_eq!(said.chars().count(), MAX_MESSAGE + 1);
    assert_eq!(clipped(&format!("{long}\n{why}")), why.trim_end());
    let run = "kipper: the run failed: no ledger\nError: no ledger\n    at f (index.js:3:9)\n";
    assert_eq!(clipped(run), "kipper: the run failed: no ledger");
    let own = "kipper: installed in 9 ms\nno ledger\n";
    assert_eq!(clipped(own), own.trim());
}

#[test]
fn silence_begins_with_the_container_or_with_the_last_answer() {
    check("True", "10:01", None);
    check("False", "09:59", Some("10:00"));
    check("False", "11:30", Some("11:30"));
}

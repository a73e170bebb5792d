//! Functions that do not start: the owner learns why, the public does not, and a repair is all it
//! takes.

use std::net::SocketAddr;

use kipper_cluster::{
    names::{BRIDGE, NODE_IMAGE, SERVER_IMAGE},
    sandbox::{Sandbox, condition_is, run},
    wait::{expect, until},
};
use kipper_function::names::condition::READY;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A broken function and what is said about it.
struct Case {
    spec: Value,
    /// Reason of `Ready=False`.
    reason: &'static str,
    /// What the message has to contain: the cause.
    cause: &'static str,
}

/// Something that works, in place of what did not.
fn repaired() -> Value {
    json!({ "source": { "code": "module.exports = async () => 'repaired'" } })
}

fn inline(runtime: &str, code: &str) -> Value {
    json!({ "runtime": runtime, "source": { "code": code } })
}

async fn check(name: &str, case: Case) {
    run(name, |sandbox| async move {
        let name = sandbox.name("broken");
        let message = breaks(&sandbox, &name, &case).await;
        assert!(message.contains(case.cause), "{message}");
        sandbox.until_event(&name, case.reason, case.cause).await;

        sandbox.apply(&name, repaired()).await;
        sandbox.until_answers(&name, "repaired").await;
        sandbox.until_ready(&name).await;
    })
    .await;
}

/// Asks the function in vain; what its condition says of it.
async fn breaks(sandbox: &Sandbox, name: &str, case: &Case) -> String {
    let mut spec = case.spec.clone();
    spec["timeouts"] = json!({ "coldStartSeconds": 3 });
    sandbox.apply(name, spec).await;
    sandbox.until_ready(name).await;
    let answer = sandbox.wake(name).await;
    assert_eq!(answer.status, 504, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["reason"], "cold_start_timeout");
    let fields: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["error", "reason", "requestId"]);
    assert_eq!(body["error"], "the function did not start in time");
    sandbox.until_broken(name, case.reason).await
}

#[tokio::test]
async fn an_image_that_does_not_exist() {
    let case = Case {
        spec: json!({ "image": "docker.io/kipper/no-such-image:dev" }),
        reason: "ImagePullFailed",
        cause: "no-such-image",
    };
    check("noimage", case).await;
}

#[tokio::test]
async fn an_image_that_crashes() {
    // The runtime without anything to run.
    let case = Case {
        spec: json!({ "image": NODE_IMAGE }),
        reason: "ContainerCrashed",
        cause: "/app/function holds none of",
    };
    check("crash", case).await;
}

#[tokio::test]
async fn code_that_ends_the_process() {
    let code = "console.error('the ledger is missing'); process.exit(3)";
    let case = Case {
        spec: inline("node", code),
        reason: "ContainerCrashed",
        cause: "exit code 3: the ledger is missing",
    };
    check("exit", case).await;
}

#[tokio::test]
async fn a_server_on_another_port() {
    let case = Case {
        spec: json!({ "image": SERVER_IMAGE, "port": 9999 }),
        reason: "NotListening",
        cause: "does not answer on port 9999",
    };
    check("silent", case).await;
}

#[tokio::test]
async fn a_syntax_error_in_node() {
    let case = Case {
        spec: inline("node", "module.exports = async () => {"),
        reason: "ContainerCrashed",
        cause: "SyntaxError: Unexpected end of input",
    };
    check("syntax", case).await;
}

#[tokio::test]
async fn an_import_error_in_python() {
    let case = Case {
        spec: inline("python", "import nonesuch\n\ndef handler(event, context):\n    return ''\n"),
        reason: "ContainerCrashed",
        cause: "No module named 'nonesuch'",
    };
    check("import", case).await;
}

#[tokio::test]
async fn a_dependency_that_cannot_be_installed() {
    let registry = empty_registry().await;
    let mut spec = inline("node", "module.exports = require('nonesuch')");
    spec["source"]["dependencies"] = json!({ "nonesuch": "1.0.0" });
    spec["env"] = json!({ "NPM_CONFIG_REGISTRY": format!("http://{registry}/") });
    let case = Case { spec, reason: "ContainerCrashed", cause: "npm install failed" };
    check("install", case).await;
}

/// A package registry that has nothing.
async fn empty_registry() -> SocketAddr {
    let listener = TcpListener::bind((BRIDGE, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let answer =
                    b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                let mut head = [0; 4096];
                // npm's request has no body and fits; whoever leaves early needs no answer.
                if client.read(&mut head).await.is_ok() {
                    let _ = client.write_all(answer).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_listens_late_recovers_by_itself() {
    run("late", |sandbox| async move {
        let name = sandbox.name("late");
        // Sleeps before it loads, without using the processor.
        let code = "const cell = new Int32Array(new SharedArrayBuffer(4))\n\
                    Atomics.wait(cell, 0, 0, 12000)\n\
                    module.exports = async () => 'late'";
        let case = Case { spec: inline("node", code), reason: "NotListening", cause: "" };
        let message = breaks(&sandbox, &name, &case).await;
        assert!(message.contains("does not answer on port 8080, for 3 s so far"), "{message}");
        sandbox.until_ready(&name).await;
        let answer = sandbox.request(&name).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "late"));
        sandbox.until_event(&name, "Reconciled", "").await;
    })
    .await;
}

#[tokio::test]
async fn one_fault_after_another() {
    run("faults", |sandbox| async move {
        let name = sandbox.name("faults");
        let first = Case {
            spec: inline("node", "throw new Error('the first fault')"),
            reason: "ContainerCrashed",
            cause: "",
        };
        let message = breaks(&sandbox, &name, &first).await;
        assert!(message.contains("the first fault"), "{message}");
        // The pods of the first fault are still there, and say what they said.
        sandbox.apply(&name, inline("node", "throw new Error('the second fault')")).await;
        until("the second fault", || async {
            let message = sandbox.until_broken(&name, "ContainerCrashed").await;
            expect(message.contains("the second fault"), || message)
        })
        .await;
        sandbox.apply(&name, repaired()).await;
        sandbox.until_answers(&name, "repaired").await;
        sandbox.until_ready(&name).await;
    })
    .await;
}

#[tokio::test]
async fn a_fault_is_told_while_nothing_runs() {
    run("asleep", |sandbox| async move {
        let name = sandbox.name("asleep");
        let case = Case {
            spec: json!({ "image": "docker.io/kipper/no-such-image:dev", "idleTimeoutSeconds": 5 }),
            reason: "ImagePullFailed",
            cause: "",
        };
        breaks(&sandbox, &name, &case).await;
        // Nobody asks any more, and KEDA takes the pod away.
        until("no pods", || async {
            let pods = sandbox.pods(&name).await;
            expect(pods.is_empty(), || format!("{} pods", pods.len()))
        })
        .await;
        let function = sandbox.functions().get(&name).await.unwrap();
        condition_is(&function, READY, "False", "ImagePullFailed").unwrap();
        assert_eq!(function.status.unwrap().phase.as_deref(), Some("Failed"));

        sandbox.apply(&name, repaired()).await;
        // Ready again before anybody asks: nothing is known against the new one.
        sandbox.until_ready(&name).await;
        sandbox.until_answers(&name, "repaired").await;
    })
    .await;
}

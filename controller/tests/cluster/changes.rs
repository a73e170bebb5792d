//! Changing a function: its pods are replaced without a failed request, and what is not needed any
//! more goes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use kipper_cluster::{
    names::SYSTEM,
    objects,
    sandbox::{Sandbox, condition_is, run},
    wait::{expect, until},
};
use kipper_function::{
    Function,
    names::{
        self,
        condition::{ENVIRONMENT_CLASH, READY},
    },
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Between two requests of the light load.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(40);

/// Answers with code, environment and secret, so that each can be told.
fn spec(code: &str, color: Option<&str>) -> Value {
    let code = format!(
        "module.exports = async () => ['{code}', process.env.COLOR, process.env.TOKEN].join(' ')"
    );
    // One pod takes the whole load.
    let scaling = json!({ "targetRequestRate": 1000 });
    let mut spec = json!({ "source": { "code": code }, "scaling": scaling });
    if let Some(color) = color {
        spec["env"] = json!({ "COLOR": color });
    }
    spec
}

/// Requests in a row, until aborted; what was not 200 is kept.
struct Load {
    task: JoinHandle<()>,
    sent: Arc<AtomicU64>,
    failed: Arc<parking_lot::Mutex<Vec<String>>>,
}

impl Load {
    fn start(sandbox: &Sandbox, name: &str) -> Self {
        let (sent, failed) = (Arc::<AtomicU64>::default(), Arc::default());
        let load = (sandbox.clone(), name.to_owned(), Arc::clone(&sent), Arc::clone(&failed));
        let task = tokio::spawn(async move {
            let (sandbox, name, sent, failed) = load;
            loop {
                let answer = sandbox.request(&name).await;
                if !answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                    let failed: &parking_lot::Mutex<Vec<String>> = &failed;
                    failed.lock().push(format!("{answer:?}"));
                }
                sent.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { task, sent, failed }
    }

    fn check(self) {
        self.task.abort();
        let failed = self.failed.lock();
        assert!(failed.is_empty(), "of {}: {failed:#?}", self.sent.load(Ordering::Relaxed));
        assert!(self.sent.load(Ordering::Relaxed) > 0);
    }
}

/// Until the pods of earlier versions are gone, and with them the chance to fail a request.
async fn rolled(sandbox: &Sandbox, name: &str, body: &str) {
    sandbox.until_answers(name, body).await;
    until("one pod", || async {
        let pods = sandbox.pods(name).await;
        expect(pods.len() == 1, || format!("{} pods", pods.len()))
    })
    .await;
    sandbox.until_answers(name, body).await;
}

#[tokio::test]
async fn code_env_and_secret_roll_without_a_failed_request() {
    run("changes", |sandbox| async move {
        let name = sandbox.name("changes");
        let secret = names::secrets(&name);
        sandbox.apply(&name, spec("one", Some("red"))).await;
        sandbox.until_answers(&name, "one red ").await;
        let load = Load::start(&sandbox, &name);

        sandbox.apply(&name, spec("two", Some("red"))).await;
        rolled(&sandbox, &name, "two red ").await;
        sandbox.apply(&name, spec("two", Some("blue"))).await;
        rolled(&sandbox, &name, "two blue ").await;
        sandbox.secret(&secret, &[("TOKEN", "first")]).await;
        rolled(&sandbox, &name, "two blue first").await;
        sandbox.secret(&secret, &[("TOKEN", "second"), ("COLOR", "green")]).await;
        // What the Secret holds beats what the spec says, and the clash is told.
        rolled(&sandbox, &name, "two green second").await;
        let clash = |f: &Function| condition_is(f, ENVIRONMENT_CLASH, "True", "Precedence");
        let function = sandbox.function_that(&name, "a clash", clash).await;
        let status = function.status.unwrap();
        let message = &status.condition(ENVIRONMENT_CLASH).unwrap().message;
        assert!(message.contains("COLOR"), "{message}");
        assert_eq!(status.condition(READY).unwrap().status, "True");
        let keys: Vec<_> = status.secret_keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(keys, ["COLOR", "TOKEN"]);
        sandbox.secret(&secret, &[("TOKEN", "second")]).await;
        rolled(&sandbox, &name, "two blue second").await;
        sandbox.apply(&name, spec("two", None)).await;
        rolled(&sandbox, &name, "two  second").await;
        objects::delete(&sandbox.client, "Secret", &sandbox.namespace, &secret).await;
        rolled(&sandbox, &name, "two  ").await;
        load.check();
        sandbox.until_ready(&name).await;
    })
    .await;
}

#[tokio::test]
async fn triggers_come_and_go() {
    run("triggers", |sandbox| async move {
        let name = sandbox.name("triggers");
        let with = |triggers: Value| {
            let code = "module.exports = async () => 'served'";
            json!({ "source": { "code": code }, "triggers": triggers })
        };
        let http = json!([{ "type": "http" }]);
        let cron = json!([{ "type": "cron", "schedule": "0 4 * * *" }]);
        sandbox.apply(&name, with(http.clone())).await;
        sandbox.until_answers(&name, "served").await;

        sandbox.apply(&name, with(cron)).await;
        sandbox.until_object("CronJob", &names::cron_job(&name)).await;
        for kind in ["Deployment", "Service", "ScaledObject"] {
            sandbox.until_gone(kind, &name).await;
        }
        published(&sandbox, &name, false).await;
        let function = sandbox.until_ready(&name).await;
        assert_eq!(function.status.unwrap().endpoint, None);
        until("404", || async {
            let answer = sandbox.request(&name).await?;
            expect(answer.status == 404, || format!("{answer:?}"))
        })
        .await;

        sandbox.apply(&name, with(http)).await;
        sandbox.until_gone("CronJob", &names::cron_job(&name)).await;
        published(&sandbox, &name, true).await;
        sandbox.until_answers(&name, "served").await;
        sandbox.until_ready(&name).await;
    })
    .await;
}

/// Ingress and claim of the function's host, both or neither.
async fn published(sandbox: &Sandbox, name: &str, expected: bool) {
    let (ingress, claim) = (names::ingress(&sandbox.namespace, name), sandbox.host(name));
    for (kind, object) in [("Ingress", &ingress), ("Lease", &claim)] {
        until(&format!("{kind} {object}: {expected}"), || async {
            let there = objects::get(&sandbox.client, kind, SYSTEM, object).await.is_some();
            expect(there == expected, || there.to_string())
        })
        .await;
    }
}

//! From `kubectl apply` to an answer, for every form a function has.

use kipper_cluster::{
    names::{SERVER_IMAGE, SYSTEM},
    objects,
    sandbox::{Sandbox, run},
    wait::{expect, until},
};
use kipper_function::{function::Problem, names};
use serde_json::{Value, json};

const NODE: &str = "module.exports = async (event, context) => 'node ' + context.path";
const PYTHON: &str = "def handler(event, context):\n    return 'python ' + context.path\n";

#[tokio::test]
async fn inline_node_answers_from_zero() {
    run("node", |sandbox| async move {
        let name = sandbox.name("node");
        let spec = json!({ "runtime": "node", "source": { "code": NODE } });
        answers_from_zero(&sandbox, &name, spec, Some("node /")).await;
        let code = sandbox.codes(&name).await;
        assert_eq!((code.len(), &code[0]["data"]["index.js"]), (1, &json!(NODE)));
    })
    .await;
}

#[tokio::test]
async fn inline_python_answers_from_zero() {
    run("python", |sandbox| async move {
        let name = sandbox.name("python");
        let spec = json!({ "runtime": "python", "source": { "code": PYTHON } });
        answers_from_zero(&sandbox, &name, spec, Some("python /")).await;
        let code = sandbox.codes(&name).await;
        assert_eq!((code.len(), &code[0]["data"]["handler.py"]), (1, &json!(PYTHON)));
    })
    .await;
}

/// Kubernetes would make `a$b` of it, and put the port in the place of the reference.
#[tokio::test]
async fn a_variable_has_the_text_that_was_given() {
    run("text", |sandbox| async move {
        let name = sandbox.name("text");
        let code = "module.exports = async () => process.env.GIVEN";
        let env = json!({ "GIVEN": "a$$b $(PORT) $5" });
        sandbox.apply(&name, json!({ "source": { "code": code }, "env": env })).await;
        sandbox.until_answers(&name, "a$$b $(PORT) $5").await;
    })
    .await;
}

#[tokio::test]
async fn an_image_answers_from_zero() {
    run("image", |sandbox| async move {
        let name = sandbox.name("image");
        answers_from_zero(&sandbox, &name, json!({ "image": SERVER_IMAGE }), None).await;
        assert_eq!(sandbox.codes(&name).await, Vec::<Value>::new());
    })
    .await;
}

#[tokio::test]
async fn http_and_cron_together() {
    run("both", |sandbox| async move {
        let name = sandbox.name("both");
        let triggers = json!([{ "type": "http" }, { "type": "cron", "schedule": "0 4 * * *" }]);
        let spec = json!({ "source": { "code": NODE }, "triggers": triggers });
        answers_from_zero(&sandbox, &name, spec, Some("node /")).await;
        let cron = sandbox.object("CronJob", &names::cron_job(&name)).await.unwrap();
        assert_eq!(cron["spec"]["schedule"], "0 4 * * *");
        assert_eq!(cron["spec"]["timeZone"], "Etc/UTC");
        assert_eq!(cron["spec"]["concurrencyPolicy"], "Forbid");
    })
    .await;
}

async fn answers_from_zero(sandbox: &Sandbox, name: &str, spec: Value, body: Option<&str>) {
    let applied = sandbox.apply(name, spec).await;
    let problems: Vec<Problem> = applied.spec.validate();
    assert_eq!(problems, []);
    sandbox.until_ready(name).await;
    let idle = sandbox.until_phase(name, "Idle").await;
    let host = sandbox.host(name);
    let status = idle.status.unwrap();
    assert_eq!(status.endpoint, Some(format!("https://{host}")));
    assert_eq!(status.replicas, Some(0));
    assert_eq!(status.observed_generation, applied.metadata.generation);
    rendered(sandbox, name, &host).await;

    let answer = sandbox.wake(name).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    if let Some(body) = body {
        assert_eq!(answer.body, body);
    }
    let running = sandbox.until_phase(name, "Running").await;
    assert_eq!(running.status.unwrap().replicas, Some(1));
}

/// Every object of an http function is there, controlled by it; the Ingress is beside the
/// interceptor.
async fn rendered(sandbox: &Sandbox, name: &str, host: &str) {
    let uid = sandbox.functions().get(name).await.unwrap().metadata.uid.unwrap();
    for kind in ["Service", "Deployment", "ScaledObject"] {
        let object = sandbox.object(kind, name).await.unwrap();
        let owner = &object["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["uid"], &owner["controller"]), (&json!(uid), &json!(true)), "{kind}");
    }
    let ingress = names::ingress(&sandbox.namespace, name);
    let ingress = objects::get(&sandbox.client, "Ingress", SYSTEM, &ingress).await.unwrap();
    assert_eq!(ingress["spec"]["rules"][0]["host"], host);
    // The labels of the Service are how interceptors know an EndpointSlice as a function's.
    let selector = format!("{}={name}", names::SERVICE_NAME);
    until("the EndpointSlice", || async {
        let slices =
            objects::list(&sandbox.client, "EndpointSlice", &sandbox.namespace, &selector).await;
        let ours =
            |slice: &Value| slice["metadata"]["labels"][names::RESOURCE_TYPE] == names::FUNCTION;
        expect(slices.iter().any(ours), || format!("{slices:?}"))
    })
    .await;
}

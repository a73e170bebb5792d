//! Replicas of functions that are Deployments, over the Kubernetes API.

use std::{future::Future, sync::Arc};

use kipper_api_server::{ApiServer, DEADLINE};
use kipper_kubernetes::{Scale, ScaleError};
use kipper_scaler_adapter::{Deployments, Replicas, config::ForeignDeployment};
use serde_json::{Value, json};

const OWN: &str = "/apis/apps/v1/namespaces/kipper-system/deployments/kipper-scaler-adapter/scale";
const HELLO: &str = "/apis/apps/v1/namespaces/shop-prod/deployments/hello/scale";

const DENIED: &str = "deployments.apps \"kipper-scaler-adapter\" is forbidden: ValidatingAdmissionPolicy \
    'kipper-scaler-adapter-scale' with binding 'kipper-scaler-adapter-scale' denied request: no function \
    lives in this namespace";
const DENIED_BY_OTHERS: &str = "deployments.apps \"kipper-scaler-adapter\" is forbidden: \
    ValidatingAdmissionPolicy 'limits.example' with binding 'limits.example' denied request: too many";
const FORBIDDEN: &str = "deployments.apps \"kipper-scaler-adapter\" is forbidden: User \"adapter\" cannot \
    patch resource \"deployments/scale\" in API group \"apps\" in the namespace \"kipper-system\"";

fn deployments(api: &ApiServer) -> Arc<Deployments> {
    let foreign: ForeignDeployment = "kipper-system/kipper-scaler-adapter".parse().unwrap();
    Arc::new(Deployments::new(api.client(), foreign))
}

fn scale(replicas: u32, pods: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "hello", "namespace": "shop-prod", "resourceVersion": "7"},
        "spec": {"replicas": replicas},
        "status": {"replicas": pods},
    })
}

fn refusal(code: u16, message: &str) -> (u16, Value) {
    let details = json!({"name": "kipper-scaler-adapter", "group": "apps", "kind": "deployments"});
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "Invalid", "details": details, "code": code,
    });
    (code, status)
}

/// Answers what is asked meanwhile, in turn; returns what was asked.
async fn answered<T: Send + 'static>(
    api: &mut ApiServer,
    asking: impl Future<Output = T> + Send + 'static,
    answers: &[(u16, Value)],
) -> (T, Vec<String>) {
    let asking = tokio::spawn(asking);
    let mut questions = Vec::new();
    for (status, body) in answers {
        let asked = api.asked().await;
        let dry = if asked.value("dryRun").is_some() { " dry" } else { "" };
        questions.push(format!("{} {}{dry} {}", asked.method, asked.path, asked.body));
        asked.answer(*status, &body.to_string());
    }
    let ended = tokio::time::timeout(DEADLINE, asking).await;
    (ended.expect("an end").unwrap(), questions)
}

#[tokio::test]
async fn replicas_are_read_and_raised_from_what_was_read() {
    let mut api = ApiServer::start().await;
    let deployments = deployments(&api);
    let read = deployments.read("shop-prod", "hello");
    let (read, questions) = answered(&mut api, read, &[(200, scale(4, 3))]).await;
    assert_eq!(read.unwrap(), Scale { wanted: 4, pods: 3 });
    assert_eq!(questions, [format!("GET {HELLO} ")]);

    let raise = deployments.raise("shop-prod", "hello", 4, 9);
    let (raised, questions) = answered(&mut api, raise, &[(200, scale(9, 4))]).await;
    assert!(raised.unwrap());
    let patch = json!([
        {"op": "test", "path": "/spec/replicas", "value": 4},
        {"op": "add", "path": "/spec/replicas", "value": 9},
    ]);
    assert_eq!(questions, [format!("PATCH {HELLO} {patch}")]);

    let failed = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 422,
        "message": "the server rejected our request due to an error in our request",
        "reason": "Invalid", "details": {},
    });
    let raise = deployments.raise("shop-prod", "hello", 4, 9);
    let (raised, _) = answered(&mut api, raise, &[(422, failed)]).await;
    assert!(!raised.unwrap(), "somebody else scaled");

    let gone = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404,
        "message": "deployments.apps \"hello\" not found", "reason": "NotFound",
    });
    let read = deployments.read("shop-prod", "hello");
    let (read, _) = answered(&mut api, read, &[(404, gone)]).await;
    assert!(matches!(read, Err(ScaleError::NotFound)), "{read:?}");
}

/// The policy shows by what it refuses: a right that nothing limits is not used.
#[tokio::test]
async fn only_the_refusal_of_a_policy_allows_to_scale() {
    let mut api = ApiServer::start().await;
    let deployments = deployments(&api);
    let own = (200, scale(2, 2));
    for (answers, expected) in [
        (vec![own.clone(), refusal(422, DENIED)], Ok(())),
        (vec![own.clone(), refusal(403, DENIED)], Ok(())),
        (vec![own.clone(), refusal(422, DENIED_BY_OTHERS)], Err("limits.example")),
        (vec![own.clone(), refusal(403, FORBIDDEN)], Err("cannot patch resource")),
        (vec![own.clone(), (200, scale(3, 2))], Err("no admission policy")),
        (vec![refusal(403, FORBIDDEN)], Err("not allowed")),
    ] {
        let (checked, questions) = answered(&mut api, deployments.check(), &answers).await;
        match (&checked, expected) {
            (Ok(()), Ok(())) => {}
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
            _ => panic!("{checked:?} instead of {expected:?}"),
        }
        let patches = questions.iter().filter(|question| question.starts_with("PATCH"));
        for patch in patches {
            assert!(patch.starts_with(&format!("PATCH {OWN} dry ")), "{patch}");
        }
    }
}

//! What is sent to the API server for an object that is not there, or not whole, yet; and for one that is
//! not needed any more.
#![allow(clippy::unwrap_used)]

use kipper_api_server::{ApiServer, Asked};
use prometheus::Registry;
use serde_json::Value;

use super::*;

const UID: &str = "0123";

fn deployment() -> Object {
    let owner = json!({ "apiVersion": "kipper.run/v1alpha1", "kind": "Function", "name": "f",
        "uid": "u", "controller": true });
    Object {
        kind: Kind::Deployment,
        namespace: "shop".to_owned(),
        name: "f".to_owned(),
        json: json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "namespace": "shop", "name": "f", "ownerReferences": [owner] },
            "spec": { "template": { "spec": { "securityContext": { "runAsNonRoot": true } } } },
        }),
    }
}

/// The object as the API server stores it, with these fields as this controller's.
fn stored(fields: &Value) -> String {
    let mut object = deployment().json;
    object["metadata"]["uid"] = UID.into();
    let entry = json!({ "manager": names::FIELD_MANAGER, "operation": "Apply",
        "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields });
    object["metadata"]["managedFields"] = json!([entry]);
    object["spec"]["replicas"] = 0.into();
    object.to_string()
}

/// Manager and body of an apply.
fn apply(asked: &Asked) -> (String, Value) {
    let path = "/apis/apps/v1/namespaces/shop/deployments/f";
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("PATCH", path));
    assert_eq!(asked.content_type, "application/apply-patch+yaml");
    let manager = asked.value("fieldManager").unwrap().to_owned();
    (manager, serde_json::from_str(&asked.body).unwrap())
}

/// Answers what hands the replicas over and applies the object as it is to stay.
async fn finished(server: &mut ApiServer) {
    let asked = server.asked().await;
    let (manager, body) = apply(&asked);
    assert_eq!(manager, REPLICAS_MANAGER);
    let metadata = json!({ "name": "f", "uid": UID });
    assert_eq!((&body["metadata"], &body["spec"]), (&metadata, &json!({ "replicas": 0 })));
    asked.answer(200, &stored(&json!({ "f:spec": { "f:replicas": {}, "f:template": {} } })));

    let asked = server.asked().await;
    let (manager, body) = apply(&asked);
    assert_eq!((manager.as_str(), &body["metadata"]["uid"]), (names::FIELD_MANAGER, &UID.into()));
    assert_eq!(body["spec"], deployment().json["spec"]);
    asked.answer(200, &stored(&json!({ "f:spec": { "f:template": {} } })));

    let asked = server.asked().await;
    let steps: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!((&steps[0]["value"], &steps[1]["value"]), (&json!(0), &json!(2)));
    asked.answer(200, &stored(&json!({})));
}

fn applier(server: &ApiServer, cache: &Arc<Cache>) -> Applier {
    let metrics = Arc::new(Metrics::register(&Registry::new()).unwrap());
    Applier::new(server.client(), Arc::clone(cache), metrics)
}

fn function() -> Function {
    Function { key: Key::new("shop", "f"), uid: "u".to_owned(), min_replicas: 2 }
}

#[tokio::test]
async fn a_deployment_begins_as_it_stays_and_with_no_replicas() {
    let mut server = ApiServer::in_memory().await;
    let applier = applier(&server, &Arc::new(Cache::new()));
    let (function, objects) = (function(), [deployment()]);
    let served = async {
        let asked = server.asked().await;
        let (manager, body) = apply(&asked);
        assert_eq!(manager, names::FIELD_MANAGER);
        // No object has this version: it is created, or nothing is done.
        assert_eq!(body["metadata"]["resourceVersion"], "1");
        let mut expected = deployment().json["spec"].clone();
        expected["replicas"] = 0.into();
        assert_eq!(body["spec"], expected);
        asked.answer(201, &stored(&json!({ "f:spec": { "f:replicas": {}, "f:template": {} } })));
        finished(&mut server).await;
    };
    let (applied, ()) = tokio::join!(applier.apply_all(&function, &objects, None), served);
    // What is in place is not written again, by this process or the next one.
    let again = applier.apply_all(&function, &objects, Some(&applied.unwrap())).await;
    again.unwrap();
}

#[tokio::test]
async fn a_creation_that_was_interrupted_is_finished() {
    let mut server = ApiServer::in_memory().await;
    let cache = Arc::new(Cache::new());
    let half = stored(&json!({ "f:spec": { "f:replicas": {}, "f:template": {} } }));
    let half: DynamicObject = serde_json::from_str(&half).unwrap();
    let observed = Observed::new(Kind::Deployment, &half);
    cache.objects.put((Kind::Deployment, Key::new("shop", "f")), observed);
    let applier = applier(&server, &cache);
    let (function, objects) = (function(), [deployment()]);
    let served = finished(&mut server);
    let (applied, ()) = tokio::join!(applier.apply_all(&function, &objects, None), served);
    applied.unwrap();
}

#[tokio::test]
async fn what_is_kept_is_not_removed_though_nothing_renders_it() {
    let mut server = ApiServer::in_memory().await;
    let cache = Arc::new(Cache::new());
    let put = |name: &str, uid: &str| {
        let owner = json!({ "apiVersion": "kipper.run/v1alpha1", "kind": "Function", "name": "f",
            "uid": uid, "controller": true });
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "namespace": "shop", "name": name, "uid": UID, "ownerReferences": [owner] } });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let observed = Observed::new(Kind::ConfigMap, &object);
        cache.objects.put((Kind::ConfigMap, Key::new("shop", name)), observed);
    };
    put("f-code-kept", "u");
    put("f-code-stale", "u");
    put("f-code-of-another", "other");
    let applier = applier(&server, &cache);
    let kept = HashSet::from([
        (Kind::ConfigMap, "f-code-kept".to_owned()),
        (Kind::ControllerRevision, "f-code-stale".to_owned()),
    ]);
    let served = async {
        let asked = server.asked().await;
        let stale = "/api/v1/namespaces/shop/configmaps/f-code-stale";
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("DELETE", stale));
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(body["preconditions"], json!({ "uid": UID }));
        asked.answer(200, &json!({ "kind": "Status", "status": "Success" }).to_string());
    };
    let function = function();
    let (pruned, ()) = tokio::join!(applier.prune(&function, &[], &kept), served);
    pruned.unwrap();
    let left = cache.objects.filter(|_, _| true);
    assert_eq!(left.len(), 2);
}

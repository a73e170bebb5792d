//! One host has one owner, whoever else asks for it; and no function touches what is not its own.

use kipper_cluster::{
    names::SYSTEM,
    objects,
    sandbox::{Sandbox, condition_is, create_namespace, run},
    wait::{Seen, expect},
};
use kipper_function::{
    Function,
    names::{
        self,
        condition::{HOST_RESERVED, NAME_TAKEN},
    },
};
use serde_json::{Value, json};

fn says(word: &str) -> Value {
    json!({ "source": { "code": format!("module.exports = async () => '{word}'") } })
}

async fn until_reserved(sandbox: &Sandbox, name: &str) {
    let holds = |f: &Function| condition_is(f, HOST_RESERVED, "True", "Reserved");
    sandbox.function_that(name, "HostReserved=True", holds).await;
}

/// The message that names the owner.
async fn until_taken(sandbox: &Sandbox, name: &str) -> String {
    let holds = |f: &Function| condition_is(f, HOST_RESERVED, "False", "HostTaken");
    let function = sandbox.function_that(name, "HostReserved=False", holds).await;
    let status = function.status.unwrap();
    assert_eq!(status.endpoint, None);
    status.condition(HOST_RESERVED).unwrap().message.clone()
}

#[tokio::test]
async fn the_first_of_two_functions_has_the_host() {
    run("host", |winner| async move {
        let name = winner.name("shared");
        let loser = winner.beside("loser");
        create_namespace(&loser.client, &loser.namespace).await;
        winner.apply(&name, says("winner")).await;
        until_reserved(&winner, &name).await;
        loser.apply(&name, says("loser")).await;
        let message = until_taken(&loser, &name).await;
        let owner = format!("Function {}/{name}", winner.namespace);
        assert_eq!(message, format!("{} belongs to {owner}", winner.host(&name)));
        loser.until_broken(&name, "HostTaken").await;
        loser.until_event(&name, "HostTaken", &owner).await;
        let ingress = names::ingress(&loser.namespace, &name);
        assert_eq!(objects::get(&loser.client, "Ingress", SYSTEM, &ingress).await, None);
        winner.until_answers(&name, "winner").await;

        winner.delete(&name).await;
        until_reserved(&loser, &name).await;
        loser.until_answers(&name, "loser").await;
        loser.until_ready(&name).await;
    })
    .await;
}

#[tokio::test]
async fn of_ten_at_once_exactly_one_has_the_host() {
    run("ten", |sandbox| async move {
        let name = sandbox.name("ten");
        let all: Vec<_> = (0..10).map(|number| sandbox.beside(&number.to_string())).collect();
        for one in &all {
            create_namespace(&one.client, &one.namespace).await;
        }
        let applied = all.iter().map(|one| one.apply(&name, says("one")));
        futures_util::future::join_all(applied).await;
        let mut winners = Vec::new();
        for one in &all {
            let decided = |f: &Function| -> Seen<()> {
                let status = f.status.clone().unwrap_or_default();
                expect(status.condition(HOST_RESERVED).is_some(), || format!("{status:?}"))
            };
            let status = one.function_that(&name, "a decision", decided).await.status.unwrap();
            let reserved = status.condition(HOST_RESERVED).unwrap();
            if reserved.status == "True" {
                winners.push(format!("{}/{name}", one.namespace));
            }
        }
        let host = sandbox.host(&name);
        let claim = objects::get(&sandbox.client, "Lease", SYSTEM, &host).await.unwrap();
        assert_eq!(winners, [claim["spec"]["holderIdentity"].as_str().unwrap()]);
    })
    .await;
}

#[tokio::test]
async fn an_older_ingress_has_the_host() {
    run("ingress", |sandbox| async move {
        let name = sandbox.name("app");
        ingress(&sandbox, "app", &name).await;
        sandbox.apply(&name, says("function")).await;
        let message = until_taken(&sandbox, &name).await;
        assert!(message.ends_with(&format!("belongs to Ingress {}/app", sandbox.namespace)));

        objects::delete(&sandbox.client, "Ingress", &sandbox.namespace, "app").await;
        until_reserved(&sandbox, &name).await;
        sandbox.until_answers(&name, "function").await;
        // A younger one changes nothing.
        ingress(&sandbox, "younger", &name).await;
        objects::merge(
            &sandbox.client,
            "Function",
            &sandbox.namespace,
            &name,
            json!({ "spec": { "env": { "LOOK": "again" } } }),
        )
        .await;
        sandbox.until_ready(&name).await;
        until_reserved(&sandbox, &name).await;
    })
    .await;
}

/// Older, and changed to carry the host after a function had it; and said to be a function's by labels.
#[tokio::test]
async fn a_held_host_is_not_lost_to_an_ingress_that_is_changed_to_carry_it() {
    run("edited", |sandbox| async move {
        let name = sandbox.name("held");
        ingress(&sandbox, "older", &sandbox.name("another")).await;
        sandbox.apply(&name, says("function")).await;
        until_reserved(&sandbox, &name).await;
        let labels = json!({ names::RESOURCE_TYPE: names::FUNCTION });
        let victim = format!("{}/{name}", sandbox.namespace);
        let annotations = json!({ names::FUNCTION_ANNOTATION: victim });
        let patch = json!({
            "metadata": { "labels": labels, "annotations": annotations },
            "spec": { "rules": [{ "host": sandbox.host(&name) }] },
        });
        objects::merge(&sandbox.client, "Ingress", &sandbox.namespace, "older", patch).await;
        let look = json!({ "spec": { "env": { "LOOK": "again" } } });
        objects::merge(&sandbox.client, "Function", &sandbox.namespace, &name, look).await;
        let applied = |f: &Function| -> Seen<()> {
            condition_is(f, HOST_RESERVED, "True", "Reserved")?;
            let status = f.status.clone().unwrap_or_default();
            let observed = status.observed_generation == f.metadata.generation;
            expect(observed && status.applied_digest.is_some(), || format!("{status:?}"))
        };
        sandbox.function_that(&name, "the change applied", applied).await;
        sandbox.until_answers(&name, "function").await;
        // It is somebody else's, whatever it says: it is not removed with the function either.
        sandbox.delete(&name).await;
        sandbox.until_gone("Function", &name).await;
        assert!(sandbox.object("Ingress", "older").await.is_some());
    })
    .await;
}

/// An Ingress of somebody else with the host of function `name`.
async fn ingress(sandbox: &Sandbox, ingress: &str, name: &str) {
    let service = json!({ "service": { "name": "app", "port": { "number": 80 } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": service });
    let rule = json!({ "host": sandbox.host(name), "http": { "paths": [path] } });
    let json = json!({ "metadata": { "name": ingress }, "spec": { "rules": [rule] } });
    objects::create(&sandbox.client, "Ingress", &sandbox.namespace, json).await;
}

/// An object of somebody else that has a function's name stays as it is; without it the function
/// comes to be.
async fn foreign(short: &str, kind: &str, mut json: Value) {
    let kind = kind.to_owned();
    run(short, |sandbox| async move {
        let name = sandbox.name("taken");
        let object = if kind == "ConfigMap" { code(&sandbox, &name).await } else { name.clone() };
        json["metadata"] = json!({ "name": object });
        objects::create(&sandbox.client, &kind, &sandbox.namespace, json).await;
        let before = contents(sandbox.object(&kind, &object).await.unwrap());
        sandbox.apply(&name, says("mine")).await;
        let message = sandbox.until_broken(&name, "NameTaken").await;
        let whose = format!(
            "{kind} {}/{object} already exists and does not belong to this function",
            sandbox.namespace
        );
        assert_eq!(message, whose);
        let function = sandbox.functions().get(&name).await.unwrap();
        condition_is(&function, NAME_TAKEN, "True", "NameTaken").unwrap();
        assert_eq!(contents(sandbox.object(&kind, &object).await.unwrap()), before);

        objects::delete(&sandbox.client, &kind, &sandbox.namespace, &object).await;
        sandbox.until_ready(&name).await;
        sandbox.until_answers(&name, "mine").await;
        let function = sandbox.functions().get(&name).await.unwrap();
        assert!(function.status.unwrap().condition(NAME_TAKEN).is_none());
    })
    .await;
}

/// The name that the code of function `name` gives a ConfigMap; the function is gone again.
async fn code(sandbox: &Sandbox, name: &str) -> String {
    sandbox.apply(name, says("mine")).await;
    sandbox.until_ready(name).await;
    let codes = sandbox.codes(name).await;
    let object = codes[0]["metadata"]["name"].as_str().unwrap().to_owned();
    sandbox.delete(name).await;
    sandbox.until_gone("Function", name).await;
    sandbox.until_gone("ConfigMap", &object).await;
    object
}

/// An object without what the cluster keeps up by itself.
fn contents(mut object: Value) -> Value {
    object["status"] = Value::Null;
    for field in ["managedFields", "resourceVersion"] {
        object["metadata"][field] = Value::Null;
    }
    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = Value::Null;
    object
}

#[tokio::test]
async fn a_foreign_deployment_is_not_touched() {
    let labels = json!({ "app": "foreign" });
    let container = json!({ "name": "c", "image": kipper_cluster::names::SERVER_IMAGE });
    let pod = json!({ "schedulerName": "nobody", "containers": [container] });
    let template = json!({ "metadata": { "labels": labels }, "spec": pod });
    let spec =
        json!({ "replicas": 0, "selector": { "matchLabels": labels }, "template": template });
    foreign("deployment", "Deployment", json!({ "spec": spec })).await;
}

#[tokio::test]
async fn a_foreign_service_is_not_touched() {
    let spec = json!({ "ports": [{ "port": 80 }] });
    foreign("service", "Service", json!({ "spec": spec })).await;
}

#[tokio::test]
async fn a_foreign_config_map_is_not_touched() {
    foreign("configmap", "ConfigMap", json!({ "data": { "index.js": "theirs" } })).await;
}

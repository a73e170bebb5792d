//! Functions of a cluster whose API server answers what the test says.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use http::Method;
use kipper_api_server::{ApiServer, Asked};
use kipper_client::{Server, invoke::Gateway};
use kipper_console::{Access, Console as Served, backend::cluster::Cluster};
use kipper_console_contract::{Console, Reply};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

const ONE: &str = "/api/v1/ns/shop/functions/hello";
const FUNCTIONS: &str = "/apis/kipper.run/v1alpha1/namespaces/shop/functions";
const RIGHTS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const SECRETS: &str = "/api/v1/namespaces/shop/secrets";

async fn start() -> (ApiServer, Console, DropGuard) {
    let api = ApiServer::start().await;
    let connection = Server::at(api.url().parse().unwrap()).connection("ada-token").unwrap();
    let cluster = Arc::new(Cluster::new(connection, "ada", Gateway::default()));
    let served = Served::new(Access::token("t", cluster));
    let bound = served.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let console = Console::new(&format!("http://{}/#token=t", bound.address()));
    let stop = CancellationToken::new();
    tokio::spawn(bound.serve(stop.clone()));
    (api, console, stop.drop_guard())
}

fn function(version: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "kipper.run/v1alpha1", "kind": "Function", "spec": spec,
        "metadata": { "name": "hello", "namespace": "shop", "uid": "u", "generation": 1,
            "resourceVersion": version },
    })
    .to_string()
}

fn spec() -> Value {
    json!({ "runtime": "node", "source": { "code": "module.exports = () => 1" } })
}

fn refuse(asked: Asked, code: u16, reason: &str) {
    let details = json!({ "name": "hello", "group": "kipper.run", "kind": "functions" });
    let status = json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason,
        "message": format!("the server says {reason}"), "details": details });
    asked.answer(code, &status.to_string());
}

/// The next request, which must be this one; where a right is asked for, the user has it.
async fn asked(api: &mut ApiServer, method: &str, path: &str) -> Asked {
    loop {
        let asked = api.asked().await;
        if asked.path == RIGHTS && path != RIGHTS {
            answer_right(asked, true);
            continue;
        }
        assert_eq!((asked.method.as_str(), asked.path.as_str()), (method, path));
        return asked;
    }
}

fn answer_right(asked: Asked, is_allowed: bool) {
    asked.answer(201, &json!({ "spec": {}, "status": { "allowed": is_allowed } }).to_string());
}

/// As far as the Function itself, which is still to be answered.
async fn secrets_written(api: &mut ApiServer) -> Asked {
    let rehearsed = asked(api, "POST", FUNCTIONS).await;
    assert_eq!(rehearsed.value("dryRun"), Some("All"));
    rehearsed.answer(201, &function("0", &spec()));
    refuse(asked(api, "GET", &format!("{SECRETS}/hello-secrets")).await, 404, "NotFound");
    asked(api, "POST", SECRETS).await.answer(201, r#"{"metadata":{"name":"hello-secrets"}}"#);
    let made = asked(api, "POST", FUNCTIONS).await;
    assert_eq!(made.value("dryRun"), None);
    made
}

async fn create(console: &Console) -> Reply {
    let new = json!({ "name": "hello", "spec": spec(), "secrets": { "set": { "KEY": "v" } } });
    console.send(Method::POST, "/api/v1/ns/shop/functions", &new).await
}

#[tokio::test]
async fn a_function_that_is_refused_after_its_secrets_says_that_they_are_there() {
    let (mut api, console, _stop) = start().await;
    let (reply, ()) = tokio::join!(create(&console), async {
        refuse(secrets_written(&mut api).await, 409, "AlreadyExists");
    });
    assert_eq!((reply.status, &reply.body["reason"]), (409, &json!("exists")), "{reply:?}");
    assert_eq!(reply.body["written"], json!(["secrets"]));
}

#[tokio::test]
async fn a_function_whose_secrets_do_not_go_with_it_is_made_all_the_same() {
    let (mut api, console, _stop) = start().await;
    let (reply, ()) = tokio::join!(create(&console), async {
        secrets_written(&mut api).await.answer(201, &function("1", &spec()));
        let secret = asked(&mut api, "GET", &format!("{SECRETS}/hello-secrets")).await;
        refuse(secret, 403, "Forbidden");
    });
    assert_eq!((reply.status, &reply.body["outcome"]), (201, &json!("created")), "{reply:?}");
    assert_eq!(reply.body["written"], json!(["secrets", "spec"]));
    let failed = &reply.body["failed"];
    assert_eq!(failed["step"], "secrets");
    assert!(failed["error"].as_str().unwrap().contains("the server says Forbidden"), "{failed}");
}

/// A form that was loaded with the Function as it was first.
fn form() -> Value {
    let mut changed = spec();
    changed["idleTimeoutSeconds"] = json!(77);
    json!({ "spec": changed, "base": { "generation": 1, "spec": spec() } })
}

#[tokio::test]
async fn a_save_reads_the_function_once_and_writes_what_it_read() {
    let (mut api, console, _stop) = start().await;
    let path = format!("{FUNCTIONS}/hello");
    let form = form();
    let (reply, ()) = tokio::join!(console.send(Method::PUT, ONE, &form), async {
        asked(&mut api, "GET", &path).await.answer(200, &function("7", &spec()));
        let patch = asked(&mut api, "PATCH", &path).await;
        let sent: Value = serde_json::from_str(&patch.body).unwrap();
        let expected = json!({ "spec": { "idleTimeoutSeconds": 77 },
            "metadata": { "resourceVersion": "7" } });
        assert_eq!(sent, expected);
        patch.answer(200, &function("8", &form["spec"]));
    });
    assert_eq!((reply.status, &reply.body["outcome"]), (200, &json!("changed")), "{reply:?}");
    assert_eq!(reply.body["function"]["spec"]["idleTimeoutSeconds"], 77);
}

/// The status moves the version as well, and is nobody's change of the form's fields.
#[tokio::test]
async fn a_save_whose_function_moved_meanwhile_is_made_anew() {
    let (mut api, console, _stop) = start().await;
    let path = format!("{FUNCTIONS}/hello");
    let form = form();
    let (reply, ()) = tokio::join!(console.send(Method::PUT, ONE, &form), async {
        asked(&mut api, "GET", &path).await.answer(200, &function("7", &spec()));
        refuse(asked(&mut api, "PATCH", &path).await, 409, "Conflict");
        asked(&mut api, "GET", &path).await.answer(200, &function("8", &spec()));
        let patch = asked(&mut api, "PATCH", &path).await;
        assert!(patch.body.contains(r#""resourceVersion":"8""#), "{}", patch.body);
        patch.answer(200, &function("9", &form["spec"]));
    });
    assert_eq!((reply.status, &reply.body["outcome"]), (200, &json!("changed")), "{reply:?}");
}

#[tokio::test]
async fn a_right_is_asked_for_once_and_a_refusal_each_time_and_without_an_answer_the_call_tells() {
    let (mut api, console, _stop) = start().await;
    let rights = "/api/v1/ns/shop/rights";
    let (reply, ()) = tokio::join!(console.get(rights), async {
        refuse(asked(&mut api, "POST", RIGHTS).await, 500, "InternalError");
    });
    assert_eq!((reply.status, &reply.body), (200, &json!({ "create": null })));
    let (reply, ()) = tokio::join!(console.get(rights), async {
        let review = asked(&mut api, "POST", RIGHTS).await;
        let attributes = json!({ "group": "kipper.run", "resource": "functions",
            "namespace": "shop", "verb": "create" });
        let sent: Value = serde_json::from_str(&review.body).unwrap();
        assert_eq!(sent["spec"]["resourceAttributes"], attributes);
        answer_right(review, false);
    });
    let why = json!("your account may not create functions of the namespace shop");
    assert_eq!(reply.body["create"], why);
    // Whoever is given the right has it at once, and keeps it for a while: nobody answers the last one.
    let (reply, ()) = tokio::join!(console.get(rights), async {
        answer_right(asked(&mut api, "POST", RIGHTS).await, true);
    });
    assert_eq!(reply.body["create"], json!(null));
    assert_eq!(console.get(rights).await.body["create"], json!(null));
}

/// An apply that has no value would leave one that kubectl wrote, with the key in it.
#[tokio::test]
async fn a_provider_is_removed_whoever_wrote_it() {
    let (mut api, console, _stop) = start().await;
    let path = "/api/v1/namespaces/kipper-system/secrets/kipper-assistant";
    for code in [200, 404] {
        let remove = console.send(Method::DELETE, "/api/v1/settings/ai", &Value::Null);
        let (reply, ()) = tokio::join!(remove, async {
            refuse(asked(&mut api, "GET", path).await, 404, "NotFound");
            let patch = asked(&mut api, "PATCH", path).await;
            let sent: Value = serde_json::from_str(&patch.body).unwrap();
            assert_eq!(sent, json!({ "data": { "settings.json": null } }));
            match code {
                200 => patch.answer(200, r#"{"metadata":{"name":"kipper-assistant"}}"#),
                _ => refuse(patch, 404, "NotFound"),
            }
        });
        assert_eq!((reply.status, &reply.body["keySet"]), (200, &json!(false)), "{reply:?}");
    }
}

#[tokio::test]
async fn a_cluster_that_is_away_is_told_on_the_stream_which_begins_anew_when_it_is_back() {
    let (mut api, console, _stop) = start().await;
    let mut stream = console.stream("ns=shop").await;
    let list = json!({ "metadata": { "resourceVersion": "1" }, "items": [] }).to_string();
    api.list(FUNCTIONS).await.answer(200, &list);
    let watch = api.watch(FUNCTIONS, "1").await;
    stream.until("the list", |update| update["type"] == "functions").await;
    api.down().await;
    drop(watch);
    let told = stream.until("the trouble", |update| update["type"] == "error").await;
    assert_eq!(told["reason"], "unreachable", "{told}");
    stream.end().await;
    let reply = console.get(ONE).await;
    assert_eq!((reply.status, &reply.body["reason"]), (502, &json!("unreachable")));

    api.up().await;
    let mut stream = console.stream("ns=shop").await;
    api.list(FUNCTIONS).await.answer(200, &list);
    stream.until("the list again", |update| update["type"] == "functions").await;
}

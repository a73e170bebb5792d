//! Bound services: what is missing is told and waited for, and a database is really there.

use std::net::SocketAddr;

use kipper_cluster::{
    bridge::on_bridge,
    names::BRIDGE,
    objects,
    sandbox::{Sandbox, condition_is, create_namespace, delete_namespace, run},
};
use kipper_function::{
    names::{self, condition::BINDINGS_RESOLVED},
    service::ServiceKind,
};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    deletion::{until_namespace_gone, until_unpublished},
    servers::{self, ADMIN, ADMIN_PASSWORD, Session},
};

/// Answers with the values of these variables.
fn tells(variables: &[&str]) -> String {
    format!("module.exports = async () => {variables:?}.map((name) => process.env[name]).join(' ')")
}

pub(crate) async fn service(sandbox: &Sandbox, name: &str, type_: &str) {
    let json = json!({ "metadata": { "name": name }, "spec": { "type": type_ } });
    objects::create(&sandbox.client, "KipperService", &sandbox.namespace, json).await;
}

/// The Secret of the Service `db` at this address.
async fn credentials(sandbox: &Sandbox, address: SocketAddr) {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let values =
        [("HOST", &*host), ("PORT", &port), ("USERNAME", ADMIN), ("PASSWORD", ADMIN_PASSWORD)];
    sandbox.secret("db-credentials", &values).await;
}

async fn until_unresolved(sandbox: &Sandbox, name: &str, reason: &str) -> String {
    let function = sandbox
        .function_that(name, reason, |f| condition_is(f, BINDINGS_RESOLVED, "False", reason))
        .await;
    sandbox.until_broken(name, reason).await;
    function.status.unwrap().condition(BINDINGS_RESOLVED).unwrap().message.clone()
}

#[tokio::test]
async fn what_is_missing_is_told_and_waited_for() {
    run("missing", |sandbox| async move {
        let name = sandbox.name("missing");
        let code = tells(&["REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD"]);
        let spec = json!({ "source": { "code": code }, "serviceBindings": [{ "name": "cache" }] });
        sandbox.apply(&name, spec).await;
        let message = until_unresolved(&sandbox, &name, "ServiceNotFound").await;
        assert_eq!(message, "service cache does not exist");
        assert_eq!(sandbox.object("Deployment", &name).await, None);

        service(&sandbox, "cache", "redis").await;
        let message = until_unresolved(&sandbox, &name, "CredentialsNotFound").await;
        let expected =
            "Secret cache-credentials of service cache does not exist; it needs the keys";
        assert!(message.starts_with(&format!("{expected} HOST, PORT (")), "{message}");

        // Every key at once.
        sandbox.secret("cache-credentials", &[("PASSWORD", "first")]).await;
        let message = until_unresolved(&sandbox, &name, "CredentialsInvalid").await;
        let expected =
            "Secret cache-credentials: no value for HOST and PORT; a redis service needs";
        assert!(message.starts_with(expected), "{message}");

        let values = [("HOST", "cache"), ("PORT", "6379"), ("PASSWORD", "first")];
        sandbox.secret("cache-credentials", &values).await;
        sandbox.until_ready(&name).await;
        sandbox.until_answers(&name, "cache 6379 first").await;
        let function = sandbox.functions().get(&name).await.unwrap();
        condition_is(&function, BINDINGS_RESOLVED, "True", "Resolved").unwrap();

        // A changed password reaches the pods.
        let values = [("HOST", "cache"), ("PORT", "6379"), ("PASSWORD", "second")];
        sandbox.secret("cache-credentials", &values).await;
        sandbox.until_answers(&name, "cache 6379 second").await;

        // What runs goes on while its service is away, and the owner is told.
        objects::delete(&sandbox.client, "KipperService", &sandbox.namespace, "cache").await;
        until_unresolved(&sandbox, &name, "ServiceNotFound").await;
        sandbox.until_answers(&name, "cache 6379 second").await;
    })
    .await;
}

#[tokio::test]
async fn two_services_cannot_share_a_prefix() {
    run("prefix", |sandbox| async move {
        let name = sandbox.name("prefix");
        for cache in ["one", "two"] {
            service(&sandbox, cache, "redis").await;
            let values = [("HOST", cache), ("PORT", "6379"), ("PASSWORD", "p")];
            sandbox.secret(&format!("{cache}-credentials"), &values).await;
        }
        let spec = |second: &str| {
            json!({
                "source": { "code": tells(&["REDIS_HOST", "SECOND_HOST"]) },
                "serviceBindings": [{ "name": "one" }, { "name": "two", "prefix": second }],
            })
        };
        sandbox.apply(&name, spec("REDIS_")).await;
        let message = sandbox.until_broken(&name, "EnvironmentClash").await;
        assert!(message.contains("REDIS_HOST is set by"), "{message}");
        assert!(message.contains("give one of them another prefix"), "{message}");
        sandbox.apply(&name, spec("SECOND_")).await;
        sandbox.until_ready(&name).await;
        sandbox.until_answers(&name, "one two").await;
    })
    .await;
}

#[tokio::test]
async fn a_function_has_a_postgres_database_of_its_own() {
    database("postgres", ServiceKind::Postgres).await;
}

#[tokio::test]
async fn a_function_has_a_mariadb_database_of_its_own() {
    database("mariadb", ServiceKind::Mysql).await;
}

async fn database(short: &str, kind: ServiceKind) {
    run(short, move |sandbox| async move {
        let address = reachable(kind).await;
        let (dropped, kept) = (sandbox.name("dropped"), sandbox.name("kept"));
        for (name, policy) in [(&dropped, "Delete"), (&kept, "Retain")] {
            sandbox.apply(name, bound(policy)).await;
            until_unresolved(&sandbox, name, "ServiceNotFound").await;
        }
        service(&sandbox, "db", kind.as_str()).await;
        credentials(&sandbox, address).await;
        for name in [&dropped, &kept] {
            has_its_own(&sandbox, kind, name, address).await;
        }

        // Without its pod, and with another one: the same.
        let database = database_of(&sandbox, kind, &kept);
        for pod in sandbox.pods(&kept).await {
            let pod = pod["metadata"]["name"].as_str().unwrap().to_owned();
            let api = objects::api(&sandbox.client, "Pod", &sandbox.namespace);
            api.delete(&pod, &DeleteParams::default()).await.unwrap();
        }
        has_its_own(&sandbox, kind, &kept, address).await;

        // Unbound, the Secret goes, and the database as its policy says.
        sandbox.apply(&dropped, json!({ "source": { "code": tells(&["DB_NAME"]) } })).await;
        sandbox.until_gone("Secret", &names::binding_secret(&dropped, "db")).await;
        sandbox.until_ready(&dropped).await;
        sandbox.until_answers(&dropped, "").await;
        assert!(!has_database(kind, &database_of(&sandbox, kind, &dropped)).await);
        sandbox.delete(&kept).await;
        sandbox.until_gone("Function", &kept).await;
        sandbox.until_gone("Secret", &names::binding_secret(&kept, "db")).await;
        assert!(has_database(kind, &database).await);

        // With its function, too.
        sandbox.apply(&dropped, bound("Delete")).await;
        has_its_own(&sandbox, kind, &dropped, address).await;
        sandbox.delete(&dropped).await;
        sandbox.until_gone("Function", &dropped).await;
        assert!(!has_database(kind, &database_of(&sandbox, kind, &dropped)).await);
    })
    .await;
}

/// A name that is misspelt makes no database, and what runs keeps the one it has.
#[tokio::test]
async fn only_a_database_that_exists_or_may_be_created_is_used() {
    run("typo", |sandbox| async move {
        let kind = ServiceKind::Postgres;
        let (typo, name) = (sandbox.name("typo").replace('-', "_"), sandbox.name("typo"));
        let address = reachable(kind).await;
        service(&sandbox, "db", kind.as_str()).await;
        credentials(&sandbox, address).await;
        sandbox.apply(&name, bound("Delete")).await;
        has_its_own(&sandbox, kind, &name, address).await;

        let mut chosen = bound("Delete");
        chosen["serviceBindings"][0]["database"] = json!(typo);
        sandbox.apply(&name, chosen.clone()).await;
        let message = until_unresolved(&sandbox, &name, "DatabaseNotFound").await;
        let expected = format!("database {typo} does not exist on service db: correct the name");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains("--create-database"), "{message}");
        assert!(!has_database(kind, &typo).await);
        let secret = sandbox.object("Secret", &names::binding_secret(&name, "db")).await.unwrap();
        let annotation = &secret["metadata"]["annotations"]["kipper.run/database"];
        assert_eq!(*annotation, json!(database_of(&sandbox, kind, &name)));

        chosen["serviceBindings"][0]["createDatabase"] = json!(true);
        sandbox.apply(&name, chosen.clone()).await;
        sandbox.until_ready(&name).await;
        assert!(has_database(kind, &typo).await);

        // What was created so stays in use without the word.
        chosen["serviceBindings"][0].as_object_mut().unwrap().remove("createDatabase");
        sandbox.apply(&name, chosen).await;
        sandbox.until_ready(&name).await;
        sandbox.delete(&name).await;
        sandbox.until_gone("Function", &name).await;
        assert!(!has_database(kind, &typo).await);
    })
    .await;
}

/// Credentials, rights and functions go in any order; whatever the database comes to, the
/// namespace must not hang.
#[tokio::test]
async fn a_namespace_with_a_database_goes() {
    run("dbgone", |sandbox| async move {
        let name = sandbox.name("dbgone");
        let gone = sandbox.beside("gone");
        create_namespace(&gone.client, &gone.namespace).await;
        let address = reachable(ServiceKind::Postgres).await;
        service(&gone, "db", "postgres").await;
        credentials(&gone, address).await;
        gone.apply(&name, bound("Delete")).await;
        gone.until_ready(&name).await;
        delete_namespace(&gone.client, &gone.namespace).await;
        until_namespace_gone(&gone).await;
        until_unpublished(&gone, &name).await;
    })
    .await;
}

fn bound(policy: &str) -> Value {
    let code = tells(&["DB_HOST", "DB_PORT", "DB_USER", "DB_USERNAME", "DB_NAME"]);
    let binding = json!({ "name": "db", "deletionPolicy": policy });
    json!({ "source": { "code": code }, "serviceBindings": [binding] })
}

fn database_of(sandbox: &Sandbox, kind: ServiceKind, function: &str) -> String {
    let environment = sandbox.namespace.rsplit('-').next().unwrap();
    names::database(kind, "db", function, environment)
}

/// The pod knows a database, and what it knows opens that database.
async fn has_its_own(sandbox: &Sandbox, kind: ServiceKind, name: &str, address: SocketAddr) {
    sandbox.until_ready(name).await;
    let (host, port) = (address.ip(), address.port());
    let database = database_of(sandbox, kind, name);
    let secret = sandbox.object("Secret", &names::binding_secret(name, "db")).await.unwrap();
    let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(secret).unwrap();
    let data = secret.data.unwrap();
    let value = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
    let (user, password) = (value("USERNAME"), value("PASSWORD"));
    sandbox.until_answers(name, &format!("{host} {port} {user} {user} {database}")).await;
    let mut session = Session::open(kind, &user, &password, Some(&database)).await.unwrap();
    session.run("CREATE TABLE IF NOT EXISTS orders (id int)").await.unwrap();
}

async fn has_database(kind: ServiceKind, name: &str) -> bool {
    let table = match kind {
        ServiceKind::Postgres => "pg_database WHERE datname",
        _ => "information_schema.schemata WHERE schema_name",
    };
    let sql = format!("SELECT '1' FROM {table} = '{name}'");
    Session::admin(kind).await.value(&sql).await.unwrap().is_some()
}

/// The server of `kind` under an address that pods reach: it listens on loopback only.
pub(crate) async fn reachable(kind: ServiceKind) -> SocketAddr {
    let server = tokio::task::spawn_blocking(move || servers::server(kind)).await.unwrap();
    on_bridge(server.port).await
}

#[tokio::test]
async fn a_database_server_that_is_away_is_waited_for() {
    run("away", |sandbox| async move {
        let name = sandbox.name("away");
        let address = reachable(ServiceKind::Postgres).await;
        // Nobody listens there.
        let free = TcpListener::bind((BRIDGE, 0)).await.unwrap().local_addr().unwrap();
        service(&sandbox, "db", "postgres").await;
        credentials(&sandbox, free).await;
        sandbox.apply(&name, bound("Delete")).await;
        let message = until_unresolved(&sandbox, &name, "DatabaseFailed").await;
        assert!(!message.contains(ADMIN_PASSWORD), "{message}");
        credentials(&sandbox, address).await;
        has_its_own(&sandbox, ServiceKind::Postgres, &name, address).await;
        sandbox.delete(&name).await;
        sandbox.until_gone("Function", &name).await;
    })
    .await;
}

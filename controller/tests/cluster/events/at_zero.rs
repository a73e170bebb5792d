//! Sources that cannot work, told while no pod runs, and forgotten when they can: the Function itself
//! never changes.

use kipper_cluster::{
    bridge::on_bridge,
    sandbox::{Sandbox, run},
};
use kipper_function::service::ServiceKind;
use kipper_servers::redis::{Options, Redis};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{jobs::Jobs, orders::Orders, photos::Photos, until_invalid, with};
use crate::bindings::service;

const CODE: &str = "module.exports = async () => null";

/// Applies a function with this trigger; the message of its invalid trigger.
async fn told(sandbox: &Sandbox, name: &str, trigger: &Value, reason: &str) -> String {
    let spec = json!({ "source": { "code": CODE }, "triggers": [trigger] });
    sandbox.apply(name, spec).await;
    let message = until_invalid(sandbox, name, reason).await;
    sandbox.until_broken(name, reason).await;
    sandbox.until_event(name, reason, "").await;
    assert!(sandbox.pods(name).await.is_empty());
    message
}

async fn rows(short: &str, kind: ServiceKind) {
    run(short, move |sandbox| async move {
        let name = sandbox.name("zero");
        let orders = Orders::create(&sandbox, kind).await;
        let query = json!({ "query": "SELECT id FROM ordrs WHERE state = 'new'" });
        let trigger = with(orders.trigger(), &query);
        let message = told(&sandbox, &name, &trigger, "TriggerRefused").await;
        assert!(message.starts_with("service db: ") && message.contains("ordrs"), "{message}");
        orders.run("CREATE TABLE ordrs (id int PRIMARY KEY, state varchar(10) NOT NULL)").await;
        sandbox.until_ready(&name).await;
    })
    .await;
}

#[tokio::test]
async fn a_table_of_postgres_that_is_not_there_yet() {
    rows("pgzero", ServiceKind::Postgres).await;
}

#[tokio::test]
async fn a_table_of_mysql_that_is_not_there_yet() {
    rows("myzero", ServiceKind::Mysql).await;
}

#[tokio::test]
async fn a_key_of_redis_that_is_no_list() {
    run("rdzero", |sandbox| async move {
        let name = sandbox.name("zero");
        let jobs = Jobs::create(&sandbox).await;
        jobs.set_text(true).await;
        let message = told(&sandbox, &name, &jobs.trigger(), "TriggerRefused").await;
        assert!(message.contains("already holds a string"), "{message}");
        jobs.set_text(false).await;
        sandbox.until_ready(&name).await;
    })
    .await;
}

#[tokio::test]
async fn a_bucket_that_is_not_there_yet() {
    run("s3zero", |sandbox| async move {
        let name = sandbox.name("zero");
        let photos = Photos::create(&sandbox, &name).await;
        let bucket = sandbox.name("later");
        let trigger = with(photos.trigger(), &json!({ "bucket": bucket }));
        let message = told(&sandbox, &name, &trigger, "SourceUnavailable").await;
        assert!(message.contains("does not exist"), "{message}");
        photos.create_bucket(&bucket).await;
        sandbox.until_ready(&name).await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_and_comes_back() {
    run("stopzero", |sandbox| async move {
        let name = sandbox.name("zero");
        let server = spawn_blocking(|| Redis::start(Options::default()).unwrap()).await.unwrap();
        let address = on_bridge(server.port()).await;
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        service(&sandbox, "cache", "redis").await;
        let password = server.password().unwrap();
        let values = [("HOST", &*host), ("PORT", &port), ("PASSWORD", password)];
        sandbox.secret("cache-credentials", &values).await;
        let trigger = json!({ "type": "redis", "config": { "source": "cache", "list": "jobs" } });
        let spec = json!({ "source": { "code": CODE }, "triggers": [trigger] });
        sandbox.apply(&name, spec).await;
        sandbox.until_ready(&name).await;

        server.kill().unwrap();
        let message = until_invalid(&sandbox, &name, "SourceUnavailable").await;
        assert!(message.starts_with("service cache: no connection to the source"), "{message}");
        sandbox.until_broken(&name, "SourceUnavailable").await;
        let server = spawn_blocking(move || server.start_again().map(|()| server)).await.unwrap();
        let _server = server.unwrap();
        sandbox.until_ready(&name).await;
    })
    .await;
}

//! Functions that are fed by a source: from zero to several pods that share the work, through a
//! rollout, and back to zero; and triggers that cannot work.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use kipper_api::{names, names::condition::TRIGGER_VALID, service::ServiceKind};
use serde_json::{Value, json};

use crate::{
    bindings::{reachable, service},
    names::SYSTEM,
    objects,
    recorder::Recorder,
    sandbox::{Sandbox, condition_is, run},
    servers::{ADMIN, ADMIN_PASSWORD, Session},
    wait::{Seen, expect, until},
};

/// Pods that share the work.
const REPLICAS: usize = 3;
/// For each of them the scaler wants so many rows; see `batch`.
const ROWS_PER_REPLICA: usize = 10;
/// Rows inserted at a time, and how often, while a rollout goes on.
const ROWS_AT_ONCE: usize = 5;
const INSERT_PERIOD: Duration = Duration::from_millis(200);

/// A table of orders in a database of its own, and the Service by which functions reach it.
struct Orders {
    kind: ServiceKind,
    database: String,
    address: SocketAddr,
    /// Ids handed out so far.
    last: usize,
}

impl Orders {
    async fn create(sandbox: &Sandbox, kind: ServiceKind) -> Self {
        let database = sandbox.name("orders").replace('-', "_");
        let sql = format!("CREATE DATABASE {database}");
        Session::admin(kind).await.run(&sql).await.unwrap();
        let address = reachable(kind).await;
        let orders = Self { kind, database, address, last: 0 };
        let table = "CREATE TABLE orders (id int PRIMARY KEY, state varchar(10) NOT NULL)";
        orders.session().await.run(table).await.unwrap();
        service(sandbox, "db", kind.as_str()).await;
        orders.credentials(sandbox, ADMIN_PASSWORD).await;
        orders
    }

    async fn credentials(&self, sandbox: &Sandbox, password: &str) {
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let values = [
            ("HOST", &*host),
            ("PORT", &port),
            ("USERNAME", ADMIN),
            ("PASSWORD", password),
            ("NAME", &self.database),
        ];
        sandbox.secret("db-credentials", &values).await;
    }

    async fn session(&self) -> Session {
        Session::admin_in(self.kind, &self.database).await
    }

    async fn insert(&mut self, count: usize) {
        let ids = self.last + 1..=self.last + count;
        let rows: Vec<_> = ids.map(|id| format!("({id}, 'new')")).collect();
        let sql = format!("INSERT INTO orders VALUES {}", rows.join(", "));
        self.session().await.run(&sql).await.unwrap();
        self.last += count;
    }

    async fn unfinished(&self) -> usize {
        let sql = "SELECT count(*) FROM orders WHERE state <> 'done'";
        let count = self.session().await.value(sql).await.unwrap();
        count.unwrap().parse().unwrap()
    }
}

/// An event trigger on `orders`, with these settings on top.
fn trigger(kind: ServiceKind, settings: &Value) -> Value {
    let mut config = json!({
        "source": "db",
        "query": "SELECT id FROM orders WHERE state = 'new'",
        "markDone": "UPDATE orders SET state = 'done' WHERE id = {{id}}",
        "batch": ROWS_PER_REPLICA.to_string(),
        "concurrency": "4",
    });
    let settings = settings.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(settings);
    json!({ "type": kind.as_str(), "config": config })
}

fn spec(code: &str, color: &str, trigger: Value) -> Value {
    json!({
        "source": { "code": code },
        "env": { "COLOR": color },
        "idleTimeoutSeconds": 5,
        "scaling": { "maxReplicas": REPLICAS },
        "triggers": [trigger],
    })
}

#[tokio::test]
async fn rows_of_postgres_are_shared_through_a_rollout_and_each_handled_once() {
    shares("pgevents", ServiceKind::Postgres).await;
}

#[tokio::test]
async fn rows_of_mysql_are_shared_through_a_rollout_and_each_handled_once() {
    shares("myevents", ServiceKind::Mysql).await;
}

async fn shares(short: &str, kind: ServiceKind) {
    run(short, move |sandbox| async move {
        let name = sandbox.name("events");
        let mut orders = Orders::create(&sandbox, kind).await;
        let recorder = Recorder::start().await;
        let code = recorder.handler("event.id");
        let with = |color: &str| spec(&code, color, trigger(kind, &json!({})));
        sandbox.apply(&name, with("red")).await;
        sandbox.until_ready(&name).await;
        sandbox.until_phase(&name, "Idle").await;
        assert!(sandbox.pods(&name).await.is_empty());

        // Handlers are held until as many pods as there may be have some.
        orders.insert(REPLICAS * ROWS_PER_REPLICA * 2).await;
        until("work in every replica", || async {
            let pods = recorder.record().pods;
            expect(pods.len() == REPLICAS, || format!("{pods:?}"))
        })
        .await;
        recorder.set_open(true);
        let orders = rollout(&sandbox, &name, with("blue"), orders).await;

        until("the end of all rows", || async {
            let left = orders.unfinished().await;
            expect(left == 0, || format!("{left} rows of {}", orders.last))
        })
        .await;
        let record = recorder.record();
        let once: Vec<_> = (1..=orders.last).map(|id| (id.to_string(), 1)).collect();
        let once = once.into_iter().collect();
        assert_eq!((&record.begun, &record.ended), (&once, &once));
        assert_eq!(record.overlapping, BTreeSet::new());
        assert!(record.pods.len() > REPLICAS, "{:?}", record.pods);

        sandbox.until_phase(&name, "Idle").await;
        until("the end of the pods", || async {
            let pods = sandbox.pods(&name).await;
            expect(pods.is_empty(), || format!("{} pods", pods.len()))
        })
        .await;
    })
    .await;
}

/// Applies `spec` while rows go on coming, until none of the former pods is left.
async fn rollout(sandbox: &Sandbox, name: &str, spec: Value, orders: Orders) -> Orders {
    let former = pod_names(sandbox, name).await;
    let orders = Arc::new(tokio::sync::Mutex::new(orders));
    let feeding = tokio::spawn({
        let orders = Arc::clone(&orders);
        async move {
            loop {
                orders.lock().await.insert(ROWS_AT_ONCE).await;
                tokio::time::sleep(INSERT_PERIOD).await;
            }
        }
    });
    sandbox.apply(name, spec).await;
    until("the end of the former pods", || async {
        let pods = pod_names(sandbox, name).await;
        let left: Vec<_> = pods.intersection(&former).collect();
        expect(left.is_empty() && !pods.is_empty(), || format!("{left:?} of {pods:?}"))
    })
    .await;
    // No insert is cut in two.
    let orders_now = orders.lock().await;
    feeding.abort();
    drop(orders_now);
    let _ = feeding.await;
    Arc::into_inner(orders).unwrap().into_inner()
}

async fn pod_names(sandbox: &Sandbox, name: &str) -> BTreeSet<String> {
    let pods = sandbox.pods(name).await;
    pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// The message of `TriggerValid=False` with this reason.
async fn until_invalid(sandbox: &Sandbox, name: &str, reason: &str) -> String {
    let holds = |f: &kipper_api::Function| condition_is(f, TRIGGER_VALID, "False", reason);
    let function = sandbox.function_that(name, reason, holds).await;
    function.status.unwrap().condition(TRIGGER_VALID).unwrap().message.clone()
}

#[tokio::test]
async fn a_trigger_that_cannot_work_says_why_and_is_not_scaled() {
    run("refused", |sandbox| async move {
        let name = sandbox.name("refused");
        let recorder = Recorder::start().await;
        recorder.set_open(true);
        let code = recorder.handler("event.id");
        let kind = ServiceKind::Postgres;
        let apply = |settings: Value| {
            let spec = spec(&code, "red", trigger(kind, &settings));
            let (sandbox, name) = (&sandbox, &name);
            async move { drop(sandbox.apply(name, spec).await) }
        };
        apply(json!({ "markDon": "x" })).await;
        let message = until_invalid(&sandbox, &name, "TriggerInvalid").await;
        assert!(message.contains("markDon: a postgres trigger has no such setting"), "{message}");
        apply(json!({ "query": "SELECT id FROM orders LIMIT 5" })).await;
        let message = until_invalid(&sandbox, &name, "TriggerInvalid").await;
        assert!(message.starts_with("query: LIMIT at "), "{message}");
        apply(json!({})).await;
        let message = until_invalid(&sandbox, &name, "ServiceNotFound").await;
        assert_eq!(message, "service db does not exist");
        assert_eq!(sandbox.object("Deployment", &name).await, None);

        // What only the server knows is found by the poller.
        let mut orders = Orders::create(&sandbox, kind).await;
        apply(json!({ "markDone": "UPDATE orders SET state = {{status}}" })).await;
        sandbox.until_ready(&name).await;
        orders.insert(REPLICAS * ROWS_PER_REPLICA).await;
        let message = until_invalid(&sandbox, &name, "TriggerRefused").await;
        assert!(message.contains("unknown column status"), "{message}");
        until_paused(&sandbox, &name, true).await;
        sandbox.until_broken(&name, "TriggerRefused").await;
        assert_eq!(recorder.record().begun.len(), 0);

        apply(json!({})).await;
        sandbox.until_ready(&name).await;
        until_paused(&sandbox, &name, false).await;
        until("the end of all rows", || async {
            let left = orders.unfinished().await;
            expect(left == 0, || format!("{left} rows"))
        })
        .await;
    })
    .await;
}

async fn until_paused(sandbox: &Sandbox, name: &str, paused: bool) {
    until("KEDA's pause", || async {
        let scaled = sandbox.object("ScaledObject", name).await.unwrap_or_default();
        let conditions = scaled["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let told = conditions.iter().any(|c| c["type"] == "Paused" && c["status"] == "True");
        expect(told == paused, || scaled["status"].to_string())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_is_mended_by_the_right_one() {
    run("password", |sandbox| async move {
        let name = sandbox.name("password");
        let recorder = Recorder::start().await;
        recorder.set_open(true);
        let kind = ServiceKind::Postgres;
        let mut orders = Orders::create(&sandbox, kind).await;
        orders.insert(1).await;
        orders.credentials(&sandbox, "wrong").await;
        let code = recorder.handler("event.id");
        // KEDA does not get in either: the pod has to be asked for.
        let mut spec = spec(&code, "red", trigger(kind, &json!({})));
        spec["scaling"]["minReplicas"] = json!(1);
        sandbox.apply(&name, spec).await;
        let message = until_invalid(&sandbox, &name, "TriggerRefused").await;
        assert!(message.contains("password authentication failed"), "{message}");
        assert!(!message.contains("wrong"), "{message}");
        orders.credentials(&sandbox, ADMIN_PASSWORD).await;
        sandbox.until_ready(&name).await;
        until("the end of the row", || async {
            let left = orders.unfinished().await;
            expect(left == 0, || format!("{left} rows"))
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn the_bucket_watcher_is_told_of_a_trigger_as_long_as_there_is_one() {
    run("bucket", |sandbox| async move {
        let name = sandbox.name("bucket");
        service(&sandbox, "files", "minio").await;
        let secret = |key: &str| {
            let key = key.to_owned();
            let sandbox = sandbox.clone();
            async move {
                let values = [
                    ("ENDPOINT", "http://files:9000"),
                    ("ACCESS_KEY", &*key),
                    ("SECRET_KEY", "secret"),
                ];
                sandbox.secret("files-credentials", &values).await;
            }
        };
        secret("first").await;
        let code = "module.exports = async () => null";
        let config = json!({ "source": "files", "bucket": "photos", "suffix": ".jpg" });
        let minio = json!({ "type": "minio", "config": config });
        let spec = json!({ "source": { "code": code }, "triggers": [minio] });
        sandbox.apply(&name, spec.clone()).await;
        sandbox.until_ready(&name).await;
        let told = |key: &'static str| {
            let (sandbox, name) = (sandbox.clone(), name.clone());
            async move {
                until("the bucket's Secret", || async {
                    let values = bucket_values(&sandbox, &name).await?;
                    expect(values["access-key"] == key, || values.to_string())?;
                    Ok(values)
                })
                .await
            }
        };
        let values = told("first").await;
        let expected = json!({
            "namespace": sandbox.namespace, "function": name, "bucket": "photos", "suffix": ".jpg",
            "endpoint": format!("http://files.{}.svc:9000", sandbox.namespace),
            "access-key": "first", "secret-key": "secret",
        });
        assert_eq!(values, expected);
        secret("second").await;
        told("second").await;

        // Another kind of trigger, the same again, and none of it any more.
        sandbox.apply(&name, json!({ "source": { "code": code } })).await;
        until_untold(&sandbox, &name).await;
        sandbox.until_gone("Secret", &names::trigger_secret(&name)).await;
        sandbox.apply(&name, spec).await;
        told("second").await;
        sandbox.delete(&name).await;
        sandbox.until_gone("Function", &name).await;
        until_untold(&sandbox, &name).await;
    })
    .await;
}

/// The values of the Secret in the bucket watcher's namespace.
async fn bucket_values(sandbox: &Sandbox, name: &str) -> Seen<Value> {
    let secret = names::bucket_secret(&sandbox.namespace, name);
    let secret = objects::get(&sandbox.client, "Secret", SYSTEM, &secret).await;
    let secret = secret.ok_or("none")?;
    assert_eq!(secret["metadata"]["labels"][names::BUCKET_TRIGGER], "true");
    let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(secret).unwrap();
    let text = |bytes: Vec<u8>| Value::from(String::from_utf8(bytes).unwrap());
    Ok(secret.data.unwrap().into_iter().map(|(key, value)| (key, text(value.0))).collect())
}

async fn until_untold(sandbox: &Sandbox, name: &str) {
    until("the end of the bucket's Secret", || async {
        let values = bucket_values(sandbox, name).await;
        expect(values.is_err(), || format!("{values:?}"))
    })
    .await;
}

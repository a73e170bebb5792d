//! Functions that are fed by a source: from zero to several pods that share the work, through a
//! rollout, and back to zero; and triggers that cannot work.

mod at_zero;
mod failing;
mod feed;
mod jobs;
mod orders;
mod photos;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kipper_cluster::{
    names::SYSTEM,
    objects,
    sandbox::{Sandbox, condition_is, run, run_alone},
    wait::{Seen, expect, until},
};
use kipper_function::{names, names::condition::TRIGGER_VALID, service::ServiceKind};
use kipper_trigger::{SecretKey, Variable};
use serde_json::{Value, json};

use self::{feed::Feed, orders::Orders, photos::Photos};
use crate::{
    bindings::service,
    disturbing::{kill, until_runs},
    recorder::Recorder,
    servers::ADMIN_PASSWORD,
};

/// Pods that share the work.
const REPLICAS: usize = 3;
/// For each of them the scaler wants so many events; see `batch`.
const EVENTS_PER_REPLICA: usize = 10;
/// Events added at a time, and how often, while a rollout goes on.
const EVENTS_AT_ONCE: usize = 5;
const ADD_PERIOD: Duration = Duration::from_millis(200);

/// What happened to which object, as an expression over `event`.
const CHANGE: &str = "`${event.EventName.split(':')[1]}-${event.key}`";
/// Photos that are uploaded while no adapter runs.
const UPLOADS: usize = 20;
const ADAPTER: &str = "scaler-adapter";

fn spec(code: &str, color: &str, mut trigger: Value) -> Value {
    let config = trigger["config"].as_object_mut().unwrap();
    config.insert("batch".to_owned(), EVENTS_PER_REPLICA.to_string().into());
    config.insert("concurrency".to_owned(), "4".into());
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

#[tokio::test]
async fn items_of_redis_are_shared_through_a_rollout_and_each_handled_once() {
    shares("rdevents", ServiceKind::Redis).await;
}

#[tokio::test]
async fn uploads_are_shared_through_a_rollout_and_each_handled_once() {
    shares("s3events", ServiceKind::Minio).await;
}

async fn shares(short: &str, kind: ServiceKind) {
    run(short, move |sandbox| async move {
        let name = sandbox.name("events");
        let mut feed = Feed::create(&sandbox, &name, kind).await;
        let recorder = Recorder::start().await;
        let code = recorder.handler(feed.id());
        let trigger = feed.trigger();
        let with = |color: &str| spec(&code, color, trigger.clone());
        sandbox.apply(&name, with("red")).await;
        sandbox.until_ready(&name).await;
        sandbox.until_phase(&name, "Idle").await;
        feed.until_watched().await;
        assert!(sandbox.pods(&name).await.is_empty());

        // Handlers are held until as many pods as there may be have some.
        feed.add(REPLICAS * EVENTS_PER_REPLICA * 2).await;
        until("work in every replica", || async {
            let pods = recorder.record().pods;
            expect(pods.len() == REPLICAS, || format!("{pods:?}"))
        })
        .await;
        recorder.set_open(true);
        let feed = rollout(&sandbox, &name, with("blue"), feed).await;

        let last = feed.last();
        until("the end of all events", || async {
            let (left, ended) = (feed.left().await, recorder.record().ended.len());
            expect(left == 0 && ended == last, || format!("{left} left, {ended} of {last} ended"))
        })
        .await;
        let record = recorder.record();
        let once: Vec<_> = (1..=last).map(|id| (id.to_string(), 1)).collect();
        let once = once.into_iter().collect();
        assert_eq!((&record.begun, &record.ended), (&once, &once));
        assert_eq!(record.overlapping, BTreeSet::new());
        assert!(record.pods.len() > REPLICAS, "{:?}", record.pods);
        until_none_runs(&sandbox, &name).await;
    })
    .await;
}

async fn until_none_runs(sandbox: &Sandbox, name: &str) {
    sandbox.until_phase(name, "Idle").await;
    until("the end of the pods", || async {
        let pods = sandbox.pods(name).await;
        expect(pods.is_empty(), || format!("{} pods", pods.len()))
    })
    .await;
}

/// Applies `spec` while events go on coming, until none of the former pods is left.
async fn rollout(sandbox: &Sandbox, name: &str, spec: Value, feed: Feed) -> Feed {
    let former = pod_names(sandbox, name).await;
    let feed = Arc::new(tokio::sync::Mutex::new(feed));
    let feeding = tokio::spawn({
        let feed = Arc::clone(&feed);
        async move {
            loop {
                feed.lock().await.add(EVENTS_AT_ONCE).await;
                tokio::time::sleep(ADD_PERIOD).await;
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
    // None is added by half.
    let feed_now = feed.lock().await;
    feeding.abort();
    drop(feed_now);
    let _ = feeding.await;
    Arc::into_inner(feed).unwrap().into_inner()
}

/// A bucket with `old.jpg` in it, and a function for whatever changes in it from now on.
async fn watched(sandbox: &Sandbox, name: &str) -> (Photos, Recorder) {
    let photos = Photos::create(sandbox, name).await;
    photos.upload("old.jpg").await;
    let recorder = Recorder::start().await;
    recorder.set_open(true);
    let code = recorder.handler(CHANGE);
    sandbox.apply(name, spec(&code, "red", photos.trigger())).await;
    sandbox.until_ready(name).await;
    photos.until_watched().await;
    (photos, recorder)
}

#[tokio::test]
async fn an_upload_and_a_removal_each_wake_a_function_from_zero() {
    run("s3wake", |sandbox| async move {
        let name = sandbox.name("wake");
        let (photos, recorder) = watched(&sandbox, &name).await;
        until_none_runs(&sandbox, &name).await;

        photos.upload("cat.jpg").await;
        until_ended(&recorder, &["ObjectCreated-cat.jpg"]).await;
        until_none_runs(&sandbox, &name).await;
        photos.remove("old.jpg").await;
        until_ended(&recorder, &["ObjectCreated-cat.jpg", "ObjectRemoved-old.jpg"]).await;
        until_none_runs(&sandbox, &name).await;
        let record = recorder.record();
        assert_eq!(record.begun, record.ended);
        // Nobody kept a pod for the next event.
        assert_eq!((record.pods.len(), photos.pending().await), (2, 0), "{record:?}");
    })
    .await;
}

#[tokio::test]
async fn changes_of_a_bucket_while_no_adapter_runs_are_handled_once() {
    run_alone("s3adapter", |sandbox| async move {
        let name = sandbox.name("adapter");
        let (photos, recorder) = watched(&sandbox, &name).await;

        kill(&sandbox, ADAPTER).await;
        let mut expected = vec!["ObjectRemoved-old.jpg".to_owned()];
        photos.remove("old.jpg").await;
        for number in 1..=UPLOADS {
            photos.upload(&number.to_string()).await;
            expected.push(format!("ObjectCreated-{number}"));
        }
        until_runs(&sandbox, ADAPTER).await;
        until_ended(&recorder, &expected).await;
        until_none_runs(&sandbox, &name).await;
        let record = recorder.record();
        assert_eq!((record.begun, photos.pending().await), (record.ended, 0));
    })
    .await;
}

/// Until these events and no others were handled, each once.
async fn until_ended(recorder: &Recorder, events: &[impl AsRef<str>]) {
    let once = events.iter().map(|event| (event.as_ref().to_owned(), 1)).collect();
    until("the end of the events", || async {
        let ended = recorder.record().ended;
        expect(ended == once, || format!("{ended:?}"))
    })
    .await;
}

async fn pod_names(sandbox: &Sandbox, name: &str) -> BTreeSet<String> {
    let pods = sandbox.pods(name).await;
    pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// The trigger with these settings on top.
fn with(mut trigger: Value, settings: &Value) -> Value {
    let config = trigger["config"].as_object_mut().unwrap();
    config.extend(settings.as_object().unwrap().clone());
    trigger
}

/// The message of `TriggerValid=False` with this reason.
async fn until_invalid(sandbox: &Sandbox, name: &str, reason: &str) -> String {
    let holds = |f: &kipper_function::Function| condition_is(f, TRIGGER_VALID, "False", reason);
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
            let spec = spec(&code, "red", with(orders::trigger(kind), &settings));
            let (sandbox, name) = (&sandbox, &name);
            async move { drop(sandbox.apply(name, spec).await) }
        };
        apply(json!({ "markDon": "x" })).await;
        let message = until_invalid(&sandbox, &name, "TriggerInvalid").await;
        assert!(message.contains("markDon: is not a setting of a postgres trigger"), "{message}");
        apply(json!({ "query": "SELECT id FROM orders LIMIT 5" })).await;
        let message = until_invalid(&sandbox, &name, "TriggerInvalid").await;
        assert!(message.starts_with("query: LIMIT at "), "{message}");
        apply(json!({})).await;
        let message = until_invalid(&sandbox, &name, "ServiceNotFound").await;
        assert_eq!(message, "service db does not exist");
        assert_eq!(sandbox.object("Deployment", &name).await, None);

        // What only the server knows is found before there is a pod.
        let orders = Orders::create(&sandbox, kind).await;
        orders.insert(1..=REPLICAS * EVENTS_PER_REPLICA).await;
        apply(json!({ "markDone": "UPDATE orders SET state = {{status}}" })).await;
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
        let orders = Orders::create(&sandbox, kind).await;
        orders.insert(1..=1).await;
        orders.credentials(&sandbox, "wrong").await;
        let code = recorder.handler("event.id");
        // KEDA does not get in either: the pod has to be asked for.
        let mut spec = spec(&code, "red", orders.trigger());
        spec["scaling"]["minReplicas"] = json!(1);
        sandbox.apply(&name, spec).await;
        let message = until_invalid(&sandbox, &name, "TriggerRefused").await;
        assert!(message.contains("password authentication failed"), "{message}");
        assert!(!message.contains("wrong"), "{message}");
        let token = event_token(&sandbox, &name).await;
        orders.credentials(&sandbox, ADMIN_PASSWORD).await;
        sandbox.until_ready(&name).await;
        // Pods that run have it, whatever else the Secret is made of by now.
        assert_eq!(event_token(&sandbox, &name).await, token);
        until("the end of the row", || async {
            let left = orders.unfinished().await;
            expect(left == 0, || format!("{left} rows"))
        })
        .await;
    })
    .await;
}

/// What poller and function share, which both find in the trigger's Secret.
async fn event_token(sandbox: &Sandbox, name: &str) -> String {
    let secret = names::trigger_secret(name);
    let secret_object = sandbox.until_object("Secret", &secret).await;
    let token = secret_object["data"][SecretKey::EventToken.name()].as_str().unwrap().to_owned();
    let deployment = sandbox.until_object("Deployment", name).await;
    let pod = &deployment["spec"]["template"]["spec"];
    for container in [&pod["containers"][0], &pod["initContainers"][0]] {
        let env = container["env"].as_array().unwrap();
        let variable =
            env.iter().find(|variable| variable["name"] == Variable::EventToken.name()).unwrap();
        let source = &variable["valueFrom"]["secretKeyRef"];
        let expected = (&json!(secret), &json!(SecretKey::EventToken.name()));
        assert_eq!((&source["name"], &source["key"]), expected);
    }
    token
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
            "access-key": "first", "secret-key": "secret", "state-bucket": "kipper-events",
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

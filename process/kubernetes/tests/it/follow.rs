//! What a watch does when the server forgets, fails, refuses, hangs or restarts.

use std::{collections::BTreeMap, time::Duration};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kipper_api_server::{
    ApiServer,
    watches::{Expected, Time, survive},
};
use kipper_kubernetes::{Mirror, ObjectName, Settings, Values, follow, states};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet, time::Instant};

const PATH: &str = "/api/v1/configmaps";

fn config_map(name: &str, version: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": { "v": value },
        "metadata": { "namespace": "ns", "name": name, "resourceVersion": version },
    })
}

fn list(version: &str, next: &str, items: &[Value]) -> String {
    let metadata = json!({ "resourceVersion": version, "continue": next });
    json!({ "apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": items })
        .to_string()
}

fn event(kind: &str, object: Value) -> String {
    json!({ "type": kind, "object": object }).to_string()
}

fn gone() -> String {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "too old", "reason": "Expired", "code": 410,
    });
    event("ERROR", status)
}

type Seen = BTreeMap<ObjectName, String>;

/// A mirror of one value per ConfigMap, and what it published last.
fn mirror() -> (impl Mirror<ConfigMap>, watch::Receiver<Option<Seen>>) {
    let (sender, seen) = watch::channel(None);
    let value = |object: &ConfigMap| object.data.as_ref()?.get("v").cloned();
    let mirror = Values::new(value, move |known: &Seen| {
        sender.send_replace(Some(known.clone()));
    });
    (mirror, seen)
}

/// A follower of ConfigMaps with the default settings. Dropping the set ends it.
async fn following() -> (ApiServer, watch::Receiver<Option<Seen>>, JoinSet<()>) {
    let api = ApiServer::in_memory().await;
    let (mirror, seen) = mirror();
    let (maps, mut tasks) = (Api::all(api.client()), JoinSet::new());
    tasks.spawn(async move {
        let Err(error) = follow(maps, Settings::default(), mirror).await;
        panic!("{error}");
    });
    (api, seen, tasks)
}

async fn expect(seen: &mut watch::Receiver<Option<Seen>>, expected: &[(&str, &str)]) {
    seen.changed().await.unwrap();
    let expected = expected
        .iter()
        .map(|(name, value)| (("ns".to_owned(), (*name).to_owned()), (*value).to_owned()));
    assert_eq!(*seen.borrow_and_update(), Some(expected.collect()));
}

async fn every_watch(time: Time, mut api: ApiServer) {
    let mut tasks = JoinSet::new();
    let maps: Api<ConfigMap> = Api::all(api.client());
    let pods: Api<Pod> = Api::namespaced(api.client(), "ns");
    tasks.spawn(async move {
        let mirror = Values::new(|_: &ConfigMap| Some(()), |_| {});
        drop(follow(maps, Settings::labels("a=b"), mirror).await);
    });
    tasks.spawn(async move {
        let mirror = Values::new(|pod: &Pod| Some(pod.name_any()), |_| {});
        drop(follow(pods, Settings::default(), mirror).await);
    });
    let expected = [Expected::labelled(PATH, "a%3Db"), Expected::all("/api/v1/namespaces/ns/pods")];
    survive(&mut api, time, &expected).await;
    assert!(tasks.try_join_next().is_none(), "a watch ended");
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_until_there_is_progress() {
    every_watch(Time::Paused, ApiServer::in_memory().await).await;
}

#[tokio::test]
async fn a_watch_survives_on_real_sockets() {
    every_watch(Time::Real, ApiServer::start().await).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_known_objects_stay_until_a_list_is_complete() {
    let (mut api, mut seen, _tasks) = following().await;
    api.list(PATH).await.answer(200, &list("5", "next", &[config_map("a", "1", "1")]));
    let page = api.list(PATH).await;
    assert_eq!(page.value("continue"), Some("next"));
    assert!(seen.borrow().is_none());
    page.answer(200, &list("5", "", &[config_map("b", "2", "2")]));
    expect(&mut seen, &[("a", "1"), ("b", "2")]).await;

    let watch = api.watch(PATH, "5").await;
    watch.event(&event("MODIFIED", config_map("a", "6", "3"))).await;
    expect(&mut seen, &[("a", "3"), ("b", "2")]).await;
    watch.event(&event("DELETED", config_map("b", "7", "2"))).await;
    expect(&mut seen, &[("a", "3")]).await;
    watch.event(&event("ADDED", config_map("c", "8", "4"))).await;
    expect(&mut seen, &[("a", "3"), ("c", "4")]).await;
    watch.event(&gone()).await;
    // A list that breaks off half-way changes nothing, nor does one that fails.
    api.list(PATH).await.answer(200, &list("9", "next", &[config_map("d", "9", "5")]));
    api.list(PATH).await.answer(410, "{}");
    api.list(PATH).await.answer(500, "{}");
    let last = api.list(PATH).await;
    assert!(!seen.has_changed().unwrap());
    last.answer(200, &list("10", "", &[config_map("e", "10", "6")]));
    expect(&mut seen, &[("e", "6")]).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_keeps_none_after_it_out() {
    let (mut api, mut seen, _tasks) = following().await;
    api.list(PATH).await.answer(200, &list("5", "", &[]));
    expect(&mut seen, &[]).await;
    let watch = api.watch(PATH, "5").await;
    let mut odd = config_map("a", "6", "1");
    odd["data"] = json!(3);
    watch.event(&event("ADDED", odd)).await;
    watch.event(&event("ADDED", config_map("b", "7", "2"))).await;
    expect(&mut seen, &[("b", "2")]).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_connection_is_noticed_and_the_watch_resumes() {
    let (mut api, mut seen, _tasks) = following().await;
    api.list(PATH).await.answer(200, &list("5", "", &[]));
    expect(&mut seen, &[]).await;
    let silent = api.watch(PATH, "5").await;
    let opened = Instant::now();
    let resumed = api.watch(PATH, "5").await;
    let waited = opened.elapsed();
    assert!(waited >= Duration::from_secs(295) && waited < Duration::from_secs(296), "{waited:?}");
    drop((silent, resumed));
}

#[tokio::test(start_paused = true)]
async fn watches_that_all_end_at_once_are_followed_by_a_list() {
    let (mut api, mut seen, _tasks) = following().await;
    api.list(PATH).await.answer(200, &list("5", "", &[]));
    expect(&mut seen, &[]).await;
    let begin = Instant::now();
    for _ in 0..5 {
        drop(api.watch(PATH, "5").await);
    }
    api.list(PATH).await.answer(200, &list("9", "", &[config_map("a", "9", "1")]));
    assert!(begin.elapsed() > Duration::from_secs(3), "it is asked without pauses");
    expect(&mut seen, &[("a", "1")]).await;
}

/// A mirror for a command that somebody waits for.
struct Command(fn(&kube::Error) -> bool);

impl Mirror<ConfigMap> for Command {
    fn begin(&mut self) {}
    fn list(&mut self, _: ConfigMap) {}
    fn complete(&mut self) {}
    fn apply(&mut self, _: ConfigMap) {}
    fn delete(&mut self, _: ConfigMap) {}
    fn gives_up(&self, error: &kube::Error) -> bool {
        (self.0)(error)
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_may_give_up() {
    let mut api = ApiServer::in_memory().await;
    let maps: Api<ConfigMap> = Api::all(api.client());
    let forbidden = |error: &kube::Error| matches!(error, kube::Error::Api(s) if s.code == 403);
    let following = tokio::spawn(follow(maps, Settings::default(), Command(forbidden)));
    let status = |code: u16| json!({ "status": "Failure", "code": code, "message": "no" });
    api.list(PATH).await.answer(500, &status(500).to_string());
    api.list(PATH).await.answer(403, &status(403).to_string());
    let Err(error) = following.await.unwrap();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 403));
}

#[tokio::test(start_paused = true)]
async fn a_mirror_may_give_up_a_server_that_says_nothing() {
    let mut api = ApiServer::in_memory().await;
    let maps: Api<ConfigMap> = Api::all(api.client());
    let away = |error: &kube::Error| matches!(error, kube::Error::Service(_));
    let following = tokio::spawn(follow(maps.clone(), Settings::default(), Command(away)));
    let _silent = api.list(PATH).await;
    let Err(error) = following.await.unwrap();
    assert!(matches!(error, kube::Error::Service(_)), "{error}");
    let following = tokio::spawn(follow(maps, Settings::default(), Command(away)));
    api.list(PATH).await.answer(200, &list("5", "", &[]));
    let _silent = api.watch(PATH, "5").await;
    let Err(error) = following.await.unwrap();
    assert!(matches!(error, kube::Error::Service(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn one_object_is_followed_until_the_server_forbids_it() {
    let mut api = ApiServer::in_memory().await;
    let maps: Api<ConfigMap> = Api::all(api.client());
    let forbidden = |error: &kube::Error| matches!(error, kube::Error::Api(s) if s.code == 403);
    let mut states = Box::pin(states(maps, "a", forbidden));
    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(state) = states.next().await {
            let state = state.map(|object| object.map(|object| object.resource_version().unwrap()));
            seen.push(state.map_err(|_| ()));
        }
        seen
    });
    let asked = api.list(PATH).await;
    assert_eq!(asked.value("fieldSelector"), Some("metadata.name%3Da"));
    asked.answer(200, &list("5", "", &[]));
    let watch = api.watch(PATH, "5").await;
    watch.event(&event("ADDED", config_map("a", "6", "1"))).await;
    watch.event(&event("DELETED", config_map("a", "7", "1"))).await;
    watch.event(&gone()).await;
    api.list(PATH).await.answer(200, &list("9", "", &[config_map("a", "8", "1")]));
    api.watch_request(PATH, "9").await.answer(403, r#"{"status":"Failure","code":403}"#);
    let version = |version: &str| Ok(Some(version.to_owned()));
    assert_eq!(seen.await.unwrap(), [Ok(None), version("6"), Ok(None), version("8"), Err(())]);
}

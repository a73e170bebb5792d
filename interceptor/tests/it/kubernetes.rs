//! The Kubernetes sources and the second wake path, against recorded answers of an API server.

use std::{sync::Arc, time::Duration};

use kipper_api_server::{ApiServer, DEADLINE, Watch};
use kipper_interceptor::{
    fleet::share,
    source::{
        EndpointSink, EndpointSource, EndpointState, Fleet, FleetSource as _, FunctionId, Member,
        Probe, RouteSink, RouteSource, RouteSpec, SourceError, Wake, WakeFallback,
        kubernetes::{ClaimRoutes, FunctionEndpoints, FunctionRoutes, HostRule, ServiceFleet},
    },
    wake_fallback::DeploymentScale,
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::support::{Proxy, until};

mod claims;

const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
const FUNCTIONS: &str = "/apis/kipper.run/v1alpha1/functions";
const SCALE: &str = "/apis/apps/v1/namespaces/shop-dev/deployments/hello/scale";

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("recorded/", $name))
    };
}

/// A call of a sink.
#[derive(Debug, PartialEq)]
enum Call {
    All(Vec<(String, Vec<String>)>),
    Set(String, Vec<String>),
    Apply(String),
    Remove(String),
    Routes(Vec<String>),
}

struct Sink(mpsc::UnboundedSender<Call>);

impl Sink {
    fn note(&self, call: Call) {
        let _ = self.0.send(call);
    }
}

fn endpoints(states: &[EndpointState]) -> Vec<String> {
    let show = |state: &EndpointState| {
        let ready = if state.ready { "ready" } else { "waiting" };
        let leaving = if state.terminating { ", leaving" } else { "" };
        format!("{} {ready}{leaving}", state.address)
    };
    states.iter().map(show).collect()
}

fn route(route: &RouteSpec) -> String {
    let probe = match &route.probe {
        Probe::Tcp => "tcp",
        Probe::Http(path) => path,
    };
    format!("{} at {} {probe} x{}", route.id, route.hosts.join(","), route.concurrency)
}

impl EndpointSink for Sink {
    fn fail(&self, _: &FunctionId) {}

    fn set(&self, id: &FunctionId, states: Vec<EndpointState>) {
        self.note(Call::Set(id.to_string(), endpoints(&states)));
    }
    fn replace_all(&self, all: Vec<(FunctionId, Vec<EndpointState>)>) {
        let mut all: Vec<_> =
            all.iter().map(|(id, states)| (id.to_string(), endpoints(states))).collect();
        all.sort();
        self.note(Call::All(all));
    }
}

impl RouteSink for Sink {
    fn apply(&self, spec: RouteSpec) {
        self.note(Call::Apply(route(&spec)));
    }
    fn remove(&self, id: &FunctionId) {
        self.note(Call::Remove(id.to_string()));
    }
    fn replace_all(&self, routes: Vec<RouteSpec>) {
        self.note(Call::Routes(routes.iter().map(route).collect()));
    }
}

fn hosts() -> HostRule {
    HostRule {
        cluster_domain: "46-225-91-12.kipper.run".into(),
        shared_parents: vec!["kipper.run".into()],
    }
}

/// A source that runs, and what it tells its sink.
struct Running {
    api: ApiServer,
    calls: mpsc::UnboundedReceiver<Call>,
    source: JoinHandle<Result<(), SourceError>>,
}

impl Running {
    async fn endpoints() -> Self {
        let api = ApiServer::start().await;
        let (tx, calls) = mpsc::unbounded_channel();
        let source = Box::new(FunctionEndpoints::new(api.client(), None)).run(Arc::new(Sink(tx)));
        Self { api, calls, source: tokio::spawn(source) }
    }

    async fn routes() -> Self {
        let api = ApiServer::start().await;
        let (tx, calls) = mpsc::unbounded_channel();
        let routes = FunctionRoutes::new(api.client(), None, hosts());
        let source = Box::new(routes).run(Arc::new(Sink(tx)));
        Self { api, calls, source: tokio::spawn(source) }
    }

    /// Claims of functions in one namespace, or in every one.
    async fn claims(namespace: Option<&str>) -> Self {
        let api = ApiServer::start().await;
        let (tx, calls) = mpsc::unbounded_channel();
        let routes = ClaimRoutes::new(api.client(), "kipper-system", namespace, hosts());
        let source = Box::new(routes).run(Arc::new(Sink(tx)));
        Self { api, calls, source: tokio::spawn(source) }
    }

    async fn call(&mut self) -> Call {
        tokio::time::timeout(DEADLINE, self.calls.recv()).await.expect("a call").unwrap()
    }

    async fn expect_set(&mut self, expected: &[&str]) {
        let expected = expected.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(self.call().await, Call::Set("shop-dev/hello".into(), expected));
    }

    /// There was no call that the test did not look at, and the source still runs.
    fn finish(mut self) {
        assert!(self.calls.try_recv().is_err());
        assert!(!self.source.is_finished());
        self.source.abort();
    }
}

fn all(expected: &[(&str, &[&str])]) -> Call {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Call::All(expected.iter().map(|(id, states)| ((*id).to_owned(), owned(states))).collect())
}

#[tokio::test]
async fn a_cold_start_reaches_the_sink_step_by_step() {
    let mut running = Running::endpoints().await;
    let list = running.api.list(SLICES).await;
    assert_eq!(list.value("labelSelector"), Some("kipper.run%2Fresource-type%3Dfunction"));
    assert_eq!(list.value("limit"), Some("500"));
    list.answer(200, recorded!("endpointslices_idle.json"));
    // A slice without endpoints is no endpoints.
    assert_eq!(running.call().await, all(&[]));

    let watch = running.api.watch(SLICES, "1000").await;
    for event in recorded!("endpointslices_cold_start.jsonl").lines() {
        watch.event(event).await;
    }
    running.expect_set(&["10.244.0.17:8080 waiting"]).await;
    // The bookmark says nothing.
    running.expect_set(&["10.244.0.17:8080 ready"]).await;
    // Nor does an event that changed an annotation only.
    running.expect_set(&["10.244.0.17:8080 ready", "10.244.0.18:8080 waiting"]).await;
    running.expect_set(&["10.244.0.17:8080 ready, leaving", "10.244.0.18:8080 ready"]).await;
    running.expect_set(&["10.244.0.17:8080 waiting, leaving"]).await;
    running.expect_set(&[]).await;
    running.finish();
}

#[tokio::test]
async fn slices_of_one_function_are_merged() {
    let mut running = Running::endpoints().await;
    running.api.list(SLICES).await.answer(200, recorded!("endpointslices_idle.json"));
    running.call().await;
    let watch = running.api.watch(SLICES, "1000").await;
    for event in recorded!("endpointslices_two_slices.jsonl").lines() {
        watch.event(event).await;
    }
    running.expect_set(&["10.244.0.17:8080 ready"]).await;
    // The address stands in both slices: once, and ready because one of them says so.
    running.expect_set(&["10.244.0.17:8080 ready", "10.244.0.18:8080 ready"]).await;
    // It left the second slice, which changes nothing. The second slice goes.
    running.expect_set(&["10.244.0.17:8080 ready"]).await;
    running.finish();
}

/// A source whose function has one ready pod, and the watch that said so.
async fn running_with_one_pod() -> (Running, Watch) {
    let mut running = Running::endpoints().await;
    running.api.list(SLICES).await.answer(200, recorded!("endpointslices_idle.json"));
    assert_eq!(running.call().await, all(&[]));
    let watch = running.api.watch(SLICES, "1000").await;
    watch.event(recorded!("endpointslices_two_slices.jsonl").lines().next().unwrap()).await;
    running.expect_set(&["10.244.0.17:8080 ready"]).await;
    (running, watch)
}

fn after_relist() -> Call {
    all(&[
        ("shop-dev/hello", &["10.244.0.30:8080 ready"]),
        ("shop-dev/other", &["10.244.0.31:8080 waiting"]),
    ])
}

#[tokio::test]
async fn after_a_gap_the_whole_truth_replaces_everything() {
    let (mut running, watch) = running_with_one_pod().await;
    watch.event(recorded!("gone.jsonl").trim_end()).await;
    running.api.list(SLICES).await.answer(200, recorded!("endpointslices_relist.json"));
    assert_eq!(running.call().await, after_relist());
    drop(running.api.watch(SLICES, "2000").await);
    // A watch that ends, as every one does when its time is over, resumes without a list.
    running.api.watch(SLICES, "2000").await;
    running.finish();
}

#[tokio::test]
async fn a_refused_resume_lists_again() {
    let (mut running, watch) = running_with_one_pod().await;
    drop(watch);
    let resume = running.api.watch_request(SLICES, "1010").await;
    resume.answer(410, recorded!("status_gone.json"));
    running.api.list(SLICES).await.answer(200, recorded!("endpointslices_relist.json"));
    assert_eq!(running.call().await, after_relist());
    running.finish();
}

#[tokio::test]
async fn an_ended_or_cut_watch_resumes_where_it_was() {
    let (mut running, watch) = running_with_one_pod().await;
    let events: Vec<&str> = recorded!("endpointslices_cold_start.jsonl").lines().collect();
    watch.event(events[1]).await;
    drop(watch);
    // From the bookmark, not from the last event.
    let watch = running.api.watch(SLICES, "1015").await;
    watch.event(events[4]).await;
    running.expect_set(&["10.244.0.17:8080 ready", "10.244.0.18:8080 waiting"]).await;
    watch.cut().await;
    let watch = running.api.watch(SLICES, "1030").await;
    watch.event(events[7]).await;
    running.expect_set(&[]).await;
    running.finish();
}

#[tokio::test]
async fn while_the_server_is_down_the_last_snapshot_stays() {
    let (mut running, watch) = running_with_one_pod().await;
    watch.event(recorded!("gone.jsonl").trim_end()).await;
    for _ in 0..3 {
        running.api.list(SLICES).await.answer(500, recorded!("status_internal.json"));
    }
    // A list that breaks off half-way is no list either.
    let mut first: Value = serde_json::from_str(recorded!("endpointslices_relist.json")).unwrap();
    first["metadata"]["continue"] = json!("next");
    running.api.list(SLICES).await.answer(200, &first.to_string());
    let second = running.api.list(SLICES).await;
    assert_eq!(second.value("continue"), Some("next"));
    second.answer(410, recorded!("status_gone.json"));
    running.api.list(SLICES).await.answer(200, recorded!("endpointslices_relist.json"));
    // In all that time the sink heard nothing; then everything at once, each function once.
    assert_eq!(running.call().await, after_relist());
    running.finish();
}

#[tokio::test]
async fn functions_become_routes() {
    let mut running = Running::routes().await;
    let list = running.api.list(FUNCTIONS).await;
    assert_eq!(list.value("labelSelector"), None);
    list.answer(200, recorded!("functions.json"));
    let hello = "shop-dev/hello at fn-hello-46-225-91-12.kipper.run tcp x0";
    // One lost its host, one was never reconciled, one cannot be read: none of them is routed, and
    // none keeps the others from it.
    assert_eq!(running.call().await, Call::Routes(vec![hello.into()]));

    let watch = running.api.watch(FUNCTIONS, "3000").await;
    for event in recorded!("functions_life.jsonl").lines() {
        watch.event(event).await;
    }
    // Two changes of the status are no change of the route; a change of the spec is.
    let changed = "shop-dev/hello at fn-hello-46-225-91-12.kipper.run /health x4";
    assert_eq!(running.call().await, Call::Apply(changed.into()));
    let fresh = "shop-dev/fresh at fn-fresh-46-225-91-12.kipper.run tcp x0";
    assert_eq!(running.call().await, Call::Apply(fresh.into()));
    // It became a cron function.
    assert_eq!(running.call().await, Call::Remove("shop-dev/fresh".into()));
    let lost = "shop-dev/lost at fn-lost-46-225-91-12.kipper.run tcp x0";
    assert_eq!(running.call().await, Call::Apply(lost.into()));
    // Being deleted, it stays until the controller gives its host up; once only.
    assert_eq!(running.call().await, Call::Remove("shop-dev/hello".into()));
    assert_eq!(running.call().await, Call::Remove("shop-dev/lost".into()));
    running.finish();
}

#[tokio::test]
async fn one_namespace_is_watched_when_configured() {
    let mut api = ApiServer::start().await;
    let (tx, _calls) = mpsc::unbounded_channel();
    let source =
        Box::new(FunctionEndpoints::new(api.client(), Some("shop-dev"))).run(Arc::new(Sink(tx)));
    let source = tokio::spawn(source);
    api.list("/apis/discovery.k8s.io/v1/namespaces/shop-dev/endpointslices").await;
    source.abort();
}

/// Answers the patches of one wake in turn; returns the wake's result and the patches' values.
async fn wake(replicas: u32, answers: &[(u16, &str)]) -> (Result<Wake, String>, Vec<Value>) {
    let mut api = ApiServer::start().await;
    let fallback = DeploymentScale::new(api.client());
    let wake = tokio::spawn(fallback.wake(FunctionId::new("shop-dev", "hello"), replicas));
    let mut patches = Vec::new();
    for (status, body) in answers {
        let asked = api.asked().await;
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("PATCH", SCALE));
        assert_eq!(asked.content_type, "application/json-patch+json");
        assert_eq!(asked.value("fieldManager"), Some("kipper-interceptor"));
        patches.push(serde_json::from_str(&asked.body).unwrap());
        asked.answer(*status, body);
    }
    let result = tokio::time::timeout(DEADLINE, wake).await.expect("the wake ends").unwrap();
    (result.map_err(|error| error.to_string()), patches)
}

fn patch(zero: Value, replicas: u32) -> Value {
    json!([
        { "op": "test", "path": "/spec/replicas", "value": zero },
        { "op": "add", "path": "/spec/replicas", "value": replicas },
    ])
}

#[tokio::test]
async fn a_wake_is_one_conditional_patch() {
    let (result, patches) = wake(2, &[(200, recorded!("scale_done.json"))]).await;
    assert_eq!(result, Ok(Wake::Scaled));
    assert_eq!(patches, [patch(Value::Null, 2)]);
    // Never to zero.
    let (_, patches) = wake(0, &[(200, recorded!("scale_done.json"))]).await;
    assert_eq!(patches, [patch(Value::Null, 1)]);
}

#[tokio::test]
async fn a_function_that_moved_is_awake() {
    let failed = (422, recorded!("scale_test_failed.json"));
    let (result, patches) = wake(1, &[failed, failed]).await;
    assert_eq!(result, Ok(Wake::Awake));
    assert_eq!(patches, [patch(Value::Null, 1), patch(json!(0), 1)]);
    // A server that writes the zero out is understood too.
    let (result, _) = wake(1, &[failed, (200, recorded!("scale_done.json"))]).await;
    assert_eq!(result, Ok(Wake::Scaled));
}

#[tokio::test]
async fn a_refused_wake_says_why() {
    let cases = [
        (
            404,
            recorded!("scale_not_found.json"),
            "deployment shop-dev/hello failed: it does not exist",
        ),
        (403, recorded!("scale_forbidden.json"), "cannot patch resource \"deployments/scale\""),
        (422, recorded!("scale_policy.json"), "replicas must not exceed 10"),
        (500, recorded!("status_internal.json"), "scaling deployment shop-dev/hello failed"),
    ];
    for (status, body, expected) in cases {
        let (result, _) = wake(1, &[(status, body)]).await;
        let error = result.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_wake_that_is_not_answered_ends() {
    let mut api = ApiServer::start().await;
    let fallback = DeploymentScale::new(api.client()).with_timeout(Duration::from_millis(50));
    let wake = tokio::spawn(fallback.wake(FunctionId::new("shop-dev", "hello"), 1));
    // Taken and kept: the answer never comes.
    let _unanswered = api.asked().await;
    let error =
        tokio::time::timeout(DEADLINE, wake).await.expect("the wake ends").unwrap().unwrap_err();
    assert_eq!(error.to_string(), "kubernetes: scaling deployment shop-dev/hello took too long");
}

/// One slice of the interceptors' own Service, with these ready pods.
fn interceptors(names: &[&str]) -> Value {
    let pod = |(index, name): (usize, &&str)| {
        json!({
            "addresses": [format!("10.0.9.{index}")],
            "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "name": name},
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "interceptor-x", "namespace": "kipper", "resourceVersion": "10"},
        "addressType": "IPv4",
        "endpoints": names.iter().enumerate().map(pod).collect::<Vec<_>>(),
        "ports": [],
    })
}

/// The fleet divides the pods of a limited function; alone again, an interceptor uses them all.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_divides_the_pods_of_a_limited_function() {
    const PATH: &str = "/apis/discovery.k8s.io/v1/namespaces/kipper/endpointslices";
    let mut api = ApiServer::start().await;
    let proxy = Proxy::start().await;
    let router = Arc::clone(&proxy.router);
    let mut limited = RouteSpec::new(FunctionId::new("ns", "f"), vec!["f.test".to_owned()]);
    limited.concurrency = 1;
    let id = limited.id.clone();
    let states: Vec<_> = (1..=12)
        .map(|n| EndpointState {
            address: ([10, 0, 0, n], 80).into(),
            ready: true,
            terminating: false,
        })
        .collect();
    router.apply(limited);
    router.set(&id, states.clone());
    let pods = || router.route("f.test").unwrap().endpoints().all.len();
    assert_eq!(pods(), 12);

    let source = Box::new(ServiceFleet::new(api.client(), "kipper", "interceptor", "i-0"));
    let following = tokio::spawn(source.run(Arc::clone(&router) as _));
    let list = api.list(PATH).await;
    let own = "kubernetes.io%2Fservice-name%3Dinterceptor%2C\
        endpointslice.kubernetes.io%2Fmanaged-by%3Dendpointslice-controller.k8s.io";
    assert_eq!(list.value("labelSelector"), Some(own));
    let names = ["i-0", "i-1", "i-2"];
    let listed = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSliceList",
        "metadata": {"resourceVersion": "10"},
        "items": [interceptors(&names)],
    });
    list.answer(200, &listed.to_string());
    let member = |name: &str| Member { name: name.to_owned(), address: None };
    let members = names.iter().map(|name| member(name)).collect();
    let share = share(&states, &Fleet { me: "i-0".to_owned(), members }).pods.len();
    assert!((1..12).contains(&share));
    until("the fleet's share is taken", || pods() == share).await;

    let watch = api.watch(PATH, "10").await;
    let event = json!({"type": "MODIFIED", "object": interceptors(&["i-0"])});
    watch.event(&event.to_string()).await;
    until("alone again", || pods() == 12).await;
    following.abort();
}

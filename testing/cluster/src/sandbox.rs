//! A namespace of a test's own, and functions in it. What fails here fails the test.
//!
//! A host is a function's name, whatever its namespace, so names carry the sandbox's suffix: no two
//! tests meet. A test that fails prints what its namespace looked like.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use k8s_openapi::{
    ByteString,
    api::core::v1::{Namespace, Secret},
};
use kipper_function::{Function, host, names as kipper, names::condition::READY};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    connect,
    http::{self, Answer},
    names::{CLUSTER_DOMAIN, FIELD_MANAGER},
    objects, turn,
    wait::{Seen, expect, until},
};

/// Runs `test` in a namespace of its own, beside others.
pub async fn run<F>(name: &str, test: impl FnOnce(Sandbox) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let _turn = turn::shared().await.unwrap();
    Sandbox::around(name, test).await;
}

/// Runs `test` while no other test or scenario runs.
pub async fn run_alone<F>(name: &str, test: impl FnOnce(Sandbox) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let _turn = turn::alone().await.unwrap();
    Sandbox::around(name, test).await;
}

/// A client for the cluster that KUBECONFIG names.
pub async fn client() -> Client {
    connect::client(None).await.unwrap_or_else(|error| panic!("{error:#}"))
}

/// A test's place in the cluster.
#[derive(Clone)]
pub struct Sandbox {
    pub client: Client,
    pub namespace: String,
    suffix: String,
    interceptor: SocketAddr,
}

impl Sandbox {
    async fn around<F>(name: &str, test: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let sandbox = Self::create(name).await;
        let done = tokio::spawn(test(sandbox.clone())).await;
        if done.is_err() {
            sandbox.describe().await;
        }
        for namespace in sandbox.namespaces().await {
            delete_namespace(&sandbox.client, &namespace).await;
        }
        if let Err(error) = done {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    async fn create(name: &str) -> Self {
        let client = client().await;
        let suffix = connect::suffix();
        let interceptor =
            connect::interceptor(&client).await.unwrap_or_else(|error| panic!("{error:#}"));
        let namespace = format!("ct-{name}-{suffix}");
        create_namespace(&client, &namespace).await;
        Self { client, namespace, suffix, interceptor }
    }

    /// Another namespace of this test, which creates it; it goes with the first.
    pub fn beside(&self, part: &str) -> Self {
        self.inside(&format!("{}-{part}", self.namespace))
    }

    /// The same names in a namespace that is not this test's to make or delete.
    pub fn inside(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// A function's name that no other test uses.
    pub fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.suffix)
    }

    pub fn host(&self, function: &str) -> String {
        host::host(function, CLUSTER_DOMAIN, host::DEFAULT_SHARED_PARENTS).unwrap()
    }

    pub fn functions(&self) -> Api<Function> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// What `kubectl apply --server-side` does.
    pub async fn apply(&self, name: &str, spec: Value) -> Function {
        self.try_apply(name, spec).await.unwrap()
    }

    pub async fn try_apply(&self, name: &str, spec: Value) -> kube::Result<Function> {
        let function = json!({
            "apiVersion": "kipper.run/v1alpha1",
            "kind": "Function",
            "metadata": { "name": name },
            "spec": spec,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.functions().patch(name, &params, &Patch::Apply(function)).await
    }

    pub async fn delete(&self, name: &str) {
        self.functions().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// The function once `holds` says nothing more against it, and its status is that of its
    /// present spec.
    pub async fn function_that(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&Function) -> Seen<()>,
    ) -> Function {
        until(&format!("{name}: {what}"), || async {
            let function = self.functions().get(name).await.unwrap();
            let status = function.status.clone().unwrap_or_default();
            expect(status.observed_generation == function.metadata.generation, || {
                format!("not observed yet: {status:?}")
            })?;
            holds(&function)?;
            Ok(function)
        })
        .await
    }

    pub async fn until_ready(&self, name: &str) -> Function {
        self.function_that(name, "Ready=True", |f| condition_is(f, READY, "True", "Reconciled"))
            .await
    }

    /// The message of `Ready=False` with this reason.
    pub async fn until_broken(&self, name: &str, reason: &str) -> String {
        let what = format!("Ready=False {reason}");
        let holds = |f: &Function| condition_is(f, READY, "False", reason);
        let function = self.function_that(name, &what, holds).await;
        function.status.unwrap().condition(READY).unwrap().message.clone()
    }

    pub async fn until_phase(&self, name: &str, phase: &str) -> Function {
        self.function_that(name, phase, |function| {
            let seen = function.status.as_ref().and_then(|status| status.phase.clone());
            expect(seen.as_deref() == Some(phase), || format!("{seen:?}"))
        })
        .await
    }

    /// One request to the function, as the ingress would send it.
    pub async fn request(&self, name: &str) -> Result<Answer, String> {
        http::get(self.interceptor, &self.host(name)).await
    }

    /// The first answer to one request once the interceptors route the host: a function at zero is
    /// woken by it.
    pub async fn wake(&self, name: &str) -> Answer {
        until(&format!("an answer of {name}"), || async {
            let answer = self.request(name).await?;
            expect(answer.status != 404, || format!("{answer:?}"))?;
            Ok(answer)
        })
        .await
    }

    /// Asks until the function answers 200 with `body`.
    pub async fn until_answers(&self, name: &str, body: &str) {
        until(&format!("{body:?} from {name}"), || async {
            let answer = self.request(name).await?;
            expect(answer.status == 200 && answer.body == body, || format!("{answer:?}"))
        })
        .await;
    }

    pub async fn object(&self, kind: &str, name: &str) -> Option<Value> {
        objects::get(&self.client, kind, &self.namespace, name).await
    }

    pub async fn until_object(&self, kind: &str, name: &str) -> Value {
        until(&format!("{kind} {name}"), || async {
            self.object(kind, name).await.ok_or_else(|| "none".to_owned())
        })
        .await
    }

    pub async fn until_gone(&self, kind: &str, name: &str) {
        until(&format!("the end of {kind} {name}"), || async {
            let object = self.object(kind, name).await;
            expect(object.is_none(), || format!("{}", object.unwrap_or_default()["metadata"]))
        })
        .await;
    }

    /// Pods of a function that serve, in whatever state.
    pub async fn pods(&self, function: &str) -> Vec<Value> {
        let selector = format!("app={function},{}={}", kipper::COMPONENT, kipper::SERVER);
        objects::list(&self.client, "Pod", &self.namespace, &selector).await
    }

    /// ConfigMaps with the code of a function, of whatever version.
    pub async fn codes(&self, function: &str) -> Vec<Value> {
        self.objects_of("ConfigMap", function).await
    }

    /// Revisions of a function, oldest first.
    pub async fn revisions(&self, function: &str) -> Vec<Value> {
        let mut revisions = self.objects_of("ControllerRevision", function).await;
        revisions.sort_by_key(|revision| revision["revision"].as_i64());
        revisions
    }

    async fn objects_of(&self, kind: &str, function: &str) -> Vec<Value> {
        let selector = format!("app={function},{}", kipper::FUNCTION_SELECTOR);
        objects::list(&self.client, kind, &self.namespace, &selector).await
    }

    /// Reason and note of the Events about a function.
    pub async fn events(&self, function: &str) -> Vec<(String, String)> {
        let events = objects::list(&self.client, "Event", &self.namespace, "").await;
        let about = |event: &&Value| {
            event["regarding"]["kind"] == "Function" && event["regarding"]["name"] == function
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        events.iter().filter(about).map(|e| (text(&e["reason"]), text(&e["note"]))).collect()
    }

    /// Waits for the Event with this reason and a note that contains `words`.
    pub async fn until_event(&self, function: &str, reason: &str, words: &str) {
        until(&format!("Event {reason} about {function}"), || async {
            let events = self.events(function).await;
            let there = events.iter().any(|(r, note)| r == reason && note.contains(words));
            expect(there, || format!("{events:?}"))
        })
        .await;
    }

    /// Makes a Secret hold these values and no others.
    pub async fn secret(&self, name: &str, values: &[(&str, &str)]) {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = values.iter().map(|(key, value)| ((*key).to_owned(), bytes(value))).collect();
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        secret.metadata.name = Some(name.to_owned());
        let api = objects::api(&self.client, "Secret", &self.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(name, &params, &Patch::Apply(secret)).await.unwrap();
    }

    /// This namespace and those beside it.
    async fn namespaces(&self) -> Vec<String> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let all = api.list_metadata(&ListParams::default()).await.unwrap();
        let beside = format!("{}-", self.namespace);
        let mine = |name: &String| *name == self.namespace || name.starts_with(&beside);
        all.iter().map(|namespace| namespace.name_any()).filter(mine).collect()
    }

    /// Prints what a failed test leaves to be looked at.
    async fn describe(&self) {
        for namespace in self.namespaces().await {
            for kind in ["Function", "Pod"] {
                for object in objects::list(&self.client, kind, &namespace, "").await {
                    let (name, status) = (&object["metadata"]["name"], &object["status"]);
                    eprintln!("{namespace} {kind} {name}: {status}");
                }
            }
            for event in objects::list(&self.client, "Event", &namespace, "").await {
                let (name, reason) = (&event["regarding"]["name"], &event["reason"]);
                eprintln!("{namespace} Event {name} {reason}: {}", event["note"]);
            }
        }
    }
}

/// Whether a function has a condition with this status and reason.
pub fn condition_is(function: &Function, type_: &str, status: &str, reason: &str) -> Seen<()> {
    let state = function.status.clone().unwrap_or_default();
    let holds = state.condition(type_).is_some_and(|c| c.status == status && c.reason == reason);
    expect(holds, || format!("{state:?}"))
}

/// Creates a namespace beside those of the sandboxes.
pub async fn create_namespace(client: &Client, name: &str) {
    connect::create_namespace(client, name).await.unwrap();
}

/// Asks for the end of a namespace, and does not wait for it.
pub async fn delete_namespace(client: &Client, name: &str) {
    connect::delete_namespace(client, name).await.unwrap();
}

//! What the watches have seen, reduced to what a reconcile asks about.
//!
//! Filled by `watch`, read by everything behind it. Nothing here talks to the API server, and no
//! row keeps a whole object: a thousand functions must fit into a few megabytes.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    net::SocketAddr,
};

use k8s_openapi::jiff::Timestamp;
use kipper_function::{Function, names, revision::Record};
use kube::{
    api::{DynamicObject, ObjectMeta},
    runtime::reflector::ObjectRef,
};
use parking_lot::{Mutex, RwLock};

use crate::{digest, plan::Kind};

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Of an object; a missing part is empty.
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }

    pub(crate) fn function(&self) -> ObjectRef<Function> {
        ObjectRef::new(&self.name).within(&self.namespace)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One of our objects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    pub(crate) uid: String,
    /// The Function that controls it: by owner reference, or by annotation in another namespace.
    pub(crate) owner: Option<Owner>,
    /// Of the fields that are this controller's.
    pub(crate) owned: u64,
    /// Of a Deployment only.
    pub(crate) workload: Option<Workload>,
    /// Of a CronJob only.
    pub(crate) runs: Option<Runs>,
    /// Of a ScaledObject only.
    pub(crate) scaler: Option<Scaler>,
    /// Of a ControllerRevision only.
    pub(crate) revision: Option<Box<Record>>,
    /// This controller owns `spec.replicas`, which is to be somebody else's: a Deployment whose
    /// creation was not finished.
    pub(crate) holds_replicas: bool,
}

/// A Function, as an object names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) function: Key,
    /// Absent where the object is in another namespace.
    pub(crate) uid: Option<String>,
}

/// Replicas of a Deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) desired: i32,
    pub(crate) ready: i32,
    pub(crate) updated: i32,
    /// Every pod is of the present template.
    pub(crate) rolled_out: bool,
}

/// What KEDA says of a ScaledObject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scaler {
    /// Nothing yet.
    Pending,
    Ready,
    /// It does not work, in KEDA's words.
    Failing(String),
}

impl Scaler {
    fn of(object: &DynamicObject) -> Self {
        let conditions = object.data.pointer("/status/conditions");
        let mut conditions = conditions.and_then(serde_json::Value::as_array).into_iter().flatten();
        let ready = conditions.find(|condition| condition["type"] == "Ready");
        match ready.and_then(|ready| ready["status"].as_str()) {
            Some("True") => Self::Ready,
            Some("False") => {
                let message = ready.and_then(|ready| ready["message"].as_str());
                Self::Failing(message.unwrap_or_default().to_owned())
            }
            _ => Self::Pending,
        }
    }
}

/// Runs of a CronJob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// One is going on.
    pub(crate) active: bool,
    /// When the last one was due that was started.
    pub(crate) last: Option<Timestamp>,
}

impl Runs {
    fn of(object: &DynamicObject) -> Self {
        let active = object.data.pointer("/status/active").and_then(serde_json::Value::as_array);
        let last = object.data.pointer("/status/lastScheduleTime");
        Self {
            active: active.is_some_and(|jobs| !jobs.is_empty()),
            last: last.and_then(|time| time.as_str()?.parse().ok()),
        }
    }
}

/// One run of a schedule: a Job of the function's CronJob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) function: Key,
    pub(crate) started: Option<Timestamp>,
    /// How and when it ended.
    pub(crate) ended: Option<(Outcome, Option<Timestamp>)>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    /// It was ended after this many seconds.
    TooLate(i64),
    /// In the words of Kubernetes.
    Failed(String),
}

impl Observed {
    pub(crate) fn new(kind: Kind, object: &DynamicObject) -> Self {
        let meta = &object.metadata;
        let workload = (kind == Kind::Deployment).then(|| {
            let long = |path: &str| object.data.pointer(path).and_then(serde_json::Value::as_i64);
            let number = |path: &str| long(path).and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
            let updated = number("/status/updatedReplicas");
            Workload {
                desired: number("/spec/replicas"),
                ready: number("/status/readyReplicas"),
                updated,
                rolled_out: long("/status/observedGeneration") >= meta.generation
                    && number("/status/replicas") <= updated,
            }
        });
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            owner: owner(meta),
            owned: owned(meta),
            workload,
            runs: (kind == Kind::CronJob).then(|| Runs::of(object)),
            scaler: (kind == Kind::ScaledObject).then(|| Scaler::of(object)),
            revision: Record::read(meta).filter(|_| kind == Kind::ControllerRevision).map(Box::new),
            holds_replicas: kind == Kind::Deployment
                && applied(meta).any(|fields| fields.pointer("/f:spec/f:replicas").is_some()),
        }
    }
}

/// The Function that controls an object.
pub(crate) fn owner(meta: &ObjectMeta) -> Option<Owner> {
    let controller = meta.owner_references.iter().flatten().find(|r| r.controller == Some(true));
    if let Some(reference) = controller {
        let namespace = meta.namespace.clone().unwrap_or_default();
        let group = reference.api_version.split_once('/').map(|(group, _)| group);
        let is_ours = reference.kind == "Function" && group == Some(names::GROUP);
        return is_ours.then(|| Owner {
            function: Key::new(namespace, reference.name.clone()),
            uid: Some(reference.uid.clone()),
        });
    }
    let named = meta.annotations.as_ref()?.get(names::FUNCTION_ANNOTATION)?;
    let (namespace, name) = named.split_once('/')?;
    Some(Owner { function: Key::new(namespace, name), uid: None })
}

/// Digest of what this controller owns of an object. Whoever changes or removes one of its fields
/// takes it over, and what others add is theirs: the digest changes exactly when something that was
/// applied is not so any more.
fn owned(meta: &ObjectMeta) -> u64 {
    let fields: Vec<_> = applied(meta).map(ToString::to_string).collect();
    digest::number(fields.iter().map(String::as_bytes))
}

/// The fields this controller applied, in the form of `managedFields`.
fn applied(meta: &ObjectMeta) -> impl Iterator<Item = &serde_json::Value> {
    let entries = meta.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| {
        entry.manager.as_deref() == Some(names::FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
    });
    ours.filter_map(|entry| entry.fields_v1.as_ref().map(|fields| &fields.0))
}

/// Why a pod does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// For conditions and Events: `ImagePullFailed`, `ContainerCrashed`, …
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// One pod of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) function: Key,
    pub(crate) server: bool,
    /// Its Job, if it has one.
    pub(crate) job: Option<String>,
    /// A container of it runs, or did.
    pub(crate) has_run: bool,
    pub(crate) created: Option<Timestamp>,
    pub(crate) ready: bool,
    /// The function runs but is not ready since then.
    pub(crate) silent_since: Option<Timestamp>,
    /// Its container is being created since then.
    pub(crate) creating_since: Option<Timestamp>,
    pub(crate) poller: Option<Poller>,
    pub(crate) failure: Option<Failure>,
    /// Digest of the template it was made of.
    pub(crate) template: Option<String>,
    /// How the function's container ended last, if it did.
    pub(crate) exit: Option<Exit>,
    /// When the kubelet evicted it, if it did; the object stays.
    pub(crate) evicted_at: Option<Timestamp>,
    /// ConfigMap with its inline code, unless it has ended.
    pub(crate) code: Option<String>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) at: Timestamp,
    /// The kubelet's word: `Error`, `OOMKilled`, `Completed`.
    pub(crate) reason: String,
    pub(crate) code: i32,
    /// How often it was started again.
    pub(crate) restarts: i32,
}

/// The poller in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Poller {
    /// Of the trigger it was started with.
    pub(crate) digest: String,
    pub(crate) ready: bool,
    /// Its last words, if it ended because the trigger cannot work.
    pub(crate) refused: Option<String>,
    /// Running but not ready since then.
    pub(crate) waiting_since: Option<Timestamp>,
    /// Where it has its metrics, while it runs.
    pub(crate) metrics: Option<SocketAddr>,
}

/// What the pollers of a function say of its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deliveries {
    /// Events whose last delivery failed.
    pub(crate) failing: u64,
    /// Events given up since the pods started.
    pub(crate) dead: u64,
    /// A poller takes the function to be down as a whole.
    pub(crate) down: bool,
}

/// An Ingress that publishes hosts and is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub(crate) hosts: Vec<String>,
    pub(crate) created: Option<Timestamp>,
    /// It has had its hosts since then. The API server counts the changes of a spec, so nobody can
    /// claim this.
    pub(crate) is_unchanged: bool,
}

/// A host's claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) uid: String,
    pub(crate) holder: Key,
    pub(crate) holder_uid: String,
    /// As interceptors read it.
    pub(crate) route: Option<String>,
    pub(crate) created: Option<Timestamp>,
}

/// Rows by key, replaced as a whole by each list.
#[derive(Debug)]
pub(crate) struct Table<K, V>(RwLock<HashMap<K, V>>);

impl<K: Clone + Eq + Hash, V: Clone + PartialEq> Table<K, V> {
    pub(crate) fn new() -> Self {
        Self(RwLock::new(HashMap::new()))
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.0.read().get(key).cloned()
    }

    /// Stores a row; returns the former one, or `None` where nothing changed.
    pub(crate) fn put(&self, key: K, row: V) -> Changed<V> {
        let mut rows = self.0.write();
        match rows.insert(key, row.clone()) {
            Some(former) if former == row => Changed::No,
            former => Changed::Yes(former),
        }
    }

    pub(crate) fn remove(&self, key: &K) -> Option<V> {
        self.0.write().remove(key)
    }

    /// Removes and returns every row that `keep` does not want.
    pub(crate) fn retain(&self, keep: impl Fn(&K) -> bool) -> Vec<(K, V)> {
        self.0.write().extract_if(|key, _| !keep(key)).collect()
    }

    /// Rows that `wanted` takes.
    pub(crate) fn filter(&self, wanted: impl Fn(&K, &V) -> bool) -> Vec<(K, V)> {
        let rows = self.0.read();
        rows.iter().filter(|(k, v)| wanted(k, v)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

/// What storing a row did.
pub(crate) enum Changed<V> {
    No,
    /// With the former row, if there was one.
    Yes(Option<V>),
}

/// Secrets of one namespace, by name: their resource version and what the controller wrote to
/// their annotations. Never their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretMeta {
    pub(crate) uid: String,
    pub(crate) version: String,
    pub(crate) owner_uid: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Everything watched but the Functions themselves.
pub(crate) struct Cache {
    pub(crate) objects: Table<(Kind, Key), Observed>,
    pub(crate) pods: Table<Key, Pod>,
    /// Runs of schedules; a CronJob keeps a few.
    pub(crate) runs: Table<Key, Run>,
    /// Kipper Services: their type's word.
    pub(crate) services: Table<Key, String>,
    pub(crate) foreign: Table<Key, Foreign>,
    /// Claims by host.
    pub(crate) claims: Table<String, Claim>,
    pub(crate) secrets: Table<Key, SecretMeta>,
    /// By function; of those with a poller that runs.
    pub(crate) deliveries: Table<Key, Deliveries>,
    /// Whether nothing is scaled ahead of the HPA, although it should be; unset while that is not known.
    burst_unavailable: Mutex<Option<bool>>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self {
            objects: Table::new(),
            pods: Table::new(),
            runs: Table::new(),
            services: Table::new(),
            foreign: Table::new(),
            claims: Table::new(),
            secrets: Table::new(),
            deliveries: Table::new(),
            burst_unavailable: Mutex::default(),
        }
    }

    pub(crate) fn burst_unavailable(&self) -> Option<bool> {
        *self.burst_unavailable.lock()
    }

    pub(crate) fn set_burst_unavailable(&self, is_unavailable: bool) {
        *self.burst_unavailable.lock() = Some(is_unavailable);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn observed(kind: Kind, status: serde_json::Value) -> Observed {
        let json = json!({ "apiVersion": "v1", "kind": "X", "metadata": {}, "status": status });
        Observed::new(kind, &serde_json::from_value(json).unwrap())
    }

    #[test]
    fn a_rollout_is_over_when_the_deployment_says_so_of_the_present_template() {
        let over = |generation: i64, status: serde_json::Value| {
            let metadata = json!({ "generation": generation });
            let json = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
                "spec": {}, "status": status });
            let observed = Observed::new(Kind::Deployment, &serde_json::from_value(json).unwrap());
            observed.workload.unwrap().rolled_out
        };
        let status = |observed: i64, replicas: i32, updated: i32| {
            let counts = (replicas, updated);
            json!({ "observedGeneration": observed, "replicas": counts.0, "updatedReplicas": counts.1 })
        };
        assert!(!over(1, json!({})));
        assert!(!over(2, status(1, 1, 1)));
        assert!(!over(2, status(2, 2, 1)));
        assert!(over(2, status(2, 2, 2)));
        assert!(over(2, json!({ "observedGeneration": 2 })));
    }

    #[test]
    fn what_others_write_of_our_objects_is_reduced_to_what_is_told() {
        let scaler = |status| observed(Kind::ScaledObject, status).scaler.unwrap();
        let ready = |status: &str| {
            let ready = json!({ "type": "Ready", "status": status, "message": "m" });
            json!({ "conditions": [{ "type": "Active", "status": "True" }, ready] })
        };
        assert_eq!(scaler(json!({})), Scaler::Pending);
        assert_eq!(scaler(ready("Unknown")), Scaler::Pending);
        assert_eq!(scaler(ready("True")), Scaler::Ready);
        assert_eq!(scaler(ready("False")), Scaler::Failing("m".to_owned()));

        let runs = |status| observed(Kind::CronJob, status).runs.unwrap();
        assert_eq!(runs(json!({})), Runs::default());
        let last = "2026-01-01T10:00:00Z";
        let going_on = json!({ "active": [{ "name": "f-cron-1" }], "lastScheduleTime": last });
        assert_eq!(runs(going_on), Runs { active: true, last: Some(last.parse().unwrap()) });
        let none = observed(Kind::Service, json!({}));
        assert_eq!((none.runs, none.scaler), (None, None));
    }
}

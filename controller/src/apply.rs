//! Puts rendered objects into the cluster: server-side apply with one field manager, and removal
//! of what is not rendered any more.
//!
//! An object that looks as it was applied last is not written again, by this process or by the one
//! before it: a digest of all objects of a function is part of the function's status. An object of
//! the same name that somebody else controls is never touched.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use kipper_function::names;
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
    core::GroupVersionKind,
};
use parking_lot::Mutex;
use serde_json::json;

use crate::{
    cache::{Cache, Key, Observed},
    digest,
    metrics::Metrics,
    plan::{Kind, Object},
};

/// The manager that a Deployment's replicas are handed to when it is created. It never changes them:
/// they are KEDA's from then on.
const REPLICAS_MANAGER: &str = "kipper-controller-create";

/// All kinds, in the order they are applied.
pub(crate) const KINDS: [Kind; 9] = [
    Kind::ConfigMap,
    Kind::Service,
    Kind::NetworkPolicy,
    Kind::Deployment,
    Kind::TriggerAuthentication,
    Kind::ScaledObject,
    Kind::CronJob,
    Kind::Ingress,
    Kind::ControllerRevision,
];

/// The API resource of a kind.
pub(crate) fn resource(kind: Kind) -> ApiResource {
    let (group, version) = match kind {
        Kind::ConfigMap | Kind::Service => ("", "v1"),
        Kind::Deployment | Kind::ControllerRevision => ("apps", "v1"),
        Kind::TriggerAuthentication | Kind::ScaledObject => ("keda.sh", "v1alpha1"),
        Kind::CronJob => ("batch", "v1"),
        Kind::NetworkPolicy | Kind::Ingress => ("networking.k8s.io", "v1"),
    };
    let gvk = GroupVersionKind::gvk(group, version, kind.name());
    match kind {
        Kind::NetworkPolicy => ApiResource::from_gvk_with_plural(&gvk, "networkpolicies"),
        Kind::Ingress => ApiResource::from_gvk_with_plural(&gvk, "ingresses"),
        _ => ApiResource::from_gvk(&gvk),
    }
}

/// Why an object is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("{kind} {key} already exists and does not belong to this function")]
    Taken { kind: &'static str, key: Key },
    #[error("{kind} {key} disappeared")]
    Gone { kind: &'static str, key: Key },
    #[error("{verb} {kind} {key}")]
    Api { verb: &'static str, kind: &'static str, key: Key, source: kube::Error },
}

/// Whose objects are applied.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) key: Key,
    pub(crate) uid: String,
    pub(crate) min_replicas: u32,
}

/// Identifies an object.
type Id = (Kind, Key);

/// An object, with what is asked of it again and again.
struct Wanted<'a> {
    object: &'a Object,
    id: Id,
    /// Digest of the whole object.
    rendered: u64,
}

impl<'a> Wanted<'a> {
    fn new(object: &'a Object) -> Self {
        let rendered = digest::number([object.json.to_string().as_bytes()]);
        Self { object, id: (object.kind, Key::new(&object.namespace, &object.name)), rendered }
    }

    fn failed(&self, verb: &'static str, source: kube::Error) -> ApplyError {
        ApplyError::Api { verb, kind: self.object.kind.name(), key: self.id.1.clone(), source }
    }
}

/// What was applied, and what the object then had of it.
#[derive(Clone, Copy, PartialEq)]
struct Applied {
    rendered: u64,
    owned: u64,
}

/// Applies and prunes.
pub(crate) struct Applier {
    client: Client,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    /// By object. Rows go with their objects.
    applied: Mutex<HashMap<Id, Applied>>,
}

impl Applier {
    pub(crate) fn new(client: Client, cache: Arc<Cache>, metrics: Arc<Metrics>) -> Self {
        Self { client, cache, metrics, applied: Mutex::default() }
    }

    /// Makes all objects look as rendered. `before` is what this returned last for the function,
    /// of whatever process: objects that are still so are left alone.
    pub(crate) async fn apply_all(
        &self,
        function: &Function,
        objects: &[Object],
        before: Option<&str>,
    ) -> Result<String, ApplyError> {
        let wanted: Vec<_> = objects.iter().map(Wanted::new).collect();
        let seen =
            |wanted: &Wanted<'_>| self.seen(function, wanted).map(|seen| (wanted.id.clone(), seen));
        if let Some(seen) = wanted.iter().map(seen).collect::<Option<Vec<_>>>()
            && before == Some(digest_of_all(&seen).as_str())
        {
            self.applied.lock().extend(seen);
        }
        for wanted in &wanted {
            self.apply(function, wanted).await?;
        }
        let applied = self.applied.lock();
        let ids = wanted.into_iter().map(|wanted| wanted.id);
        let all: Vec<_> =
            ids.filter_map(|id| applied.get(&id).map(|applied| (id, *applied))).collect();
        Ok(digest_of_all(&all))
    }

    /// What an object would have been recorded as, had it been applied and not changed since.
    fn seen(&self, function: &Function, wanted: &Wanted<'_>) -> Option<Applied> {
        let observed = self.cache.objects.get(&wanted.id);
        let observed = observed.filter(|found| belongs(found, function))?;
        Some(Applied { rendered: wanted.rendered, owned: observed.owned })
    }

    /// Makes one object look as rendered.
    async fn apply(&self, function: &Function, wanted: &Wanted<'_>) -> Result<(), ApplyError> {
        let id = &wanted.id;
        if let Some(seen) = self.seen(function, wanted)
            && self.applied.lock().get(id) == Some(&seen)
        {
            return Ok(());
        }
        let api = self.api(wanted.object.kind, &wanted.object.namespace);
        let known = match self.cache.objects.get(id) {
            Some(known) => known,
            None => match self.create(&api, wanted).await? {
                Some(created) if created.holds_replicas => created,
                Some(_) => return Ok(()),
                None => Self::unseen(&api, wanted).await?,
            },
        };
        if !belongs(&known, function) {
            return Err(ApplyError::Taken { kind: wanted.object.kind.name(), key: id.1.clone() });
        }
        if known.holds_replicas {
            self.hand_over_replicas(&api, wanted, &known.uid).await?;
        }
        // With the uid the apply fails where another object took the name meanwhile.
        let applied =
            self.patch(&api, &wanted.object.json, wanted.object, ("uid", known.uid)).await;
        let applied = applied.map_err(|source| wanted.failed("apply", source))?;
        self.record(wanted, &applied);
        if known.holds_replicas && function.min_replicas > 0 {
            self.start(&api, function, wanted).await?;
        }
        Ok(())
    }

    /// The object that has this name: not one of ours, or one that no watch has told of yet.
    async fn unseen(api: &Api<DynamicObject>, wanted: &Wanted<'_>) -> Result<Observed, ApplyError> {
        let object = wanted.object;
        let found = api.get_opt(&object.name).await;
        let found = found.map_err(|source| wanted.failed("get", source))?;
        let gone = || ApplyError::Gone { kind: object.kind.name(), key: wanted.id.1.clone() };
        Ok(Observed::new(object.kind, &found.ok_or_else(gone)?))
    }

    /// Applies an object that is not there yet; `None` where there is one of its name.
    ///
    /// A Deployment begins with no replicas: without the field it would get one pod. This controller
    /// owns the field then, which [`Self::hand_over_replicas`] ends; a controller that dies in between
    /// leaves an object that says so.
    async fn create(
        &self,
        api: &Api<DynamicObject>,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Observed>, ApplyError> {
        let object = wanted.object;
        let mut json = object.json.clone();
        if object.kind == Kind::Deployment {
            json["spec"]["replicas"] = 0.into();
        }
        // No object has this version: the apply creates, or it fails with a conflict.
        match self.patch(api, &json, object, ("resourceVersion", "1".to_owned())).await {
            Ok(created) => {
                let observed = Observed::new(object.kind, &created);
                if !observed.holds_replicas {
                    self.record(wanted, &created);
                }
                Ok(Some(observed))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(source) => Err(wanted.failed("apply", source)),
        }
    }

    /// Makes another manager own the replicas of a Deployment, at the zero they were created with. An
    /// apply that dropped a field which nobody else owns would start a pod.
    async fn hand_over_replicas(
        &self,
        api: &Api<DynamicObject>,
        wanted: &Wanted<'_>,
        uid: &str,
    ) -> Result<(), ApplyError> {
        let object = wanted.object;
        let replicas = json!({
            "apiVersion": object.json["apiVersion"],
            "kind": object.json["kind"],
            "metadata": { "name": object.name, "uid": uid },
            "spec": { "replicas": 0 },
        });
        let params = PatchParams::apply(REPLICAS_MANAGER).force();
        let handed = api.patch(&object.name, &params, &Patch::Apply(replicas)).await;
        handed.map(drop).map_err(|source| wanted.failed("apply", source))
    }

    /// Gives a Deployment that was just created the replicas it has at the least.
    async fn start(
        &self,
        api: &Api<DynamicObject>,
        function: &Function,
        wanted: &Wanted<'_>,
    ) -> Result<(), ApplyError> {
        let operations = json!([
            { "op": "test", "path": "/spec/replicas", "value": 0 },
            { "op": "replace", "path": "/spec/replicas", "value": function.min_replicas },
        ]);
        let failed = |source| wanted.failed("scale", source);
        let operations = serde_json::from_value(operations)
            .map_err(|error| failed(kube::Error::SerdeError(error)))?;
        let patch = Patch::Json::<()>(operations);
        match api.patch(&wanted.object.name, &PatchParams::default(), &patch).await {
            // KEDA was faster.
            Err(kube::Error::Api(status)) if status.code == 422 => Ok(()),
            other => other.map(drop).map_err(failed),
        }
    }

    fn record(&self, wanted: &Wanted<'_>, applied: &DynamicObject) {
        let kind = wanted.object.kind;
        self.metrics.applied(kind.name());
        let observed = Observed::new(kind, applied);
        let applied = Applied { rendered: wanted.rendered, owned: observed.owned };
        self.applied.lock().insert(wanted.id.clone(), applied);
        self.cache.objects.put(wanted.id.clone(), observed);
    }

    /// Removes what this function controls and does not need any more. What is `kept` stays, though it
    /// is not rendered; it is in the function's namespace.
    pub(crate) async fn prune(
        &self,
        function: &Function,
        needed: &[Object],
        kept: &HashSet<(Kind, String)>,
    ) -> Result<(), ApplyError> {
        let stale = self.cache.objects.filter(|(kind, key), observed| {
            let needed = needed.iter().any(|object| {
                object.kind == *kind && object.name == key.name && object.namespace == key.namespace
            });
            !needed && belongs(observed, function) && !kept.contains(&(*kind, key.name.clone()))
        });
        for ((kind, key), observed) in stale {
            self.delete(kind, &key, &observed.uid).await?;
        }
        Ok(())
    }

    /// Deletes the object with this uid, and what it made.
    pub(crate) async fn delete(&self, kind: Kind, key: &Key, uid: &str) -> Result<(), ApplyError> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        match self.api(kind, &key.namespace).delete(&key.name, &params).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(source) => {
                let (verb, kind, key) = ("delete", kind.name(), key.clone());
                return Err(ApplyError::Api { verb, kind, key, source });
            }
            Ok(_) => self.metrics.deleted(kind.name()),
        }
        let id = (kind, key.clone());
        self.applied.lock().remove(&id);
        self.cache.objects.remove(&id);
        Ok(())
    }

    /// Forgets objects that are gone with their function.
    pub(crate) fn forget(&self, function: &Key) {
        let cache = &self.cache;
        self.applied.lock().retain(|id, _| {
            let observed = cache.objects.get(id);
            observed.is_none_or(|o| o.owner.is_none_or(|owner| owner.function != *function))
        });
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource(kind))
    }

    /// Applies `json` to the object. A precondition is a field of its metadata that must match.
    async fn patch(
        &self,
        api: &Api<DynamicObject>,
        json: &serde_json::Value,
        object: &Object,
        (field, value): (&str, String),
    ) -> kube::Result<DynamicObject> {
        let mut json = json.clone();
        json["metadata"][field] = value.into();
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        api.patch(&object.name, &params, &Patch::Apply(json)).await
    }
}

/// Whether `function` controls the object.
fn belongs(observed: &Observed, function: &Function) -> bool {
    observed.owner.as_ref().is_some_and(|owner| {
        owner.function == function.key && owner.uid.as_ref().is_none_or(|uid| *uid == function.uid)
    })
}

fn digest_of_all(applied: &[(Id, Applied)]) -> String {
    let one = |((kind, key), applied): &(Id, Applied)| {
        format!("{} {key} {:x} {:x}", kind.name(), applied.rendered, applied.owned)
    };
    digest::digest(applied.iter().map(one).collect::<Vec<_>>().iter().map(String::as_bytes))
}

#[cfg(test)]
mod tests;

//! How each kind of object becomes a row, and which functions it concerns. Pure but for the store
//! of Functions, which is only read.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::ControllerRevision, batch::v1::Job, coordination::v1::Lease, core::v1,
    networking::v1::Ingress,
};
use kipper_function::{Function, Service, names};
use kube::{
    ResourceExt as _,
    api::{DynamicObject, ObjectMeta, PartialObjectMeta},
    runtime::reflector::{ObjectRef, Store},
};

use super::Rows;
use crate::{
    cache::{Cache, Claim, Foreign, Key, Observed, Owner, Pod, Run, SecretMeta, Table, owner},
    claim::claim,
    plan::Kind,
    pods, runs,
};

/// Objects the controller made, of one kind.
pub(crate) struct Objects {
    pub(crate) cache: Arc<Cache>,
    pub(crate) kind: Kind,
    /// The controller's, which is where Ingresses are.
    pub(crate) own_namespace: String,
}

impl Rows<DynamicObject> for Objects {
    type Key = (Kind, Key);
    type Row = Observed;

    fn table(&self) -> &Table<Self::Key, Observed> {
        &self.cache.objects
    }

    fn row(&self, object: &DynamicObject) -> (Self::Key, Option<Observed>) {
        let key = (self.kind, Key::of(&object.metadata));
        let observed = Observed::new(self.kind, object);
        // Labels and annotations are anybody's to write. What is in the function's namespace is told
        // by its owner reference; where none can point, by a name in a namespace of our own.
        let is_ours = match self.kind {
            Kind::Ingress => is_own_ingress(&object.metadata, &self.own_namespace),
            _ => observed.owner.as_ref().is_some_and(|owner| owner.uid.is_some()),
        };
        (key, is_ours.then_some(observed))
    }

    fn listed(&self, (kind, _): &Self::Key) -> bool {
        *kind == self.kind
    }

    fn concerned(&self, _: &Self::Key, row: &Observed) -> Vec<ObjectRef<Function>> {
        row.owner.iter().map(|Owner { function, .. }| function.function()).collect()
    }
}

/// Revisions of functions: of these, which may be large, the metadata.
pub(crate) struct Revisions(pub(crate) Arc<Cache>);

impl Rows<PartialObjectMeta<ControllerRevision>> for Revisions {
    type Key = (Kind, Key);
    type Row = Observed;

    fn table(&self) -> &Table<Self::Key, Observed> {
        &self.0.objects
    }

    fn row(&self, object: &PartialObjectMeta<ControllerRevision>) -> (Self::Key, Option<Observed>) {
        let (metadata, data) = (object.metadata.clone(), serde_json::Value::Null);
        let object = DynamicObject { types: None, metadata, data };
        let observed = Observed::new(Kind::ControllerRevision, &object);
        let is_ours = observed.owner.as_ref().is_some_and(|owner| owner.uid.is_some());
        ((Kind::ControllerRevision, Key::of(&object.metadata)), is_ours.then_some(observed))
    }

    fn listed(&self, (kind, _): &Self::Key) -> bool {
        *kind == Kind::ControllerRevision
    }

    fn concerned(&self, _: &Self::Key, row: &Observed) -> Vec<ObjectRef<Function>> {
        row.owner.iter().map(|Owner { function, .. }| function.function()).collect()
    }
}

/// Pods of functions.
pub(crate) struct Pods(pub(crate) Arc<Cache>);

impl Rows<v1::Pod> for Pods {
    type Key = Key;
    type Row = Pod;

    fn table(&self) -> &Table<Key, Pod> {
        &self.0.pods
    }

    fn row(&self, object: &v1::Pod) -> (Key, Option<Pod>) {
        (Key::of(&object.metadata), pods::reduce(object))
    }

    fn concerned(&self, _: &Key, row: &Pod) -> Vec<ObjectRef<Function>> {
        vec![row.function.function()]
    }
}

/// Jobs of functions' schedules.
pub(crate) struct Runs(pub(crate) Arc<Cache>);

impl Rows<Job> for Runs {
    type Key = Key;
    type Row = Run;

    fn table(&self) -> &Table<Key, Run> {
        &self.0.runs
    }

    fn row(&self, object: &Job) -> (Key, Option<Run>) {
        (Key::of(&object.metadata), runs::reduce(object))
    }

    fn concerned(&self, _: &Key, row: &Run) -> Vec<ObjectRef<Function>> {
        vec![row.function.function()]
    }
}

/// Kipper Services.
pub(crate) struct Services {
    pub(crate) cache: Arc<Cache>,
    pub(crate) functions: Store<Function>,
}

impl Rows<Service> for Services {
    type Key = Key;
    type Row = String;

    fn table(&self) -> &Table<Key, String> {
        &self.cache.services
    }

    fn row(&self, object: &Service) -> (Key, Option<String>) {
        (Key::of(&object.metadata), Some(object.spec.type_.clone()))
    }

    fn concerned(&self, key: &Key, _: &String) -> Vec<ObjectRef<Function>> {
        using_functions(&self.functions, &key.namespace, &key.name)
    }
}

/// Functions of `namespace` that bind `service`, or get events from it.
fn using_functions(
    functions: &Store<Function>,
    namespace: &str,
    service: &str,
) -> Vec<ObjectRef<Function>> {
    let uses = |f: &Function| {
        f.spec.service_bindings.iter().any(|b| b.name == service)
            || f.spec.event().is_some_and(|event| event.source() == service)
    };
    select(functions, |f| f.metadata.namespace.as_deref() == Some(namespace) && uses(f))
}

fn select(
    functions: &Store<Function>,
    wanted: impl Fn(&Function) -> bool,
) -> Vec<ObjectRef<Function>> {
    functions.state().iter().filter(|f| wanted(f)).map(|f| ObjectRef::from_obj(&**f)).collect()
}

/// Whether this is the Ingress of a function: in the controller's namespace, under the name that the
/// function it names gives it.
fn is_own_ingress(meta: &ObjectMeta, own_namespace: &str) -> bool {
    let named = owner(meta).filter(|owner| owner.uid.is_none());
    let name =
        named.map(|Owner { function, .. }| names::ingress(&function.namespace, &function.name));
    meta.namespace.as_deref() == Some(own_namespace) && name.is_some() && name == meta.name
}

/// Ingresses: ours are objects like any other, the rest are neighbours that may own a host.
pub(crate) struct Ingresses {
    pub(crate) cache: Arc<Cache>,
    pub(crate) functions: Store<Function>,
    /// The controller's.
    pub(crate) own_namespace: String,
}

impl Rows<Ingress> for Ingresses {
    type Key = Key;
    type Row = Foreign;

    fn table(&self) -> &Table<Key, Foreign> {
        &self.cache.foreign
    }

    fn row(&self, object: &Ingress) -> (Key, Option<Foreign>) {
        let key = Key::of(&object.metadata);
        let ours = is_own_ingress(&object.metadata, &self.own_namespace);
        let spec = object.spec.iter();
        let rules = spec.flat_map(|spec| spec.rules.iter().flatten());
        let hosts: Vec<_> =
            rules.filter_map(|rule| rule.host.as_ref()).map(|h| h.to_ascii_lowercase()).collect();
        let created = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let is_unchanged = object.metadata.generation == Some(1);
        let foreign = Foreign { hosts, created, is_unchanged };
        (key, (!ours && !foreign.hosts.is_empty()).then_some(foreign))
    }

    fn concerned(&self, _: &Key, row: &Foreign) -> Vec<ObjectRef<Function>> {
        // A function's host begins with its name; everything else is left to the reconcile.
        select(&self.functions, |f| {
            let prefix = format!("fn-{}", f.name_any());
            row.hosts.iter().any(|host| host.starts_with(&prefix))
        })
    }
}

/// Claims of hosts.
pub(crate) struct Claims {
    pub(crate) cache: Arc<Cache>,
    pub(crate) functions: Store<Function>,
}

impl Rows<Lease> for Claims {
    type Key = String;
    type Row = Claim;

    fn table(&self) -> &Table<String, Claim> {
        &self.cache.claims
    }

    fn row(&self, object: &Lease) -> (String, Option<Claim>) {
        (object.name_any(), claim(object))
    }

    fn concerned(&self, _: &String, row: &Claim) -> Vec<ObjectRef<Function>> {
        // Whoever has this name wants this host.
        select(&self.functions, |f| f.metadata.name.as_deref() == Some(row.holder.name.as_str()))
    }
}

/// What is kept of a Secret.
pub(crate) fn secret_meta(meta: &ObjectMeta) -> SecretMeta {
    let annotations = meta.annotations.iter().flatten();
    let ours = annotations.filter(|(name, _)| name.starts_with("kipper.run/"));
    SecretMeta {
        uid: meta.uid.clone().unwrap_or_default(),
        version: meta.resource_version.clone().unwrap_or_default(),
        owner_uid: owner(meta).and_then(|owner| owner.uid),
        annotations: ours.map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// Secrets of one namespace.
pub(crate) struct Secrets {
    pub(crate) cache: Arc<Cache>,
    pub(crate) functions: Store<Function>,
    pub(crate) namespace: String,
}

impl Rows<PartialObjectMeta<v1::Secret>> for Secrets {
    type Key = Key;
    type Row = SecretMeta;

    fn table(&self) -> &Table<Key, SecretMeta> {
        &self.cache.secrets
    }

    fn row(&self, object: &PartialObjectMeta<v1::Secret>) -> (Key, Option<SecretMeta>) {
        let meta = &object.metadata;
        let key = Key::of(meta);
        let relevant = key.name.ends_with("-secrets")
            || key.name.ends_with("-credentials")
            || owner(meta).is_some();
        (key, relevant.then(|| secret_meta(meta)))
    }

    fn listed(&self, key: &Key) -> bool {
        key.namespace == self.namespace
    }

    fn concerned(&self, key: &Key, _: &SecretMeta) -> Vec<ObjectRef<Function>> {
        let (namespace, name) = (&key.namespace, key.name.as_str());
        let of = |function: &str| vec![ObjectRef::new(function).within(namespace)];
        if let Some(function) = name.strip_suffix("-secrets") {
            return of(function);
        }
        if let Some(service) = name.strip_suffix("-credentials") {
            return using_functions(&self.functions, namespace, service);
        }
        // Any name may end so; the functions that a name names are asked in vain at worst.
        if let Some(function) = name.strip_suffix("-trigger") {
            return of(function);
        }
        name.split_once('.').map(|(function, _)| of(function)).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kube::runtime::reflector;
    use serde_json::json;

    use super::*;

    const OWN: &str = "kipper-system";

    fn ingress(namespace: &str, name: &str, function: Option<&str>) -> serde_json::Value {
        let annotations = function.map(|function| json!({ names::FUNCTION_ANNOTATION: function }));
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {
                "namespace": namespace, "name": name, "generation": 1,
                "labels": { names::RESOURCE_TYPE: names::FUNCTION },
                "annotations": annotations.unwrap_or_default(),
            },
            "spec": { "rules": [{ "host": "FN-app.example.com" }] },
        })
    }

    /// Whether an Ingress is taken for a function's, and whether for a neighbour's.
    fn seen(json: &serde_json::Value) -> (bool, bool) {
        let (functions, _) = reflector::store();
        let (cache, own_namespace) = (Arc::new(Cache::new()), OWN.to_owned());
        let objects = Objects {
            cache: Arc::clone(&cache),
            kind: Kind::Ingress,
            own_namespace: own_namespace.clone(),
        };
        let ingresses = Ingresses { cache, functions, own_namespace };
        let ours = objects.row(&serde_json::from_value(json.clone()).unwrap()).1;
        let foreign = ingresses.row(&serde_json::from_value(json.clone()).unwrap()).1;
        (ours.is_some(), foreign.is_some())
    }

    #[test]
    fn no_label_makes_an_ingress_ours() {
        let ours = ingress(OWN, "fn.shop.app", Some("shop/app"));
        assert_eq!(seen(&ours), (true, false));
        for (namespace, name, function) in [
            ("shop", "app", None),
            ("shop", "fn.shop.app", Some("shop/app")),
            (OWN, "app", Some("shop/app")),
            (OWN, "fn.shop.app", Some("other/app")),
            (OWN, "fn.shop.app", None),
        ] {
            let ingress = ingress(namespace, name, function);
            assert_eq!(seen(&ingress), (false, true), "{ingress}");
        }
    }

    #[test]
    fn what_another_namespace_names_ours_is_not_ours() {
        let config_map = |owners: serde_json::Value| {
            let json = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {
                    "namespace": "theirs", "name": "c", "ownerReferences": owners,
                    "annotations": { names::FUNCTION_ANNOTATION: "shop/app" },
                },
            });
            let (cache, own_namespace) = (Arc::new(Cache::new()), OWN.to_owned());
            let objects = Objects { cache, kind: Kind::ConfigMap, own_namespace };
            let row = objects.row(&serde_json::from_value(json).unwrap()).1;
            row.and_then(|observed| observed.owner).map(|owner| owner.function)
        };
        let owner = |version: &str| {
            json!([{ "apiVersion": version, "kind": "Function", "name": "app", "uid": "u",
                "controller": true }])
        };
        assert_eq!(config_map(json!([])), None);
        assert_eq!(config_map(owner("openfaas.com/v1")), None);
        assert_eq!(config_map(owner("kipper.run/v1alpha1")), Some(Key::new("theirs", "app")));
    }
}

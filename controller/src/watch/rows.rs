//! How each kind of object becomes a row, and which functions it concerns. Pure but for the store
//! of Functions, which is only read.

use std::sync::Arc;

use k8s_openapi::api::{coordination::v1::Lease, core::v1, networking::v1::Ingress};
use kipper_function::{Function, Service, names};
use kube::{
    ResourceExt as _,
    api::{DynamicObject, ObjectMeta, PartialObjectMeta},
    runtime::reflector::{ObjectRef, Store},
};

use super::Rows;
use crate::{
    cache::{Cache, Claim, Foreign, Key, Observed, Owner, Pod, SecretMeta, Table, owner},
    claim::claim,
    plan::Kind,
    pods,
};

/// Objects the controller made, of one kind.
pub(crate) struct Objects {
    pub(crate) cache: Arc<Cache>,
    pub(crate) kind: Kind,
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
        (key, observed.owner.is_some().then_some(observed))
    }

    fn listed(&self, (kind, _): &Self::Key) -> bool {
        *kind == self.kind
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

/// Ingresses: ours are objects like any other, the rest are neighbours that may own a host.
pub(crate) struct Ingresses {
    pub(crate) cache: Arc<Cache>,
    pub(crate) functions: Store<Function>,
}

impl Rows<Ingress> for Ingresses {
    type Key = Key;
    type Row = Foreign;

    fn table(&self) -> &Table<Key, Foreign> {
        &self.cache.foreign
    }

    fn row(&self, object: &Ingress) -> (Key, Option<Foreign>) {
        let key = Key::of(&object.metadata);
        let ours = object.labels().get(names::RESOURCE_TYPE).is_some_and(|t| t == names::FUNCTION);
        let spec = object.spec.iter();
        let rules = spec.flat_map(|spec| spec.rules.iter().flatten());
        let hosts: Vec<_> =
            rules.filter_map(|rule| rule.host.as_ref()).map(|h| h.to_ascii_lowercase()).collect();
        let created = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let foreign = Foreign { hosts, created };
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

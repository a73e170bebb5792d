//! What a Function needs in the cluster, as objects: a pure function of the Function, what its
//! bindings and Secrets hold, and the installation's settings.
//!
//! No I/O, clock, randomness or environment. Objects are complete for server-side apply by one
//! field manager: what is left out is somebody else's (`spec.replicas` is KEDA's) or is removed.

mod config_map;
mod cron_job;
mod deployment;
mod env;
mod ingress;
mod network_policy;
mod pod;
pub mod poller;
mod scaled_object;
mod service;
mod trigger_authentication;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kipper_function::{
    Function, FunctionSpec, code, function::effective::Workload, names, service::ServiceKind,
};
use kipper_trigger::SecretKey;
use kube::Resource;
use serde::Serialize;

use crate::digest::digest;

pub use env::{Clash, Holder, clashes};

/// What the installation decides for all functions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the Node runtime, for inline code.
    pub node_image: String,
    /// Image of the Python runtime, for inline code.
    pub python_image: String,
    /// Image of the poller beside functions with an event trigger.
    pub poller_image: String,
    /// `imagePullPolicy` of the containers in function pods; `None` leaves it to Kubernetes.
    pub image_pull_policy: Option<String>,
    /// Host and port of the scaler adapter, as KEDA reaches it.
    pub scaler_address: String,
    /// Whether function pods accept connections from interceptors only.
    pub network_policy: bool,
    /// Bucket in which events of a bucket wait, in the service of that bucket.
    pub state_bucket: String,
    /// How functions are published.
    pub ingress: IngressSettings,
}

/// How functions are published.
#[derive(Clone, Debug)]
pub struct IngressSettings {
    /// Namespace of the interceptor: an Ingress can name only a Service beside it.
    pub namespace: String,
    /// The interceptor's Service.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// `ingressClassName`; `None` is the cluster's default.
    pub class: Option<String>,
    /// Secret with a certificate for all hosts; without it and an issuer there is no `tls` section.
    pub tls_secret: Option<String>,
    /// cert-manager cluster issuer: a certificate per host, in a Secret named after the Ingress.
    pub cluster_issuer: Option<String>,
    /// Annotations of every Ingress.
    pub annotations: BTreeMap<String, String>,
}

/// One Function and what was gathered for it.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The resource; its namespace, name and uid are set.
    pub function: &'a Function,
    /// The host this function owns; without it nothing is published.
    pub host: Option<&'a str>,
    /// Resolved bindings, in the order of `spec.serviceBindings`.
    pub bindings: &'a [Binding],
    /// Keys of `<fn>-secrets`.
    pub secret_keys: &'a BTreeSet<String>,
    /// Digest of the values of `<fn>-secrets`; changes exactly when one of them does.
    pub secret_digest: Option<&'a str>,
    /// The event trigger, if there is one.
    pub event: Option<&'a Event>,
}

/// An event trigger that can work, as far as anybody but its poller can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The query, fit to be a derived table; `None` where events are no rows.
    pub query: Option<String>,
    /// Keys of the Secret `<fn>-trigger`.
    pub keys: BTreeSet<SecretKey>,
    /// Digest of that Secret's values.
    pub digest: String,
    /// What the kubelet brings to the poller's drain port.
    pub drain_token: String,
    /// Events one poller has at the most.
    pub max_held: u32,
    /// A poller found that this very trigger cannot work.
    pub refused: bool,
}

/// A bound service whose credentials exist.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Kind of the Service.
    pub kind: ServiceKind,
    /// Prefix of the injected names, as the binding says or the kind's default.
    pub prefix: String,
    /// Secret that holds the values under the keys of [`kipper_function::service::credentials`]: the
    /// Service's own, or the function's for a database.
    pub secret: String,
    /// Digest of that Secret's values.
    pub digest: String,
}

/// Kinds this controller makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Inline code.
    ConfigMap,
    /// How endpoints get into EndpointSlices.
    Service,
    /// Serving pods.
    Deployment,
    /// How KEDA reaches a source of events.
    TriggerAuthentication,
    /// KEDA's target.
    ScaledObject,
    /// Schedule.
    CronJob,
    /// Who may connect to the pods.
    NetworkPolicy,
    /// Publication, in the interceptor's namespace.
    Ingress,
}

/// One object as it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The whole object, `apiVersion` and `kind` included.
    pub json: serde_json::Value,
}

/// Why a Function cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// It does not come from the API server.
    #[error("the function has no {0}")]
    Incomplete(&'static str),
    /// Neither an image nor code of a runtime that this version knows.
    #[error("the function has neither an image nor code for a known runtime")]
    NoWorkload,
    /// A cron trigger without a schedule, stored by an older CRD.
    #[error("the cron trigger has no schedule")]
    NoSchedule,
    /// Two bindings inject one name.
    #[error("{0}")]
    Ambiguous(Clash),
    /// An object has no JSON form.
    #[error("cannot serialise the {kind:?}")]
    Serialize {
        /// Its kind.
        kind: Kind,
        /// What serde says.
        source: serde_json::Error,
    },
}

/// Everything that `input` needs, in the order in which it is to be applied: what a pod mounts and
/// who may reach it before the pods, the scaler after what it scales, publication last.
pub fn render(input: &Input<'_>, settings: &Settings) -> Result<Vec<Object>, RenderError> {
    let subject = Subject::new(input, settings)?;
    if let Some(clash) = clashes(input).into_iter().find(Clash::is_ambiguous) {
        return Err(RenderError::Ambiguous(clash));
    }
    let spec = subject.spec();
    let mut objects = Vec::new();
    if let Some(config_map) = config_map::config_map(&subject) {
        objects.push(object(Kind::ConfigMap, &config_map.metadata, &config_map)?);
    }
    if spec.is_http() {
        let service = service::service(&subject);
        objects.push(object(Kind::Service, &service.metadata, &service)?);
    }
    if spec.is_http() || subject.event().is_some() {
        if settings.network_policy {
            let policy = network_policy::network_policy(&subject);
            objects.push(object(Kind::NetworkPolicy, &policy.metadata, &policy)?);
        }
        let deployment = deployment::deployment(&subject);
        objects.push(object(Kind::Deployment, &deployment.metadata, &deployment)?);
        let authentication = subject
            .event()
            .and_then(|event| trigger_authentication::trigger_authentication(&subject, event));
        if let Some(authentication) = authentication {
            let kind = Kind::TriggerAuthentication;
            objects.push(object(kind, &authentication.metadata, &authentication)?);
        }
        let scaled_object = scaled_object::scaled_object(&subject);
        objects.push(object(Kind::ScaledObject, &scaled_object.metadata, &scaled_object)?);
    }
    if let Some(trigger) = spec.cron_trigger() {
        let cron_job = cron_job::cron_job(&subject, trigger)?;
        objects.push(object(Kind::CronJob, &cron_job.metadata, &cron_job)?);
    }
    if let Some(host) = input.host.filter(|_| spec.is_http()) {
        let ingress = ingress::ingress(&subject, host);
        objects.push(object(Kind::Ingress, &ingress.metadata, &ingress)?);
    }
    Ok(objects)
}

/// Digest of all that the poller of this function reads at its start; `None` without an event
/// trigger, or for what cannot be rendered.
pub fn trigger_digest(input: &Input<'_>, settings: &Settings) -> Option<String> {
    let subject = Subject::new(input, settings).ok()?;
    input.event.map(|event| poller::trigger_digest(&subject, event))
}

fn object(
    kind: Kind,
    metadata: &ObjectMeta,
    value: &impl Serialize,
) -> Result<Object, RenderError> {
    Ok(Object {
        kind,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        json: serde_json::to_value(value)
            .map_err(|source| RenderError::Serialize { kind, source })?,
    })
}

/// What is being rendered, with what several objects need of it worked out once.
struct Subject<'a> {
    input: &'a Input<'a>,
    settings: &'a Settings,
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
    workload: Workload<'a>,
    /// Files of inline code; `None` for an image.
    code: Option<BTreeMap<String, String>>,
}

impl<'a> Subject<'a> {
    fn new(input: &'a Input<'a>, settings: &'a Settings) -> Result<Self, RenderError> {
        fn part<'a>(field: &'a Option<String>, name: &'static str) -> Result<&'a str, RenderError> {
            let text = field.as_deref().filter(|text| !text.is_empty());
            text.ok_or(RenderError::Incomplete(name))
        }
        let meta = &input.function.metadata;
        let name = part(&meta.name, "name")?;
        let workload = input.function.spec.workload().ok_or(RenderError::NoWorkload)?;
        let code = match workload {
            Workload::Image(_) => None,
            Workload::Inline(runtime, source) => Some(code::files(name, runtime, source)),
        };
        Ok(Self {
            input,
            settings,
            name,
            namespace: part(&meta.namespace, "namespace")?,
            uid: part(&meta.uid, "uid")?,
            workload,
            code,
        })
    }

    fn spec(&self) -> &'a FunctionSpec {
        &self.input.function.spec
    }

    /// The event trigger, if its poller is to run. A poller that ends at once would keep a pod from
    /// getting ready, so requests are served without it.
    fn event(&self) -> Option<&'a Event> {
        self.input.event.filter(|event| !(event.refused && self.spec().is_http()))
    }

    fn labels(&self, component: &str) -> BTreeMap<String, String> {
        let spec = self.spec();
        names::labels(self.name, component, spec.main_trigger(), spec.effective_runtime())
    }

    /// Metadata of an object beside the Function.
    fn meta(&self, name: String, component: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(self.labels(component)),
            owner_references: Some(vec![OwnerReference {
                api_version: Function::api_version(&()).into_owned(),
                kind: Function::kind(&()).into_owned(),
                name: self.name.to_owned(),
                uid: self.uid.to_owned(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        }
    }

    /// Digest of what the pods read once, at their start: code, Secret, bindings.
    fn config_digest(&self) -> String {
        let files = self.code.iter().flatten().flat_map(|(file, text)| [file, text]);
        let bindings = self.input.bindings.iter().map(|binding| &binding.digest);
        let parts = files.map(String::as_str);
        let parts = parts.chain([self.input.secret_digest.unwrap_or_default()]);
        digest(parts.chain(bindings.map(String::as_str)).map(str::as_bytes))
    }
}

/// Whole seconds as Kubernetes counts them.
fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

//! What a rendering is made of: one Function, what was gathered for it, and the installation's
//! settings.

use std::collections::{BTreeMap, BTreeSet};

use kipper_function::Function;

use crate::plan::{Binding, Event};

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
    /// Host and port of each shard of the scaler adapters, as KEDA reaches it; never empty.
    pub scaler_addresses: Vec<String>,
    /// `host:port` of every scaler adapter, as pollers reach it; `None` where nothing is scaled ahead of
    /// the HPA.
    pub backlog_address: Option<String>,
    /// Whether function pods accept connections from interceptors only.
    pub network_policy: bool,
    /// Whether the root of every container is read-only, that of inline code without a volume too.
    pub read_only_root: bool,
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

//! What a Function needs in the cluster, as objects: a pure function of the Function, what its
//! bindings and Secrets hold, and the installation's settings.
//!
//! No I/O, clock, randomness or environment. Objects are complete for server-side apply by one
//! field manager: what is left out is somebody else's (`spec.replicas` is KEDA's) or is removed.

mod code;
mod config_map;
mod container;
mod cron_job;
mod deployment;
mod env;
mod error;
mod ingress;
mod input;
mod network_policy;
mod pod;
mod poller;
mod revision;
mod scaled_object;
mod service;
mod subject;
mod trigger_authentication;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kipper_trigger::{Value, Variable};
use serde::Serialize;

use crate::plan::{Kind, Object, Stamp};
use subject::Subject;

pub use env::{Clash, Holder};
pub use error::RenderError;
pub use input::{IngressSettings, Input, Settings};

/// A Function that can be rendered, as far as is known before its objects are made.
pub struct Draft<'a> {
    subject: Subject<'a>,
    clashes: Vec<Clash>,
}

impl<'a> Draft<'a> {
    /// Of what was gathered.
    ///
    /// # Errors
    /// When the Function has nothing that could run.
    pub fn new(input: &'a Input<'a>, settings: &'a Settings) -> Result<Self, RenderError> {
        let mut subject = Subject::new(input, settings)?;
        subject.trigger_digest = input.event.map(|event| poller::trigger_digest(&subject, event));
        let clashes = env::clashes(&subject.holders);
        Ok(Self { subject, clashes })
    }

    /// Digest of all that the poller of this function reads at its start; `None` without an event
    /// trigger.
    pub fn trigger_digest(&self) -> Option<&str> {
        self.subject.trigger_digest.as_deref()
    }

    /// What the poller of this function is started with; empty without an event trigger.
    pub(crate) fn poller_environment(&self) -> Vec<(Variable, Value)> {
        let event = self.subject.event();
        event.map(|event| poller::environment(&self.subject, event)).unwrap_or_default()
    }

    /// Names that are declared more than once, or that Kipper keeps for itself; sorted by name.
    pub fn clashes(&self) -> &[Clash] {
        &self.clashes
    }

    /// The spec as a revision of the function. `stamp` is asked for the number of the one with this name.
    ///
    /// # Errors
    /// When something is missing.
    pub fn revision(&self, stamp: impl FnOnce(&str) -> Stamp) -> Result<Object, RenderError> {
        let revision = revision::revision(&self.subject, stamp)?;
        object(Kind::ControllerRevision, &revision.metadata, &revision)
    }

    /// Every other object, in the order in which they are to be applied: what a pod mounts and who may
    /// reach it before the pods, the scaler after what it scales, publication last. `refused`: a
    /// poller found that this very trigger cannot work.
    ///
    /// # Errors
    /// When two bindings inject one name, or something is missing.
    pub fn objects(mut self, refused: bool) -> Result<Vec<Object>, RenderError> {
        if let Some(clash) = self.clashes.into_iter().find(Clash::is_ambiguous) {
            return Err(RenderError::Ambiguous(clash));
        }
        self.subject.refused = refused;
        let subject = &self.subject;
        let spec = subject.spec();
        let mut objects = Vec::new();
        if let Some(config_map) = config_map::config_map(subject) {
            objects.push(object(Kind::ConfigMap, &config_map.metadata, &config_map)?);
        }
        if spec.is_http() {
            let service = service::service(subject);
            objects.push(object(Kind::Service, &service.metadata, &service)?);
        }
        if spec.is_http() || subject.event().is_some() {
            serving(subject, &mut objects)?;
        }
        if let Some(trigger) = spec.cron_trigger() {
            let cron_job = cron_job::cron_job(subject, trigger)?;
            objects.push(object(Kind::CronJob, &cron_job.metadata, &cron_job)?);
        }
        if let Some(host) = subject.input.host.filter(|_| spec.is_http()) {
            let ingress = ingress::ingress(subject, host);
            objects.push(object(Kind::Ingress, &ingress.metadata, &ingress)?);
        }
        Ok(objects)
    }
}

/// Pods that serve, who may connect to them, and what scales them.
fn serving(subject: &Subject<'_>, objects: &mut Vec<Object>) -> Result<(), RenderError> {
    if subject.settings.network_policy {
        let policy = network_policy::network_policy(subject);
        objects.push(object(Kind::NetworkPolicy, &policy.metadata, &policy)?);
    }
    let deployment = deployment::deployment(subject);
    objects.push(object(Kind::Deployment, &deployment.metadata, &deployment)?);
    let event = subject.event();
    let authentication =
        event.and_then(|event| trigger_authentication::trigger_authentication(subject, event));
    if let Some(authentication) = authentication {
        let kind = Kind::TriggerAuthentication;
        objects.push(object(kind, &authentication.metadata, &authentication)?);
    }
    let scaled_object = scaled_object::scaled_object(subject);
    objects.push(object(Kind::ScaledObject, &scaled_object.metadata, &scaled_object)?);
    Ok(())
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

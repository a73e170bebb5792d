//! What one pass over a Function hands on: `gather` and `trigger` say what a workload needs, `render`
//! makes objects of it, `apply` and `status` take the outcome.
//!
//! Types and the bound of what they say, and no module of a stage: every stage may use them. A pass ends in [`Outcome::Apply`]
//! or [`Outcome::Blocked`]; what is blocked leaves the workload as it is.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kipper_function::{function::SecretKeyStatus, names, service::ServiceKind};
use kipper_trigger::SecretKey;

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
    /// A spec that was applied.
    ControllerRevision,
}

impl Kind {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Service => "Service",
            Self::Deployment => "Deployment",
            Self::TriggerAuthentication => "TriggerAuthentication",
            Self::ScaledObject => "ScaledObject",
            Self::CronJob => "CronJob",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Ingress => "Ingress",
            Self::ControllerRevision => "ControllerRevision",
        }
    }
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

/// Which revision of its function a spec is, and how it came to be the present one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its number.
    pub number: i64,
    /// When the function was given the spec.
    pub changed_at: Option<Time>,
    /// Field manager that gave it.
    pub changed_by: Option<String>,
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
}

/// How the reservation of a host ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reservation {
    /// The host is this function's.
    Reserved(String),
    /// Somebody else has it.
    Taken { host: String, owner: String },
    /// There is no such host.
    Invalid(String),
}

/// Longest message in the status of a Function, in characters.
pub(crate) const MAX_MESSAGE: usize = 2000;

/// The message, with so many characters at the most.
pub(crate) fn clipped(mut message: String, most: usize) -> String {
    if let Some((end, _)) = message.char_indices().nth(most) {
        message.truncate(end);
    }
    message
}

/// Reason and message of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Reason {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// What a block is about, and so which condition tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concern {
    /// The Function as a whole.
    Function,
    /// Its bindings.
    Bindings,
    /// Its event trigger.
    Trigger,
    /// Environment variables of which nothing says whose value is meant.
    Environment,
    /// An object whose name somebody else has.
    Name,
}

/// Why the workload is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) concern: Concern,
    pub(crate) reason: Reason,
    /// No watch will tell when it is over: try again.
    pub(crate) retry: bool,
}

impl Blocked {
    pub(crate) fn new(concern: Concern, reason: &'static str, message: impl Into<String>) -> Self {
        Self { concern, reason: Reason::new(reason, message), retry: false }
    }

    /// The same, to be tried again.
    pub(crate) fn retried(self) -> Self {
        Self { retry: true, ..self }
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// Told in the Function's status.
    #[error("{}", .0.reason.message)]
    Blocked(Blocked),
}

impl From<Blocked> for PlanError {
    fn from(blocked: Blocked) -> Self {
        Self::Blocked(blocked)
    }
}

/// An event trigger that its own poller found not to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Of the trigger.
    pub(crate) digest: String,
    pub(crate) reason: Reason,
}

/// What is applied.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In the order in which they are applied.
    pub(crate) objects: Vec<Object>,
    /// Those that stay; what earlier ones had is removed.
    pub(crate) bindings: Vec<Binding>,
    pub(crate) refusal: Option<Refusal>,
    /// Why the source does not do now what the trigger needs.
    pub(crate) source: Option<Reason>,
    /// The trigger was not tried against its source yet.
    pub(crate) is_untried: bool,
    /// When to look at the trigger again, where nothing will ask for it.
    pub(crate) again: Option<Duration>,
    /// What is to be known of a trigger that works.
    pub(crate) notice: Option<Reason>,
    /// Environment variables that are given more than once, and which of them counts.
    pub(crate) clash: Option<Reason>,
}

impl Plan {
    /// Digest of the serving pods' template, if there are any.
    pub(crate) fn template(&self) -> Option<&str> {
        let deployment = self.objects.iter().find(|object| object.kind == Kind::Deployment)?;
        let annotations = deployment.json.pointer("/spec/template/metadata/annotations")?;
        annotations[names::TEMPLATE_DIGEST].as_str()
    }
}

/// How a pass ended before anything was applied.
#[derive(Debug)]
pub(crate) enum Outcome {
    Apply(Box<Plan>),
    Blocked(Blocked),
}

/// How the plan was carried out.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Digest of the objects, if all are as rendered.
    pub(crate) digest: Option<String>,
    pub(crate) blocked: Option<Blocked>,
}

/// What one pass found out.
#[derive(Debug)]
pub(crate) struct Pass {
    /// Of a function with an http trigger.
    pub(crate) reservation: Option<Reservation>,
    pub(crate) secret_keys: Vec<SecretKeyStatus>,
    pub(crate) outcome: Outcome,
}

impl Pass {
    /// One that found nothing but this.
    pub(crate) fn blocked(blocked: Blocked) -> Self {
        let outcome = Outcome::Blocked(blocked);
        Self { reservation: None, secret_keys: Vec::new(), outcome }
    }
}

//! Effective values of a Function: what is stored, with every default applied.
//!
//! The one place that knows the defaults. A value out of range (an object older than the schema)
//! counts as absent; nothing here fails.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    spec::{Function, FunctionSpec, Resources, ServiceBinding, Source, Trigger},
    status::FunctionStatus,
};
use crate::{
    cron::Schedule,
    kinds::{DeletionPolicy, Phase, Protocol, Runtime, TriggerKind},
    names, quantity,
};

pub use super::defaults::*;

/// What the pod's readiness probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness<'a> {
    /// `GET <path>` answers 200..=399.
    Http(&'a str),
    /// The port accepts a connection.
    Tcp,
}

/// Image or inline code: exactly one of them, when the spec is valid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Workload<'a> {
    /// A container image of the user's own.
    Image(&'a str),
    /// Code run by one of the runtimes.
    Inline(Runtime, &'a Source),
}

/// Text of an optional field; empty counts as absent, as an omitted Go string does.
fn text(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|text| !text.is_empty())
}

/// A count or a number of seconds; negative counts as absent.
fn unsigned<T: TryInto<U>, U>(value: Option<T>) -> Option<U> {
    value.and_then(|value| value.try_into().ok())
}

impl FunctionSpec {
    /// The image, when there is one.
    pub fn image(&self) -> Option<&str> {
        text(&self.image)
    }

    /// The inline code, when there is some.
    pub fn inline(&self) -> Option<&Source> {
        let has_code = |source: &&Source| text(&source.code).is_some() || !source.files.is_empty();
        self.source.as_ref().filter(has_code)
    }

    /// Name of the inline code's handler, where it is not one that the runtime looks for.
    pub fn handler(&self) -> Option<&str> {
        self.inline().and_then(|source| text(&source.handler))
    }

    /// Image or inline code; an image wins, `None` when neither can run.
    pub fn workload(&self) -> Option<Workload<'_>> {
        match (self.image(), self.inline()) {
            (Some(image), _) => Some(Workload::Image(image)),
            (None, Some(source)) => {
                self.effective_runtime().map(|runtime| Workload::Inline(runtime, source))
            }
            (None, None) => None,
        }
    }

    /// Runtime of inline code. `None` for an image (older CRDs stored `node` there too) and for a
    /// word this version does not know.
    pub fn effective_runtime(&self) -> Option<Runtime> {
        if self.image().is_some() {
            return None;
        }
        match text(&self.runtime) {
            Some(word) => Runtime::parse(word),
            None => Some(Runtime::Node),
        }
    }

    /// Port the function listens on.
    pub fn port(&self) -> u16 {
        unsigned(self.port).filter(|port| *port != 0).unwrap_or(DEFAULT_PORT)
    }

    /// Idle time before scale-to-zero; a stored 0 is the default.
    pub fn idle_timeout(&self) -> Duration {
        unsigned(self.idle_timeout_seconds)
            .filter(|seconds| *seconds != 0)
            .map_or(DEFAULT_IDLE_TIMEOUT, Duration::from_secs)
    }

    /// Replicas kept while idle; never more than [`FunctionSpec::max_replicas`].
    pub fn min_replicas(&self) -> u32 {
        unsigned(self.scaling.as_ref().and_then(|scaling| scaling.min_replicas))
            .unwrap_or(DEFAULT_MIN_REPLICAS)
            .min(self.max_replicas())
    }

    /// Replicas never exceeded; at least 1.
    pub fn max_replicas(&self) -> u32 {
        unsigned(self.scaling.as_ref().and_then(|scaling| scaling.max_replicas))
            .filter(|replicas| *replicas != 0)
            .unwrap_or(DEFAULT_MAX_REPLICAS)
    }

    /// Requests per second one replica is expected to take; above zero.
    pub fn target_request_rate(&self) -> f64 {
        self.scaling
            .as_ref()
            .and_then(|scaling| scaling.target_request_rate)
            .filter(|rate| rate.is_finite() && *rate > 0.0)
            .unwrap_or(DEFAULT_TARGET_REQUEST_RATE)
    }

    /// Requests in flight a pod never exceeds; 0 is no limit.
    pub fn concurrency(&self) -> u32 {
        unsigned(self.scaling.as_ref().and_then(|scaling| scaling.concurrency)).unwrap_or(0)
    }

    /// Replicas up to which it is scaled ahead of the HPA; 0 where that is switched off.
    pub fn burst_max_replicas(&self) -> u32 {
        let is_on = self.scaling.as_ref().and_then(|scaling| scaling.burst).unwrap_or(true);
        if is_on { self.replica_limits().1 } else { 0 }
    }

    /// How long a request is held for a waking pod.
    pub fn cold_start_timeout(&self) -> Duration {
        unsigned(self.timeouts.as_ref().and_then(|timeouts| timeouts.cold_start_seconds))
            .filter(|seconds| *seconds != 0)
            .map_or(DEFAULT_COLD_START_TIMEOUT, Duration::from_secs)
    }

    /// From the request's last byte to the response's head.
    pub fn response_header_timeout(&self) -> Duration {
        unsigned(self.timeouts.as_ref().and_then(|timeouts| timeouts.response_header_seconds))
            .filter(|seconds| *seconds != 0)
            .map_or(DEFAULT_RESPONSE_HEADER_TIMEOUT, Duration::from_secs)
    }

    /// The whole request once forwarded; `None` is no limit.
    pub fn request_timeout(&self) -> Option<Duration> {
        unsigned(self.timeouts.as_ref().and_then(|timeouts| timeouts.request_seconds))
            .filter(|seconds| *seconds != 0)
            .map(Duration::from_secs)
    }

    /// How long a run of the cron trigger may take: one that never ended would hold up all later
    /// ones.
    pub fn cron_deadline(&self) -> Duration {
        unsigned(self.cron_trigger().and_then(|trigger| trigger.deadline_seconds))
            .filter(|seconds| *seconds != 0)
            .map(Duration::from_secs)
            .or_else(|| self.request_timeout())
            .unwrap_or(DEFAULT_CRON_DEADLINE)
    }

    /// What the readiness probe asks.
    pub fn readiness(&self) -> Readiness<'_> {
        match text(&self.readiness_path) {
            Some(path) => Readiness::Http(path),
            None if self.image().is_none() => Readiness::Http(INLINE_HEALTH_PATH),
            None => Readiness::Tcp,
        }
    }

    /// Protocol spoken to the pod; an unknown word is `auto`.
    pub fn protocol(&self) -> Protocol {
        text(&self.protocol).and_then(Protocol::parse).unwrap_or(Protocol::Auto)
    }

    /// CPU reserved for a pod.
    pub fn cpu_request(&self) -> &str {
        self.resource(|resources| &resources.cpu_request)
            .or_else(|| self.cpu_limit().filter(|limit| less(limit, DEFAULT_CPU_REQUEST)))
            .unwrap_or(DEFAULT_CPU_REQUEST)
    }

    /// CPU a pod may not exceed.
    pub fn cpu_limit(&self) -> Option<&str> {
        self.resource(|resources| &resources.cpu_limit)
    }

    /// Memory reserved for a pod: the default, or the limit where that is lower.
    pub fn memory_request(&self) -> &str {
        let own = |limit: &&str| less(limit, DEFAULT_MEMORY_REQUEST);
        self.resource(|resources| &resources.memory_request)
            .or_else(|| self.resource(|resources| &resources.memory_limit).filter(own))
            .unwrap_or(DEFAULT_MEMORY_REQUEST)
    }

    /// Memory a pod may use: the default, or the request where that is higher, because Kubernetes
    /// refuses a limit below its request.
    pub fn memory_limit(&self) -> &str {
        let own = |request: &&str| less(DEFAULT_MEMORY_LIMIT, request);
        self.resource(|resources| &resources.memory_limit)
            .or_else(|| self.resource(|resources| &resources.memory_request).filter(own))
            .unwrap_or(DEFAULT_MEMORY_LIMIT)
    }

    /// What a pod may write to `/tmp`.
    pub fn tmp_limit(&self) -> &str {
        self.resource(|resources| &resources.tmp_limit).unwrap_or(DEFAULT_TMP_LIMIT)
    }

    fn resource(&self, field: fn(&Resources) -> &Option<String>) -> Option<&str> {
        self.resources.as_ref().and_then(|resources| text(field(resources)))
    }

    /// True when HTTP requests from outside invoke the function: an http trigger, or none at all.
    pub fn is_http(&self) -> bool {
        self.triggers.is_empty() || self.http_trigger().is_some()
    }

    /// The declared http trigger. Absent with an empty list too, where http is implied: ask
    /// [`FunctionSpec::is_http`].
    pub fn http_trigger(&self) -> Option<&Trigger> {
        self.trigger(|kind| kind == TriggerKind::Http)
    }

    /// The cron trigger.
    pub fn cron_trigger(&self) -> Option<&Trigger> {
        self.trigger(|kind| kind == TriggerKind::Cron)
    }

    /// The schedule of the cron trigger, in its time zone; `None` where it cannot be read.
    pub fn schedule(&self) -> Option<Schedule> {
        let trigger = self.cron_trigger()?;
        Schedule::parse_in(trigger.schedule()?, trigger.time_zone()).ok()
    }

    /// The event trigger.
    pub fn event_trigger(&self) -> Option<&Trigger> {
        self.trigger(TriggerKind::is_event)
    }

    /// True when a Deployment serves the function; a function with only a cron trigger runs as
    /// Jobs.
    pub fn is_served(&self) -> bool {
        self.is_http() || self.event_trigger().is_some()
    }

    /// What the function is mainly for, as the `kipper.run/trigger` label says it: event before
    /// cron before http.
    pub fn main_trigger(&self) -> TriggerKind {
        self.event_trigger()
            .or_else(|| self.cron_trigger())
            .and_then(Trigger::kind)
            .unwrap_or(TriggerKind::Http)
    }

    fn trigger(&self, wanted: impl Fn(TriggerKind) -> bool) -> Option<&Trigger> {
        self.triggers.iter().find(|trigger| trigger.kind().is_some_and(&wanted))
    }
}

/// Compares two quantities; a malformed one is never less.
fn less(a: &str, b: &str) -> bool {
    matches!((quantity::parse(a), quantity::parse(b)), (Ok(a), Ok(b)) if a < b)
}

impl Trigger {
    /// The kind; `None` for a word of another version.
    pub fn kind(&self) -> Option<TriggerKind> {
        TriggerKind::parse(&self.type_)
    }

    /// The schedule, when there is one.
    pub fn schedule(&self) -> Option<&str> {
        text(&self.schedule)
    }

    /// The schedule's time zone, where it names one.
    pub fn time_zone(&self) -> Option<&str> {
        text(&self.time_zone)
    }
}

impl ServiceBinding {
    /// The database that the function is to use instead of its own one.
    pub fn database(&self) -> Option<&str> {
        text(&self.database)
    }

    /// True when database and user go with the binding. An unknown word keeps them: what is dropped
    /// does not come back.
    pub fn deletes_database(&self) -> bool {
        text(&self.deletion_policy).and_then(DeletionPolicy::parse) == Some(DeletionPolicy::Delete)
    }
}

impl FunctionStatus {
    /// The phase; `None` before the first reconcile.
    pub fn phase(&self) -> Option<Phase> {
        text(&self.phase).and_then(Phase::parse)
    }

    /// A condition by its type.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// True when that condition is `True`.
    pub fn is_true(&self, type_: &str) -> bool {
        self.condition(type_).is_some_and(|condition| condition.status == "True")
    }
}

impl Function {
    /// True when the function opted in to one replay of idempotent methods (GET, HEAD, OPTIONS,
    /// PUT, DELETE) after a connection failed mid-request.
    pub fn retries_idempotent(&self) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        annotations
            .and_then(|annotations| annotations.get(names::RETRY_IDEMPOTENT))
            .is_some_and(|value| value == "true")
    }
}

//! Names, labels and annotations: what the parts find each other's objects by.
//!
//! Pure text. Every name derived from a Function's is made here and nowhere else, so that the
//! CLI finds what the controller made.

use std::collections::BTreeMap;

use crate::{
    kinds::{Runtime, TriggerKind},
    service::ServiceKind,
};

/// Longest Function name: a CronJob's name has 52 characters and `-cron` takes five of them.
pub const MAX_NAME_LEN: usize = 47;

/// Characters of a digest in a name.
pub const DIGEST_LEN: usize = 10;

/// API group of our resources.
pub const GROUP: &str = "kipper.run";
/// Value of [`MANAGED_BY`] and [`PART_OF`].
pub const KIPPER: &str = "kipper";

/// Label with the function's name, on every pod: logs are selected by it.
pub const APP: &str = "app";
/// Recommended label: the function.
pub const NAME: &str = "app.kubernetes.io/name";
/// Recommended label: the function again; one installation has one instance.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Recommended label: [`SERVER`] or [`BATCH`].
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Recommended label: [`KIPPER`].
pub const PART_OF: &str = "app.kubernetes.io/part-of";
/// Recommended label: [`KIPPER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// What kind of Kipper resource an object belongs to.
pub const RESOURCE_TYPE: &str = "kipper.run/resource-type";
/// Main trigger of the function.
pub const TRIGGER: &str = "kipper.run/trigger";
/// Runtime of inline code.
pub const RUNTIME: &str = "kipper.run/runtime";
/// Set to `true` on the Jobs and pods of a test run.
pub const TEST_RUN: &str = "kipper.run/test-run";

/// Component of pods that serve requests: the only ones a Service selects.
pub const SERVER: &str = "server";
/// Component of cron and test pods: no request ever reaches them.
pub const BATCH: &str = "batch";
/// Value of [`RESOURCE_TYPE`] for functions.
pub const FUNCTION: &str = "function";
/// Selector of everything that belongs to functions.
pub const FUNCTION_SELECTOR: &str = "kipper.run/resource-type=function";

/// Label by which Kubernetes names the Service of an EndpointSlice.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Name of the function's port in its Service, and so in its EndpointSlices.
pub const HTTP_PORT: &str = "http";

/// Name of the container that runs the function, in every pod of it.
pub const CONTAINER: &str = "function";

/// Name of the volume with the inline code, in every pod that mounts it.
pub const CODE_VOLUME: &str = "code";

/// The variable with the paths of inline code that travels in the environment, one per
/// line: none has a control character in it.
pub const FILES_VARIABLE: &str = "KIPPER_FILES";

/// The variable with the text of the file at this place in that list.
pub fn file_variable(place: usize) -> String {
    format!("KIPPER_FILE_{place}")
}

/// Name of the volume behind `/tmp`, in every pod that has one of its own.
pub const TMP_VOLUME: &str = "tmp";

/// Name of the container that polls a source and posts its events to the function.
pub const POLLER_CONTAINER: &str = "kipper-poll";

/// Name of its port with metrics and probes.
pub const POLLER_ADMIN_PORT: &str = "poll-admin";

/// Finalizer that removes what an owner reference cannot: Ingress, host claim, databases, and the
/// Secret of a minio trigger.
pub const FINALIZER: &str = "kipper.run/function-cleanup";
/// Value of [`RESOURCE_TYPE`] on the claim of a host: the Lease, beside the controller, that is named after it.
pub const HOST_CLAIM: &str = "host-claim";
/// Annotation on the claim of a host: the [`crate::route::Route`] of the function that has it.
pub const ROUTE: &str = "kipper.run/route";
/// Annotation on a Function: `true` lets idempotent requests be replayed once.
pub const RETRY_IDEMPOTENT: &str = "kipper.run/retry-idempotent";
/// Annotation on pod templates: digest of the code, Secrets and bindings the pods start with, so
/// that a change of any of them replaces the pods.
pub const CONFIG_DIGEST: &str = "kipper.run/config-digest";
/// Annotation on pod templates with a poller: digest of all that it reads at its start. A change
/// replaces the pods, and what one said of its trigger holds for the trigger with that digest.
pub const TRIGGER_DIGEST: &str = "kipper.run/trigger-digest";
/// Annotation on the template of serving pods: digest of all the rest of it. By it a pod is known as one
/// of the present version, whose failures are the function's.
pub const TEMPLATE_DIGEST: &str = "kipper.run/template-digest";
/// Label, `true`, on the Secrets by which the bucket watcher knows of functions with a minio
/// trigger; they are in its own namespace.
pub const BUCKET_TRIGGER: &str = "kipper.run/bucket-trigger";
/// Annotation on objects outside the function's namespace, where no owner reference can point
/// back: `<namespace>/<name>` of the Function.
pub const FUNCTION_ANNOTATION: &str = "kipper.run/function";
/// Annotation on `<fn>-secrets`: a JSON object, key to the time (RFC 3339) at which the key was
/// last given another value.
pub const SECRET_ROTATIONS: &str = "kipper.run/secret-rotations";

/// Annotation on a Function, and from there on the template of the pods that serve: another value
/// replaces the pods. `kip function restart` writes the time.
pub const RESTARTED_AT: &str = "kipper.run/restarted-at";
/// Annotation on a ControllerRevision: what is known of it beside its spec, as JSON
/// ([`crate::revision::Record`]).
pub const REVISION: &str = "kipper.run/revision";
/// kubectl's annotation with the cause of a change; a Function's is copied to its revision.
pub const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

/// Field manager of everything the controller applies.
pub const FIELD_MANAGER: &str = "kipper-controller";

/// Types of a Function's conditions.
pub mod condition {
    /// Everything declared is in place.
    pub const READY: &str = "Ready";
    /// The host belongs to this function; the interceptor routes only then.
    pub const HOST_RESERVED: &str = "HostReserved";
    /// Every bound service exists and its credentials could be read.
    pub const BINDINGS_RESOLVED: &str = "BindingsResolved";
    /// The trigger's settings can work.
    pub const TRIGGER_VALID: &str = "TriggerValid";
    /// KEDA has taken up the function's ScaledObject. There while there is one.
    pub const SCALER_READY: &str = "ScalerReady";
    /// The schedule's runs start when they are due. There while there is a cron trigger.
    pub const ON_SCHEDULE: &str = "OnSchedule";
    /// The last run of the schedule that ended did so well. There once one has ended.
    pub const LAST_RUN_SUCCEEDED: &str = "LastRunSucceeded";
    /// Deliveries of events succeed. There while a poller runs.
    pub const EVENTS_DELIVERED: &str = "EventsDelivered";
    /// An object of a name this function needs belongs to somebody else.
    pub const NAME_TAKEN: &str = "NameTaken";
    /// There while a sudden load of the function waits for the HPA, although it asks for more.
    pub const BURST_UNAVAILABLE: &str = "BurstUnavailable";
    /// There while an environment variable is given by more than one. Where precedence says which
    /// value is meant, the function is none the less ready.
    pub const ENVIRONMENT_CLASH: &str = "EnvironmentClash";
}

/// Why a name cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("must not be empty")]
    Empty,
    /// It is longer than this.
    #[error("must be at most {0} characters")]
    TooLong(usize),
    /// It is no DNS-1035 label.
    #[error(
        "must consist of lower-case letters, digits and '-', start with a letter and end with a letter or digit"
    )]
    Malformed,
}

/// Checks the name of a Function: a DNS-1035 label of at most [`MAX_NAME_LEN`] characters.
pub fn check_function_name(name: &str) -> Result<(), NameError> {
    check_dns_1035(name, MAX_NAME_LEN)
}

/// Checks the name of a Service or volume: a DNS-1035 label of at most 63 characters.
pub fn check_label(name: &str) -> Result<(), NameError> {
    check_dns_1035(name, 63)
}

fn check_dns_1035(name: &str, max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let first = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !first || name.ends_with('-') || !name.bytes().all(allowed) {
        return Err(NameError::Malformed);
    }
    if name.len() > max { Err(NameError::TooLong(max)) } else { Ok(()) }
}

/// Secret with what the poller and the scaler of an event trigger need to reach its source.
pub fn trigger_secret(function: &str) -> String {
    format!("{function}-trigger")
}

/// TriggerAuthentication that gives that Secret to KEDA.
pub fn trigger_authentication(function: &str) -> String {
    format!("{function}-trigger-auth")
}

/// Secret of a minio trigger, in the bucket watcher's namespace; the dots keep namespace and name
/// apart.
pub fn bucket_secret(namespace: &str, function: &str) -> String {
    format!("bucket.{namespace}.{function}")
}

/// ConfigMap with the inline code whose digest this is. It is immutable: other code has another one.
pub fn code_config_map(function: &str, digest: &str) -> String {
    format!("{function}-code-{}", short(digest))
}

/// ConfigMap with the inline code from before there were revisions: the one of all code, overwritten.
pub fn former_code_config_map(function: &str) -> String {
    format!("{function}-code")
}

/// ControllerRevision of the spec whose digest this is.
pub fn revision(function: &str, digest: &str) -> String {
    format!("{function}-{}", short(digest))
}

/// The part of a hex digest that names carry: with it the longest is still a DNS label.
fn short(digest: &str) -> &str {
    digest.get(..DIGEST_LEN).unwrap_or(digest)
}

/// Secret mounted as environment.
pub fn secrets(function: &str) -> String {
    format!("{function}-secrets")
}

/// CronJob of a cron trigger.
pub fn cron_job(function: &str) -> String {
    format!("{function}-cron")
}

/// Job of one test run; the caller draws the number.
pub fn test_job(function: &str, run: u32) -> String {
    format!("{function}-test-{run:08x}")
}

/// Whether a pod of `function` belongs to a test run, where only its name is known.
pub fn is_test_pod(function: &str, pod: &str) -> bool {
    pod.strip_prefix(function).is_some_and(|rest| rest.starts_with("-test-"))
}

/// PersistentVolumeClaim of a Kipper volume.
pub fn volume_claim(volume: &str) -> String {
    format!("shared-{volume}")
}

/// Secret with the credentials of a Service.
pub fn service_credentials(service: &str) -> String {
    format!("{service}-credentials")
}

/// Secret with the function's own credentials for a database Service it binds. Neither part holds
/// a dot, so no two bindings share a name.
pub fn binding_secret(function: &str, service: &str) -> String {
    format!("{function}.{service}")
}

/// Ingress of a function, in the interceptor's namespace; the dots keep namespace and name apart.
pub fn ingress(namespace: &str, function: &str) -> String {
    format!("fn.{namespace}.{function}")
}

/// Selector of the pods that serve `function`.
pub fn server_selector(function: &str) -> BTreeMap<String, String> {
    pairs([(APP, function), (COMPONENT, SERVER)])
}

/// Selector of the interceptors' pods, as the chart labels them.
pub fn interceptor_selector() -> BTreeMap<String, String> {
    pairs([(NAME, "kipper-functions"), (COMPONENT, "interceptor")])
}

/// Labels of every object of `function`; `component` is [`SERVER`] or [`BATCH`].
pub fn labels(
    function: &str,
    component: &str,
    trigger: TriggerKind,
    runtime: Option<Runtime>,
) -> BTreeMap<String, String> {
    let mut labels = pairs([
        (APP, function),
        (NAME, function),
        (INSTANCE, function),
        (COMPONENT, component),
        (PART_OF, KIPPER),
        (MANAGED_BY, KIPPER),
        (RESOURCE_TYPE, FUNCTION),
        (TRIGGER, trigger.as_str()),
    ]);
    if let Some(runtime) = runtime {
        labels.insert(RUNTIME.to_owned(), runtime.as_str().to_owned());
    }
    labels
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Longest database name, in bytes, per engine.
const fn max_database_len(kind: ServiceKind) -> usize {
    match kind {
        ServiceKind::Mysql => 64,
        // Postgres truncates at 63 bytes; MongoDB's limit is "below 64 bytes".
        _ => 63,
    }
}

/// Longest user name, in bytes, per engine.
const fn max_user_len(kind: ServiceKind) -> usize {
    match kind {
        ServiceKind::Mysql => 32,
        _ => 63,
    }
}

/// Database of `function` in `service`: `<service>_<function>_<env>`, sanitised and truncated to
/// what the engine holds.
pub fn database(kind: ServiceKind, service: &str, function: &str, env: &str) -> String {
    identifier(&[service, function, env], max_database_len(kind))
}

/// User of `function` in `service`; its name is the database's where the engine is long enough.
pub fn database_user(kind: ServiceKind, service: &str, function: &str, env: &str) -> String {
    identifier(&[service, function, env], max_user_len(kind))
}

/// Joins `parts` with `_` into an identifier of at most `max` bytes: a letter, then lower-case
/// letters, digits and `_`. A truncated one ends in a hash of the whole, so two long names that
/// share their beginning stay apart. The hash is FNV-1a: the names of one service come from one
/// project, so there is nobody to collide on purpose with.
pub fn identifier(parts: &[&str], max: usize) -> String {
    const HASH_LEN: usize = 8;
    let joined = parts.join("_");
    let mut name = String::with_capacity(joined.len() + 1);
    if !joined.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.push('f');
    }
    name.extend(joined.chars().map(|c| {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() { c } else { '_' }
    }));
    if name.len() > max {
        name.truncate(max.saturating_sub(HASH_LEN + 1));
        name.push_str(&format!("_{:08x}", fnv1a(joined.as_bytes())));
    }
    name
}

/// 32-bit FNV-1a (RFC 9923).
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

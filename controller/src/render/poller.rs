//! The poller beside the function: a native sidecar (an init container that is always restarted).
//!
//! The function's start does not wait for it, and it ends after the function, whose `preStop` hook
//! has it finish first. Credentials come from the Secret `<fn>-trigger`; the token of that hook
//! stands in the pod as well, because the headers of a hook are literal.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, HTTPHeader, KeyToPath,
        LifecycleHandler, Probe, ResourceRequirements, SecretKeySelector, SecretVolumeSource,
        Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use kipper_function::{
    function::{effective::Readiness, event::EventTrigger},
    names,
};

use super::{Event, Subject, pod};
use crate::digest::digest;

/// Keys of the Secret `<fn>-trigger` that the poller reads.
pub mod keys {
    /// URL of the source, with user and password.
    pub const URL: &str = "url";
    /// Certificate authority of the source, in PEM.
    pub const CA: &str = "ca";
    /// Access key of a bucket store.
    pub const ACCESS_KEY: &str = "access-key";
    /// Its secret key.
    pub const SECRET_KEY: &str = "secret-key";
    /// What a call of the drain port must bring.
    pub const DRAIN_TOKEN: &str = "drain-token";
}

/// The poller's ports, unless the function has one of them.
const PORTS: [u16; 2] = [9990, 9991];
const OTHER_PORTS: [u16; 2] = [9992, 9993];
/// Name of the port with metrics and probes.
pub(super) const ADMIN_PORT: &str = "poll-admin";
const DRAIN_HEADER: &str = "kipper-drain-token";
const CA_VOLUME: &str = "source-ca";
const CA_PATH: &str = "/var/run/kipper/source";
const CA_FILE: &str = "ca.crt";

/// One thread that mostly waits.
const CPU_REQUEST: &str = "20m";
const MEMORY_REQUEST: &str = "24Mi";
/// Held bodies are at most 16 MiB, beside one that may be larger than that on its own.
const MEMORY_LIMIT: &str = "128Mi";

/// The container.
pub(super) fn container(subject: &Subject<'_>, event: &Event) -> Container {
    let [admin, _] = ports(subject);
    let ca = event.keys.contains(keys::CA);
    let resources = |pairs: &[(&str, &str)]| {
        let quantity = |(name, text): &(&str, &str)| ((*name).to_owned(), Quantity((*text).into()));
        Some(pairs.iter().map(quantity).collect::<BTreeMap<_, _>>())
    };
    Container {
        name: names::POLLER_CONTAINER.to_owned(),
        image: Some(subject.settings.poller_image.clone()),
        image_pull_policy: subject.settings.image_pull_policy.clone(),
        restart_policy: Some("Always".to_owned()),
        env: Some(env(subject, event)),
        ports: Some(vec![ContainerPort {
            name: Some(ADMIN_PORT.to_owned()),
            container_port: admin.into(),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        liveness_probe: Some(probe("/livez", 10, 6)),
        // A pod that also serves requests is ready without its source.
        readiness_probe: (!subject.spec().is_http()).then(|| probe("/readyz", 1, 3)),
        resources: Some(ResourceRequirements {
            requests: resources(&[("cpu", CPU_REQUEST), ("memory", MEMORY_REQUEST)]),
            limits: resources(&[("memory", MEMORY_LIMIT)]),
            claims: None,
        }),
        volume_mounts: ca.then(|| {
            vec![VolumeMount {
                name: CA_VOLUME.to_owned(),
                mount_path: CA_PATH.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            }]
        }),
        // What it said last is what the trigger's condition quotes.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(pod::security()),
        ..Container::default()
    }
}

/// The volume with the source's certificate authority, where it has one of its own.
pub(super) fn volume(subject: &Subject<'_>, event: &Event) -> Option<Volume> {
    let secret = SecretVolumeSource {
        secret_name: Some(names::trigger_secret(subject.name)),
        items: Some(vec![KeyToPath {
            key: keys::CA.to_owned(),
            path: CA_FILE.to_owned(),
            mode: None,
        }]),
        ..SecretVolumeSource::default()
    };
    let volume = Volume { name: CA_VOLUME.to_owned(), secret: Some(secret), ..Volume::default() };
    event.keys.contains(keys::CA).then_some(volume)
}

/// What the function's container does before it is stopped: it waits for the poller, which takes
/// no more events and finishes those it has.
pub(super) fn drain(subject: &Subject<'_>, event: &Event) -> LifecycleHandler {
    let [_, drain] = ports(subject);
    LifecycleHandler {
        http_get: Some(HTTPGetAction {
            path: Some("/drain".to_owned()),
            port: IntOrString::Int(drain.into()),
            http_headers: Some(vec![HTTPHeader {
                name: DRAIN_HEADER.to_owned(),
                value: event.drain_token.clone(),
            }]),
            ..HTTPGetAction::default()
        }),
        ..LifecycleHandler::default()
    }
}

/// Digest of everything the poller reads at its start.
pub(super) fn trigger_digest(subject: &Subject<'_>, event: &Event) -> String {
    let env = env(subject, event);
    let plain = env.iter().filter_map(|variable| Some((&variable.name, variable.value.as_ref()?)));
    let parts = plain.flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    digest(std::iter::once(event.digest.as_str()).chain(parts).map(str::as_bytes))
}

fn ports(subject: &Subject<'_>) -> [u16; 2] {
    if PORTS.contains(&subject.spec().port()) { OTHER_PORTS } else { PORTS }
}

fn env(subject: &Subject<'_>, event: &Event) -> Vec<EnvVar> {
    let spec = subject.spec();
    let mut env = Vec::new();
    let mut plain = |name: &str, value: String| {
        env.push(EnvVar { name: name.to_owned(), value: Some(escaped(&value)), value_from: None });
    };
    let Some(trigger) = spec.event() else { return env };
    let [admin, drain] = ports(subject);
    plain("KIPPER_TRIGGER", trigger.kind.as_str().to_owned());
    plain("KIPPER_POLL_NAMESPACE", subject.namespace.to_owned());
    plain("KIPPER_POLL_FUNCTION", subject.name.to_owned());
    plain("KIPPER_TARGET_URL", format!("http://127.0.0.1:{}/event", spec.port()));
    if let Readiness::Http(path) = spec.readiness() {
        plain("KIPPER_POLL_HEALTH_PATH", path.to_owned());
    }
    plain("KIPPER_POLL_ADMIN_LISTEN", format!("0.0.0.0:{admin}"));
    plain("KIPPER_POLL_DRAIN_LISTEN", format!("0.0.0.0:{drain}"));
    if spec.is_http() {
        plain("KIPPER_POLL_DRAIN_DELAY", format!("{}s", pod::PRE_STOP_SECONDS));
    }
    plain("KIPPER_POLL_MAX_HELD", event.max_held.to_string());
    for (name, value) in settings(&trigger) {
        plain(name, value);
    }
    if event.keys.contains(keys::CA) {
        plain("KIPPER_SOURCE_CA", format!("{CA_PATH}/{CA_FILE}"));
    }
    let secrets = [
        ("KIPPER_SOURCE_URL", keys::URL),
        ("KIPPER_SOURCE_ACCESS_KEY", keys::ACCESS_KEY),
        ("KIPPER_SOURCE_SECRET_KEY", keys::SECRET_KEY),
        ("KIPPER_POLL_DRAIN_TOKEN", keys::DRAIN_TOKEN),
    ];
    for (name, key) in secrets.into_iter().filter(|(_, key)| event.keys.contains(*key)) {
        let selector = SecretKeySelector {
            name: names::trigger_secret(subject.name),
            key: key.to_owned(),
            optional: None,
        };
        let source = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
        env.push(EnvVar { name: name.to_owned(), value: None, value_from: Some(source) });
    }
    env
}

/// The trigger's own settings; what it does not say is left to the poller.
fn settings(trigger: &EventTrigger<'_>) -> Vec<(&'static str, String)> {
    let texts = [
        ("KIPPER_QUERY", "query"),
        ("KIPPER_MARK_DONE", "markDone"),
        ("KIPPER_ON_FAILED", "onFailed"),
        ("KIPPER_REDIS_LIST", "list"),
        ("KIPPER_POLL_LIST_END", "listEnd"),
        ("KIPPER_MINIO_BUCKET", "bucket"),
    ];
    let texts =
        texts.into_iter().filter_map(|(name, key)| Some((name, trigger.setting(key)?.to_owned())));
    let key = trigger.setting("key").map(|key| {
        let columns: Vec<_> = key.split(',').map(str::trim).collect();
        columns.join(",")
    });
    let milliseconds = |duration: std::time::Duration| format!("{}ms", duration.as_millis());
    let deliver_timeout = Some(milliseconds(trigger.deliver_timeout()));
    let others = [
        ("KIPPER_POLL_KEY", key),
        ("KIPPER_POLL_CONCURRENCY", Some(trigger.concurrency().to_string())),
        ("KIPPER_MAX_ATTEMPTS", trigger.max_attempts().map(|attempts| attempts.to_string())),
        ("KIPPER_POLL_INTERVAL", trigger.poll_interval().map(milliseconds)),
        ("KIPPER_POLL_DELIVER_TIMEOUT", deliver_timeout),
        ("KIPPER_POLL_LEASE", trigger.lease().map(milliseconds)),
    ];
    texts.chain(others.into_iter().filter_map(|(name, value)| Some((name, value?)))).collect()
}

/// Kubernetes would put the value of a variable in the place of `$(NAME)`, and `$` in that of `$$`,
/// which begins a literal of PostgreSQL's.
fn escaped(value: &str) -> String {
    value.replace('$', "$$")
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(ADMIN_PORT.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

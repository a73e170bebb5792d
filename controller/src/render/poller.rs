//! The poller beside the function: a native sidecar (an init container that is always restarted).
//!
//! The function's start does not wait for it, and it ends after the function, whose `preStop` hook
//! has it finish first. Credentials come from the Secret `<fn>-trigger`; the token of that hook
//! stands in the pod as well, because the headers of a hook are literal.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, HTTPHeader, KeyToPath,
        LifecycleHandler, Probe, ResourceRequirements, SecretKeySelector, SecretVolumeSource,
        Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use kipper_function::{function::effective::Readiness, names};
use kipper_trigger::{CA_DIRECTORY, CA_FILE, SecretKey, Sidecar, Value, Variable, drain};

use super::{
    container::{PRE_STOP_SECONDS, security},
    env,
    subject::Subject,
};
use crate::{digest::digest, plan::Event};

/// The poller's ports, unless the function has one of them.
const PORTS: [u16; 2] = [9990, 9991];
const OTHER_PORTS: [u16; 2] = [9992, 9993];
const CA_VOLUME: &str = "source-ca";

/// A function that also serves requests goes on with it meanwhile.
const DRAIN_DELAY: Duration = Duration::from_secs(PRE_STOP_SECONDS.unsigned_abs());

/// One thread that mostly waits.
const CPU_REQUEST: &str = "20m";
const MEMORY_REQUEST: &str = "24Mi";
/// Held bodies are at most 16 MiB, beside one that may be larger than that on its own.
const MEMORY_LIMIT: &str = "128Mi";

/// The container.
pub(super) fn container(subject: &Subject<'_>, event: &Event) -> Container {
    let [admin, _] = ports(subject);
    let ca = event.keys.contains(&SecretKey::Ca);
    let resources = |pairs: &[(&str, &str)]| {
        let quantity = |(name, text): &(&str, &str)| ((*name).to_owned(), Quantity((*text).into()));
        Some(pairs.iter().map(quantity).collect::<BTreeMap<_, _>>())
    };
    Container {
        name: names::POLLER_CONTAINER.to_owned(),
        image: Some(subject.settings.poller_image.clone()),
        image_pull_policy: subject.settings.image_pull_policy.clone(),
        restart_policy: Some("Always".to_owned()),
        env: Some(variables(subject, event)),
        ports: Some(vec![ContainerPort {
            name: Some(names::POLLER_ADMIN_PORT.to_owned()),
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
                mount_path: CA_DIRECTORY.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            }]
        }),
        // What it said last is what the trigger's condition quotes.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(security()),
        ..Container::default()
    }
}

/// The volume with the source's certificate authority, where it has one of its own.
pub(super) fn volume(subject: &Subject<'_>, event: &Event) -> Option<Volume> {
    let secret = SecretVolumeSource {
        secret_name: Some(names::trigger_secret(subject.name)),
        items: Some(vec![KeyToPath {
            key: SecretKey::Ca.name().to_owned(),
            path: CA_FILE.to_owned(),
            mode: None,
        }]),
        ..SecretVolumeSource::default()
    };
    let volume = Volume { name: CA_VOLUME.to_owned(), secret: Some(secret), ..Volume::default() };
    event.keys.contains(&SecretKey::Ca).then_some(volume)
}

/// What the function's container does before it is stopped: it waits for the poller, which takes
/// no more events and finishes those it has.
pub(super) fn drain_hook(subject: &Subject<'_>, event: &Event) -> LifecycleHandler {
    let [_, port] = ports(subject);
    LifecycleHandler {
        http_get: Some(HTTPGetAction {
            path: Some(drain::PATH.to_owned()),
            port: IntOrString::Int(port.into()),
            http_headers: Some(vec![HTTPHeader {
                name: drain::TOKEN_HEADER.to_owned(),
                value: event.drain_token.clone(),
            }]),
            ..HTTPGetAction::default()
        }),
        ..LifecycleHandler::default()
    }
}

/// Digest of everything the poller reads at its start.
pub(super) fn trigger_digest(subject: &Subject<'_>, event: &Event) -> String {
    let env = variables(subject, event);
    let plain = env.iter().filter_map(|variable| Some((&variable.name, variable.value.as_ref()?)));
    let parts = plain.flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    digest(std::iter::once(event.digest.as_str()).chain(parts).map(str::as_bytes))
}

fn ports(subject: &Subject<'_>) -> [u16; 2] {
    if PORTS.contains(&subject.spec().port()) { OTHER_PORTS } else { PORTS }
}

/// What the poller is started with, in a fixed order.
pub(super) fn environment(subject: &Subject<'_>, event: &Event) -> Vec<(Variable, Value)> {
    let spec = subject.spec();
    let Some(trigger) = spec.event() else { return Vec::new() };
    let [admin_port, drain_port] = ports(subject);
    let sidecar = Sidecar {
        trigger,
        namespace: subject.namespace,
        function: subject.name,
        port: spec.port(),
        health_path: match spec.readiness() {
            Readiness::Http(path) => Some(path),
            Readiness::Tcp => None,
        },
        admin_port,
        drain_port,
        drain_delay: spec.is_http().then_some(DRAIN_DELAY),
        max_held: event.max_held,
        state_bucket: &subject.settings.state_bucket,
        backlog_address: subject.reported_to(),
        keys: &event.keys,
    };
    sidecar.environment()
}

fn variables(subject: &Subject<'_>, event: &Event) -> Vec<EnvVar> {
    let variable = |(variable, value): (Variable, Value)| match value {
        Value::Text(text) => env::literal(variable.name(), &text),
        Value::Secret(key) => secret(subject, variable, key),
    };
    environment(subject, event).into_iter().map(variable).collect()
}

/// What proves to the function that a delivery is its poller's.
pub(super) fn event_token(subject: &Subject<'_>) -> EnvVar {
    secret(subject, Variable::EventToken, SecretKey::EventToken)
}

fn secret(subject: &Subject<'_>, variable: Variable, key: SecretKey) -> EnvVar {
    let selector = SecretKeySelector {
        name: names::trigger_secret(subject.name),
        key: key.name().to_owned(),
        optional: None,
    };
    let source = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
    EnvVar { name: variable.name().to_owned(), value: None, value_from: Some(source) }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(names::POLLER_ADMIN_PORT.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

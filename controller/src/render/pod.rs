//! The pod of a function, serving or batch: what both kinds share is written once.
//!
//! Every pod meets the "restricted" pod security standard, may write to `/tmp` and nowhere else, and
//! has no service account token. Its root is read-only; that of inline code without a volume belongs
//! to root, and `/tmp` is the only folder of the runtime's image that others may write to. There is no
//! liveness probe: a handler that computes for a minute on the runtime's only thread is busy, not
//! dead, and killing it would lose the requests it works on. A pod that does not answer its readiness
//! probe gets no new requests; a process that ends is restarted.

mod storage;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, EnvVar, HTTPGetAction, Lifecycle, LifecycleHandler,
        LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
        ResourceRequirements, SeccompProfile, SecurityContext, SleepAction, TCPSocketAction,
        TopologySpreadConstraint,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use kipper_function::{
    FunctionSpec,
    function::{
        Runtime, TriggerKind,
        effective::{Readiness, Workload},
    },
    names,
};
use kipper_trigger::Variable;

use super::{
    container::{PRE_STOP_SECONDS, security},
    env, poller,
    subject::{Subject, seconds},
};
use crate::{digest::digest as digest_of, plan::Event};

/// User and group of every container: nobody in particular, and no user of the node.
const USER: i64 = 65532;
/// A stopping pod has at least this long for its requests ...
const MIN_DRAIN: Duration = Duration::from_secs(30);
/// ... and at most this long, however long a request may take: a node that is being drained waits
/// for it.
const MAX_DRAIN: Duration = Duration::from_secs(3600);
/// For a process to end after its last request.
const EXIT_SECONDS: i64 = 5;
/// For a poller to mark what was delivered last, and for both processes to end.
const POLLER_EXIT_SECONDS: i64 = 30;
/// What Kubernetes calls the files that go with a pod.
const STORAGE: &str = "ephemeral-storage";
/// How often the kubelet asks; a waking pod is found ready by the interceptor's own probes.
const PROBE_PERIOD_SECONDS: i32 = 1;
/// Long enough for a single-threaded handler that computes: three of them make a pod not ready.
const PROBE_TIMEOUT_SECONDS: i32 = 5;
const PROBE_FAILURES: i32 = 3;

/// Template of the pods that serve requests and events.
pub(super) fn server(subject: &Subject<'_>) -> PodTemplateSpec {
    let spec = subject.spec();
    let drain = drain(spec);
    let trigger = spec.event().map_or(TriggerKind::Http, |event| event.kind.into());
    let mut reserved = own_variables(subject, "http", trigger);
    if subject.code.is_some() {
        reserved.push(env::literal("KIPPER_DRAIN_SECONDS", &seconds(drain).to_string()));
        reserved.extend(spec.log_requests.then(|| env::literal("KIPPER_LOG_REQUESTS", "true")));
    }
    // An image may check it too.
    reserved.extend(subject.event().map(|_| poller::event_token(subject)));
    let container = Container {
        ports: Some(vec![ContainerPort {
            name: Some(names::HTTP_PORT.to_owned()),
            container_port: spec.port().into(),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        readiness_probe: Some(readiness(spec)),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(match subject.event() {
                Some(event) => poller::drain_hook(subject, event),
                None => LifecycleHandler {
                    sleep: Some(SleepAction { seconds: PRE_STOP_SECONDS }),
                    ..LifecycleHandler::default()
                },
            }),
            ..Lifecycle::default()
        }),
        ..container(subject, reserved)
    };
    let (_, max_replicas) = spec.replica_limits();
    let mut pod = PodSpec {
        termination_grace_period_seconds: Some(grace_seconds(subject, drain)),
        topology_spread_constraints: (max_replicas > 1).then(|| vec![spread(subject.name)]),
        ..pod(subject, container)
    };
    if let Some(event) = subject.event() {
        add_poller(&mut pod, subject, event);
    }
    let mut template = template(subject, names::SERVER, pod);
    let digest = subject.event().and(subject.trigger_digest.clone());
    if let Some(digest) = digest {
        annotate(&mut template, names::TRIGGER_DIGEST, digest);
    }
    if let Some(time) = subject.annotation(names::RESTARTED_AT) {
        annotate(&mut template, names::RESTARTED_AT, time.to_owned());
    }
    // A template is nothing but maps and texts, which always make JSON.
    let whole = serde_json::to_vec(&template).unwrap_or_default();
    annotate(&mut template, names::TEMPLATE_DIGEST, digest_of([whole.as_slice()]));
    template
}

fn annotate(template: &mut PodTemplateSpec, name: &str, value: String) {
    let annotations = template.metadata.get_or_insert_default().annotations.get_or_insert_default();
    annotations.insert(name.to_owned(), value);
}

fn add_poller(pod: &mut PodSpec, subject: &Subject<'_>, event: &Event) {
    pod.init_containers = Some(vec![poller::container(subject, event)]);
    if let Some(volume) = poller::volume(subject, event) {
        pod.volumes.get_or_insert_default().push(volume);
    }
}

/// From the beginning of the `preStop` hook until a pod is killed. With a poller the hook lasts as
/// long as the longest delivery, and requests are finished after it.
fn grace_seconds(subject: &Subject<'_>, drain: Duration) -> i64 {
    let spec = subject.spec();
    let requests = PRE_STOP_SECONDS + seconds(drain) + EXIT_SECONDS;
    match (subject.event().and_then(|_| spec.event()), spec.is_http()) {
        (None, _) => requests,
        (Some(event), false) => seconds(event.deliver_timeout()) + POLLER_EXIT_SECONDS,
        (Some(event), true) => seconds(event.deliver_timeout()) + POLLER_EXIT_SECONDS + requests,
    }
}

/// Template of the pods that run the handler once. They have no port, and nothing to drain.
pub(super) fn batch(subject: &Subject<'_>) -> PodTemplateSpec {
    let reserved = own_variables(subject, "batch", TriggerKind::Cron);
    let container = container(subject, reserved);
    let pod = PodSpec { restart_policy: Some("Never".to_owned()), ..pod(subject, container) };
    template(subject, names::BATCH, pod)
}

fn template(subject: &Subject<'_>, component: &str, pod: PodSpec) -> PodTemplateSpec {
    let digest = (names::CONFIG_DIGEST.to_owned(), subject.config_digest());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(subject.labels(component)),
            annotations: Some(BTreeMap::from([digest])),
            ..ObjectMeta::default()
        }),
        spec: Some(pod),
    }
}

fn pod(subject: &Subject<'_>, container: Container) -> PodSpec {
    let secrets = subject.spec().image_pull_secrets.iter();
    let secrets: Vec<_> =
        secrets.map(|secret| LocalObjectReference { name: secret.name.clone() }).collect();
    PodSpec {
        containers: vec![container],
        volumes: some(storage::volumes(subject)),
        image_pull_secrets: some(secrets),
        automount_service_account_token: Some(false),
        // A Service called `port` or `kipper-…` would otherwise become variables that are ours.
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // Else the kubelet walks every file of every volume, at every wake.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

fn container(subject: &Subject<'_>, reserved: Vec<EnvVar>) -> Container {
    let settings = subject.settings;
    let image = match subject.workload {
        Workload::Image(image) => image,
        Workload::Inline(Runtime::Node, _) => &settings.node_image,
        Workload::Inline(Runtime::Python, _) => &settings.python_image,
    };
    Container {
        name: names::CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: settings.image_pull_policy.clone(),
        env: Some(env::env(subject.input, &subject.holders, reserved)),
        env_from: env::env_from(subject.input, subject.name),
        resources: Some(resources(subject)),
        volume_mounts: some(storage::mounts(subject)),
        // What a container said last is what the function's condition quotes.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            read_only_root_filesystem: Some(subject.code_in_environment().is_none()),
            ..security()
        }),
        ..Container::default()
    }
}

/// An empty list is left out, as the API server does: an apply that wrote it would own it.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// The variables that are Kipper's in every pod.
fn own_variables(subject: &Subject<'_>, mode: &str, trigger: TriggerKind) -> Vec<EnvVar> {
    let mut own = vec![
        env::literal("PORT", &subject.spec().port().to_string()),
        env::literal(Variable::Trigger.name(), trigger.as_str()),
        env::literal("KIPPER_MODE", mode),
    ];
    if subject.code.is_some() {
        own.push(env::literal("KIPPER_FUNCTION_PATH", storage::CODE_PATH));
        own.extend(subject.spec().handler().map(|name| env::literal("KIPPER_HANDLER", name)));
        own.extend(storage::variables(subject));
    }
    own
}

/// How long a stopping pod may finish requests: the longest that the interceptor lets one take. A
/// response that has begun in time and has no limit of its own (a stream, a WebSocket) ends here.
fn drain(spec: &FunctionSpec) -> Duration {
    let longest = spec.request_timeout().unwrap_or_else(|| spec.response_header_timeout());
    longest.clamp(MIN_DRAIN, MAX_DRAIN)
}

fn readiness(spec: &FunctionSpec) -> Probe {
    let port = IntOrString::String(names::HTTP_PORT.to_owned());
    let (http_get, tcp_socket) = match spec.readiness() {
        Readiness::Http(path) => {
            let path = Some(path.to_owned());
            (Some(HTTPGetAction { path, port, ..HTTPGetAction::default() }), None)
        }
        Readiness::Tcp => (None, Some(TCPSocketAction { port, host: None })),
    };
    Probe {
        http_get,
        tcp_socket,
        period_seconds: Some(PROBE_PERIOD_SECONDS),
        timeout_seconds: Some(PROBE_TIMEOUT_SECONDS),
        failure_threshold: Some(PROBE_FAILURES),
        ..Probe::default()
    }
}

fn resources(subject: &Subject<'_>) -> ResourceRequirements {
    let spec = subject.spec();
    let quantity = |name: &str, text: &str| (name.to_owned(), Quantity(text.to_owned()));
    let mut limits = BTreeMap::from([quantity("memory", spec.memory_limit())]);
    limits.extend(spec.cpu_limit().map(|limit| quantity("cpu", limit)));
    let mut requests = BTreeMap::from([
        quantity("cpu", spec.cpu_request()),
        quantity("memory", spec.memory_request()),
    ]);
    if let Some(limit) = storage::container_limit(subject) {
        limits.extend([quantity(STORAGE, &limit)]);
        // Else it would be the limit: a node would be full of pods that wrote nothing.
        requests.extend([quantity(STORAGE, "0")]);
    }
    ResourceRequirements { limits: Some(limits), requests: Some(requests), claims: None }
}

/// A wish, not a condition: on one node all pods run there. By template hash, so that a rollout's
/// old pods do not push the new ones together.
fn spread(function: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        topology_key: "kubernetes.io/hostname".to_owned(),
        max_skew: 1,
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        label_selector: Some(LabelSelector {
            match_labels: Some(names::server_selector(function)),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    }
}

//! Another pod reports counts to the scaler-adapter without a certificate: it is refused, and what
//! it claims wakes nobody. With an interceptor's own certificate the very same report is taken, so
//! it is the certificate that decides.

use anyhow::Context as _;
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::Deployment,
        core::v1::{Container, EnvVar, Pod, PodSpec, Secret},
    },
};
use kipper_cluster::{Cluster, Namespace, functions, watch};
use kube::{
    Api,
    api::{LogParams, ObjectMeta, PostParams},
};
use serde::Deserialize;

use super::{
    cold::prepare,
    fleet::{self, ADAPTER},
    ledger::soon_stopped,
};
use crate::run::{PATIENCE, Run};

/// Reported by the intruder, and woken if it is believed.
const TARGETS: [&str; 2] = ["claimed", "certified"];
const IMAGE: &str = "docker.io/kipper/runtime-node:dev";
const SCRIPT: &str = include_str!("counts_port.js");
const PORT: u16 = 9091;
const SERVER_NAME: &str = "kipper-scaler-adapter-fleet.kipper-system.svc";
const CERTIFICATE: &str = "kipper-counts-interceptor";
const INTERCEPTORS: &str = "kipper_scaler_adapter_interceptors";

/// What became of each attempt.
#[derive(Debug, Deserialize)]
struct Attempts {
    plain: String,
    anonymous: String,
    certified: Option<String>,
}

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let namespace = cluster.namespace("counts_port").await?;
    let functions = TARGETS.map(|name| soon_stopped(functions::image(name)));
    prepare(cluster, &namespace, &functions).await?;
    let [claimed, certified] = TARGETS;

    let before = ADAPTER.metric(cluster, INTERCEPTORS).await?;
    let attempts = attempt(cluster, &namespace, "intruder", claimed, None).await?;
    let after = ADAPTER.metric(cluster, INTERCEPTORS).await?;
    println!("   plain text: {}; without a certificate: {}", attempts.plain, attempts.anonymous);
    println!("   {before} interceptors before, {after} after");
    let accepted = [&attempts.plain, &attempts.anonymous];
    let accepted = accepted.iter().filter(|how| !how.starts_with("refused")).count();

    let secrets: Api<Secret> = fleet::system(cluster);
    let secret = secrets.get(CERTIFICATE).await.context("the interceptors' certificate")?;
    let attempts = attempt(cluster, &namespace, "control", certified, Some(&secret)).await?;
    let control = attempts.certified.unwrap_or_default();
    println!("   with an interceptor's certificate: {control}");
    // The control's function is awake by what it reported; long before that, the other one would be.
    let deployments: Api<Deployment> = namespace.api();
    let is_wanted = |found: Option<&Deployment>| found.and_then(wanted) > Some(0);
    watch::object(&deployments, certified, PATIENCE, is_wanted).await?;
    let woken = wanted(&deployments.get(claimed).await?);
    run.outcome.condition("counts_port_accepted", accepted)?;
    run.outcome.condition("counts_port_counted", usize::from((after - before).abs() > 0.5))?;
    run.outcome.condition("counts_port_woken", usize::from(woken != Some(0)))?;
    run.outcome.condition("counts_port_control_refused", usize::from(control != "accepted"))
}

fn wanted(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref()?.replicas
}

/// Runs the script in a pod of its own and returns what it printed.
async fn attempt(
    cluster: &Cluster,
    namespace: &Namespace,
    name: &str,
    function: &str,
    certificate: Option<&Secret>,
) -> Result<Attempts, anyhow::Error> {
    let adapters = ADAPTER.pods(cluster).await?;
    let adapter = fleet::address(adapters.first().context("no adapter")?, PORT)?;
    let mut env = vec![
        variable("ADAPTER", &adapter.to_string()),
        variable("SERVER_NAME", SERVER_NAME),
        variable("NAMESPACE", &namespace.name),
        variable("FUNCTION", function),
    ];
    for (name, key) in [("CERTIFICATE", "tls.crt"), ("KEY", "tls.key"), ("CA", "ca.crt")] {
        let value = certificate.and_then(|secret| secret.data.as_ref()?.get(key));
        if let Some(ByteString(value)) = value {
            env.push(variable(name, std::str::from_utf8(value)?));
        }
    }
    let pods: Api<Pod> = namespace.api();
    pods.create(&PostParams::default(), &pod(name, env)).await?;
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    let is_over = |found: Option<&Pod>| {
        found.and_then(phase).is_some_and(|phase| phase == "Succeeded" || phase == "Failed")
    };
    watch::object(&pods, name, PATIENCE, is_over).await?;
    let log = pods.logs(name, &LogParams::default()).await?;
    serde_json::from_str(&log).with_context(|| format!("the {name} says: {log}"))
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn pod(name: &str, env: Vec<EnvVar>) -> Pod {
    let container = Container {
        name: name.to_owned(),
        image: Some(IMAGE.to_owned()),
        image_pull_policy: Some("Never".to_owned()),
        command: Some(["node", "-e", SCRIPT].map(str::to_owned).to_vec()),
        env: Some(env),
        ..Container::default()
    };
    Pod {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: Some(PodSpec {
            containers: vec![container],
            restart_policy: Some("Never".to_owned()),
            automount_service_account_token: Some(false),
            ..PodSpec::default()
        }),
        status: None,
    }
}

//! How soon what is known is told: a source that cannot work while no pod runs, and pods that cannot
//! start while somebody waits for them.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream::BoxStream};
use k8s_openapi::api::core::v1::Pod;
use kipper_cluster::{Cluster, Namespace, bridge::on_bridge, functions, watch};
use kipper_function::{
    Function,
    function::Resources,
    names::{self, condition::TRIGGER_VALID},
};
use kipper_measure::samples::Samples;
use kipper_servers::redis::{Options, Redis};
use kube::runtime::{
    WatchStreamExt as _,
    watcher::{self, watcher},
};
use tokio::{process::Command, task::spawn_blocking, time::Instant};

use super::source;
use crate::run::{PATIENCE, Run};

const SCENARIO: &str = "truth";
const CODE: &str = "module.exports = async () => null\n";
const SOURCE: &str = "cache";

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let namespace = cluster.namespace(SCENARIO).await?;
    sources(run, &namespace).await?;
    starts(run, cluster, &namespace).await
}

/// Sources: wrong from the start, and broken and healed while nothing runs.
async fn sources(run: &mut Run, namespace: &Namespace) -> Result<(), anyhow::Error> {
    let server = spawn_blocking(|| Redis::start(Options::default())).await??;
    let address = on_bridge(server.port()).await;
    let password = server.password().unwrap_or_default().to_owned();
    source::connect(namespace, SOURCE, "redis", address, &[("PASSWORD", &*password)]).await?;

    let mut applied = Vec::new();
    for round in 0..run.size(10, 3) {
        let (name, list) = (format!("wrong-{round}"), format!("text-{round}"));
        put_text(&server, &list).await?;
        let started = Instant::now();
        namespace.apply(&fed(&name, &list)).await?;
        until_valid(namespace, &name, "False").await?;
        applied.push(started.elapsed());
    }
    namespace.apply(&fed("calm", "jobs")).await?;
    until_valid(namespace, "calm", "True").await?;
    let (mut broken, mut healed) = (Vec::new(), Vec::new());
    let mut server = server;
    for _ in 0..run.size(3, 1) {
        server.kill()?;
        let started = Instant::now();
        until_valid(namespace, "calm", "False").await?;
        broken.push(started.elapsed());
        server = spawn_blocking(move || server.start_again().map(|()| server)).await??;
        let started = Instant::now();
        until_valid(namespace, "calm", "True").await?;
        healed.push(started.elapsed());
    }
    for (name, times) in [
        ("trigger_invalid_after_apply", applied),
        ("trigger_invalid_after_break", broken),
        ("trigger_valid_after_heal", healed),
    ] {
        let times: Samples = times.into_iter().collect();
        println!("   {name:<28} {}", times.summary());
        run.outcome.figure(name, times.quantile(1.0))?;
    }
    Ok(())
}

/// Puts a text where a trigger wants a list.
async fn put_text(server: &Redis, key: &str) -> Result<(), anyhow::Error> {
    let port = server.port().to_string();
    let mut command = Command::new("redis-cli");
    command.env("REDISCLI_AUTH", server.password().unwrap_or_default());
    let output = command.args(["-p", &port, "SET", key, "x"]).output().await?;
    anyhow::ensure!(output.stdout.starts_with(b"OK"), "redis-cli: {output:?}");
    Ok(())
}

/// A function that is fed from a list.
fn fed(name: &str, list: &str) -> Function {
    source::fed(name, CODE, "redis", &[("source", SOURCE), ("list", list)])
}

async fn until_valid(
    namespace: &Namespace,
    function: &str,
    status: &str,
) -> Result<(), anyhow::Error> {
    let says = |f: Option<&Function>| {
        f.is_some_and(|f| functions::has_condition(f, TRIGGER_VALID, status))
    };
    watch::object(&namespace.api::<Function>(), function, PATIENCE, says).await?;
    Ok(())
}

/// A function that cannot start.
struct Broken {
    name: &'static str,
    function: Function,
}

fn broken() -> Vec<Broken> {
    let inline = |code| functions::inline("", "node", code, &[]);
    let mut missing = functions::image("");
    missing.spec.image = Some("docker.io/kipper/no-such-image:dev".to_owned());
    let mut hungry = inline("const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1))\n");
    hungry.spec.resources =
        Some(Resources { memory_limit: Some("64Mi".to_owned()), ..Resources::default() });
    vec![
        Broken { name: "syntax", function: inline("module.exports = async () => {\n") },
        Broken { name: "handler", function: inline("exports.other = 1\n") },
        Broken { name: "image", function: missing },
        Broken { name: "memory", function: hungry },
    ]
}

/// Pods that cannot start, while `apply --wait` and then `invoke` wait for them.
async fn starts(
    run: &mut Run,
    cluster: &Cluster,
    namespace: &Namespace,
) -> Result<(), anyhow::Error> {
    let kip = run.binary().with_file_name("kip");
    anyhow::ensure!(kip.exists(), "{} is missing: build it first", kip.display());
    let (mut waits, mut invokes) = (Vec::new(), Vec::new());
    for Broken { name, function } in broken() {
        for (verb, times) in [("wait", &mut waits), ("invoke", &mut invokes)] {
            let name = format!("{name}-{verb}");
            let mut function = function.clone();
            function.metadata.name = Some(name.clone());
            let file = run.dir().join(format!("{name}.json"));
            std::fs::write(&file, serde_json::to_vec(&function)?)?;
            let gateway = format!("http://{}", cluster.interceptor);
            let pods = known_failures(namespace, &name);
            let args = if verb == "wait" {
                let file = file.to_str().context("the folder's name is not UTF-8")?.to_owned();
                vec!["apply".to_owned(), "-f".to_owned(), file, "--wait".to_owned()]
            } else {
                namespace.apply(&function).await?;
                namespace.until_ready(&name).await?;
                vec!["invoke".to_owned(), name.clone()]
            };
            times.push(late(&kip, namespace, &gateway, &args, pods).await?);
            namespace.delete(&name).await?;
        }
    }
    for (name, times) in [("wait_ends_after_cause", waits), ("invoke_ends_after_cause", invokes)] {
        let times: Samples = times.into_iter().collect();
        println!("   {name:<28} {}", times.summary());
        run.outcome.figure(name, times.quantile(1.0))?;
    }
    Ok(())
}

/// When the kubelet first says of each pod of a function that it fails.
fn known_failures(namespace: &Namespace, function: &str) -> BoxStream<'static, Instant> {
    let config = watcher::Config::default().labels(&format!("{}={function}", names::APP));
    let pods = watcher(namespace.api::<Pod>(), config).default_backoff().applied_objects();
    pods.filter_map(|pod| async move {
        let fails = pod.is_ok_and(|pod| fails(&pod));
        fails.then(Instant::now)
    })
    .boxed()
}

fn fails(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.filter_map(|container| container.state.as_ref()).any(|state| {
        let waits = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        state.terminated.is_some()
            || waits.is_some_and(|why| !["ContainerCreating", "PodInitializing"].contains(&why))
    })
}

/// How long after the cause was known the command ended, which has to fail.
async fn late(
    kip: &PathBuf,
    namespace: &Namespace,
    gateway: &str,
    args: &[String],
    mut failures: BoxStream<'static, Instant>,
) -> Result<Duration, anyhow::Error> {
    let mut command = Command::new(kip);
    command.arg("function").args(args).args(["-n", &namespace.name, "--interceptor", gateway]);
    let running = tokio::spawn(async move {
        let output = command.kill_on_drop(true).output().await;
        (output, Instant::now())
    });
    let known = tokio::time::timeout(PATIENCE, failures.next()).await?;
    let known = known.context("the watch of the pods ended")?;
    let (output, ended) = tokio::time::timeout(PATIENCE, running).await??;
    let output = output?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.code() == Some(1), "{args:?}: {}: {stderr}", output.status);
    let late = ended.saturating_duration_since(known);
    let last = stderr.lines().find(|line| line.starts_with("error")).unwrap_or_default();
    println!("   {:<8} {:>5.0} ms  {last:.100}", args[0], late.as_secs_f64() * 1e3);
    Ok(late)
}

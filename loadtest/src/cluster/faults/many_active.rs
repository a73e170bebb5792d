//! Many active functions: KEDA writes each one's last activity once per poll, and still a cold one
//! wakes through KEDA before the interceptor would take the second way.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use kipper_cluster::{
    Cluster, Namespace,
    audit::{Entry, Mark},
    functions,
};
use kipper_function::Function;
use kipper_measure::samples::Samples;
use kube::ResourceExt as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{clients, cold::prepare, fleet::INTERCEPTOR, ledger::soon_stopped};
use crate::{
    cluster::timeline,
    run::{PATIENCE, Run},
};

/// Each active function gets a request this often: well within an idle time, and within a poll.
const EVERY: Duration = Duration::from_secs(10);
/// So that every active function was polled, and written, at least once.
const POLLED: Duration = Duration::from_secs(35);
/// The second way, past KEDA.
const FALLBACKS: &str = "kipper_interceptor_wake_fallbacks_total";
/// Who scales on the KEDA path, by the end of its name in the audit log.
const KEDA: &str = ":keda-operator";
/// KEDA takes its time over new objects: each batch is in place before the next.
const APPLIED_AT_A_TIME: usize = 20;
/// Functions that are woken at a time.
const AT_A_TIME: usize = 8;

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let (active, cold) = (run.size(200, 30), run.size(10, 4));
    let namespace = cluster.namespace("many_active").await?;
    let named = |name: &str, count| {
        (0..count)
            .map(|index| soon_stopped(functions::image(&format!("{name}-{index}"))))
            .collect::<Vec<Function>>()
    };
    let mut hosts = Vec::new();
    for functions in named("active", active).chunks(APPLIED_AT_A_TIME) {
        hosts.extend(prepare(cluster, &namespace, functions).await?);
    }
    let cold_hosts = prepare(cluster, &namespace, &named("cold", cold)).await?;
    let begun = Instant::now();
    let mut failed = 0;
    for hosts in hosts.chunks(AT_A_TIME) {
        let wakes = hosts.iter().map(|host| clients::ask(cluster.interceptor, host, PATIENCE));
        for (answer, _) in futures_util::future::join_all(wakes).await {
            failed += usize::from(!clients::is_answered("activate", &answer));
        }
    }
    println!("   {active} functions active after {:.1} s", begun.elapsed().as_secs_f64());

    let mut use_them = JoinSet::new();
    use_them.spawn(keep_using(cluster.interceptor, hosts));
    sleep_until(Instant::now() + POLLED).await;
    let before = INTERCEPTOR.metric(cluster, FALLBACKS).await?;
    let (mut times, mut scales, mut past_keda) = (Vec::new(), Vec::new(), 0);
    for (host, name) in cold_hosts.iter().zip(named("cold", cold).iter().map(Function::name_any)) {
        let (mark, sent) = (cluster.audit.mark()?, Timestamp::now());
        let (answer, took) = clients::ask(cluster.interceptor, host, PATIENCE).await;
        failed += usize::from(!clients::is_answered("a cold one", &answer));
        times.push(took);
        let scale = scale(cluster, &namespace, &name, &mark)?;
        past_keda += usize::from(!scale.user().ends_with(KEDA));
        scales.push(timeline::between(sent, scale.stage_timestamp));
    }
    let tried = INTERCEPTOR.metric(cluster, FALLBACKS).await? - before;
    let (times, scales) = (Samples::from_iter(times), Samples::from_iter(scales));
    println!("   request to scale: {}; {tried} times the second way was tried", scales.summary());
    println!("   request to answer: {}", times.summary());
    run.outcome.condition("many_active_failed", failed)?;
    run.outcome.condition("many_active_past_keda", past_keda)?;
    run.outcome.figure("many_active_to_scale", scales.max())
}

/// Who brought a Deployment from zero, and when. The second way asks too when a pod takes longer
/// than it waits, but its write is refused where there is a replica already.
fn scale(
    cluster: &Cluster,
    namespace: &Namespace,
    name: &str,
    mark: &Mark,
) -> Result<Entry, anyhow::Error> {
    let is_scale = |entry: &Entry| {
        let target = &entry.object_ref;
        let own = target.namespace == namespace.name && target.name == name;
        own && target.subresource == "scale" && entry.is_write()
    };
    let mut scales = cluster.audit.since(mark, is_scale)?.into_iter();
    scales.next().with_context(|| format!("{name} was not scaled"))
}

/// A request to each function, evenly spread over the interval, again and again.
async fn keep_using(proxy: SocketAddr, hosts: Vec<String>) {
    let Ok(count) = u32::try_from(hosts.len()) else { return };
    let mut due = Instant::now();
    for host in hosts.iter().cycle() {
        sleep_until(due).await;
        due += EVERY / count;
        // Whether they are answered is another scenario's affair.
        let _ = clients::ask(proxy, host, PATIENCE).await;
    }
}

//! Many active functions: KEDA writes each one's last activity once per poll, and still a cold one
//! wakes through KEDA before the interceptor would take the second way.

use std::{net::SocketAddr, time::Duration};

use kipper_api::Function;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{clients, cold::prepare, fleet::INTERCEPTOR, ledger::soon_stopped};
use crate::{
    cluster::{Cluster, objects},
    run::{PATIENCE, Run},
    samples::Samples,
};

/// Each active function gets a request this often: well within an idle time, and within a poll.
const EVERY: Duration = Duration::from_secs(10);
/// So that every active function was polled, and written, at least once.
const POLLED: Duration = Duration::from_secs(35);
/// The second way, past KEDA.
const FALLBACKS: &str = "kipper_interceptor_wake_fallbacks_total";
/// Functions that are woken at a time.
const AT_A_TIME: usize = 8;

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let (active, cold) = (run.size(200, 30), run.size(10, 4));
    let space = cluster.space("many_active").await?;
    let named = |name: &str, count| {
        (0..count)
            .map(|index| soon_stopped(objects::image(&format!("{name}-{index}"))))
            .collect::<Vec<Function>>()
    };
    let hosts = prepare(cluster, &space, &named("active", active)).await?;
    let cold_hosts = prepare(cluster, &space, &named("cold", cold)).await?;
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
    let mut times = Vec::new();
    for host in &cold_hosts {
        let (answer, took) = clients::ask(cluster.interceptor, host, PATIENCE).await;
        failed += usize::from(!clients::is_answered("a cold one", &answer));
        times.push(took);
    }
    let fallbacks = INTERCEPTOR.metric(cluster, FALLBACKS).await? - before;
    let times: Samples = times.into_iter().collect();
    println!("   cold wakes beside them: {}", times.summary());
    run.outcome.condition("many_active_failed", failed)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a small count
    run.outcome.condition("many_active_fallbacks", fallbacks as usize)
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

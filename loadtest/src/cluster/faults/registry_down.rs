//! The package registry is down at a wake, after one good start: packages are not kept from pod to
//! pod, so this wake fails. The public answer says only which phase did not finish, the condition
//! says why, and when the registry is back a request is answered without anybody's help.

mod registry;

use std::time::Duration;

use kipper_cluster::{
    Cluster, Namespace,
    functions::{self, idle_after},
};
use kipper_function::{Function, names};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{clients, cold, ledger};
use crate::run::{PATIENCE, Run};
use registry::{GREETING, PACKAGE, Registry, VERSION};

const NAME: &str = "packaged";
/// Idle time and a poll of KEDA's, with some to spare.
const TO_ZERO: Duration = Duration::from_secs(150);
const COLD_START_SECONDS: i64 = 20;
/// A 504 comes a moment after the cold start's own time.
const ANSWERED: Duration = Duration::from_secs(30);
/// The kubelet waits longer and longer before it starts a container again, at most five minutes;
/// after a failed wake or two it is far below one.
const RECOVERED: Duration = Duration::from_secs(180);
const RETRY_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let namespace = cluster.namespace("registry_down").await?;
    let mut registry = Registry::start(&ledger::bridge(cluster).await?, run.dir()).await?;
    let hosts = cold::apply(&namespace, &[function(&registry.url())]).await?;
    let [host] = hosts.as_slice() else { anyhow::bail!("one function was applied") };
    let (good, took) = clients::ask(cluster.interceptor, host, PATIENCE).await;
    anyhow::ensure!(clients::is_answered("the good start", &good), "it never starts well");
    println!("   started well in {:.2} s; waiting for zero", took.as_secs_f64());
    namespace.until_replicas(NAME, 0, TO_ZERO).await?;

    registry.go_down().await;
    let (proxy, again) = (cluster.interceptor, host.clone());
    let asked =
        AbortOnDropHandle::new(tokio::spawn(
            async move { clients::ask(proxy, &again, ANSWERED).await },
        ));
    let named = namespace.until(NAME, |function| failure(function).is_some()).await;
    let named = named.ok().as_ref().and_then(failure);
    println!("   condition: {}", named.as_deref().unwrap_or("none"));
    let (answer, took) = asked.await?;
    let public = answer.map_or_else(
        |error| error,
        |answer| format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
    );
    println!("   answered after {:.1} s: {public}", took.as_secs_f64());
    let wrong = !public.starts_with("504 ") || public.contains("npm") || public.contains(PACKAGE);

    registry.come_back().await?;
    let recovered = recovered(cluster, &namespace, host).await?;
    run.outcome.condition("registry_down_not_named", usize::from(named.is_none()))?;
    run.outcome.condition("registry_down_wrong_answer", usize::from(wrong))?;
    run.outcome.condition("registry_down_not_recovered", usize::from(!recovered))
}

fn function(registry: &str) -> Function {
    let code = format!("module.exports = async () => require('{PACKAGE}');\n");
    let function = functions::inline(NAME, "node", &code, &[(PACKAGE, VERSION)]);
    let mut function = idle_after(ledger::soon_stopped(function), Duration::from_secs(1));
    function.spec.timeouts.get_or_insert_default().cold_start_seconds = Some(COLD_START_SECONDS);
    let mut set = |name: &str, value: &str| {
        function.spec.env.insert(name.to_owned(), value.to_owned());
    };
    set("npm_config_registry", registry);
    // npm by itself tries for more than a minute, and the condition would wait for it.
    set("npm_config_fetch_retries", "0");
    function
}

/// What the function's condition says, once it names the installation.
fn failure(function: &Function) -> Option<String> {
    let conditions = &function.status.as_ref()?.conditions;
    let failed = conditions.iter().find(|condition| {
        condition.type_ == names::condition::READY
            && condition.status == "False"
            && condition.message.contains("npm install failed")
    })?;
    Some(format!("{}: {}", failed.reason, failed.message))
}

/// Asks until the function answers and its condition is good again.
async fn recovered(
    cluster: &Cluster,
    namespace: &Namespace,
    host: &str,
) -> Result<bool, anyhow::Error> {
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed() < RECOVERED {
        asked += 1;
        let (answer, _) = clients::ask(cluster.interceptor, host, ANSWERED).await;
        if answer.is_ok_and(|answer| answer.body == GREETING.as_bytes()) {
            println!(
                "   answered {:.1} s after the registry was back, at request {asked}",
                begun.elapsed().as_secs_f64()
            );
            namespace.until(NAME, functions::is_ready).await?;
            return Ok(true);
        }
        sleep(RETRY_EVERY).await;
    }
    Ok(false)
}

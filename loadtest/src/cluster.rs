//! Scenarios against a real cluster: what Kubernetes, KEDA and we reach together.
//!
//! The cluster is the one `KUBECONFIG` names, on this machine, with the chart installed: times are
//! taken from one clock, the audit log is a file, and Services are reached from here. A scenario
//! gets a [`Run`](crate::run::Run) to report to and a [`Cluster`] to work with; whatever it made or
//! stopped is put back when it is over, however it ended. What holds for everybody lives in the
//! modules named after it, one scenario each in [`figures`] and [`faults`].
//!
//! Scenarios that share the cluster run beside each other, after those that need it for themselves.

mod beside;
mod floor;
mod metrics;
mod replicas;
mod scenario;
mod timeline;
mod wake;

mod faults;
mod figures;

use anyhow::Context as _;
use clap::builder::PossibleValue;
use kipper_cluster::{Cluster, turn};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use scenario::Scenario;

use crate::run::{Run, RunArgs, USER_AGENT};

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterArgs {
    /// Scenarios, in this order; those that share the cluster run last, beside each other
    #[arg(required = true, value_parser = possible_values())]
    scenarios: Vec<String>,
}

const GROUPS: [(&str, &str); 5] = [
    ("all", "Every scenario"),
    ("figures", "Every scenario that measures"),
    ("faults", "Every scenario that breaks something"),
    ("alone", "Every scenario that needs the cluster for itself"),
    ("sharing", "Every scenario that others may run beside"),
];

fn possible_values() -> Vec<PossibleValue> {
    let groups = GROUPS.iter().map(|(name, about)| PossibleValue::new(*name).help(*about));
    let one = every().map(|scenario| PossibleValue::new(scenario.name).help(scenario.about));
    groups.chain(one).collect()
}

fn every() -> impl Iterator<Item = &'static Scenario> {
    figures::FIGURES.iter().chain(faults::FAULTS)
}

/// The scenarios that `name` stands for.
fn named(name: &str) -> Vec<&'static Scenario> {
    match name {
        "all" => every().collect(),
        "figures" => figures::FIGURES.iter().collect(),
        "faults" => faults::FAULTS.iter().collect(),
        "alone" => every().filter(|scenario| !scenario.shares).collect(),
        "sharing" => every().filter(|scenario| scenario.shares).collect(),
        name => every().filter(|scenario| scenario.name == name).collect(),
    }
}

/// Runs scenarios.
///
/// # Errors
/// When there is no cluster, a condition was broken, a scenario could not be run to its end, or
/// something it made could not be removed.
pub fn run(args: &RunArgs, cluster: &ClusterArgs) -> Result<(), anyhow::Error> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let interrupted = kipper_process::signals::shutdown_token()?;
        let chosen = cluster.scenarios.iter().flat_map(|name| named(name));
        let (mut shared, mut alone): (Vec<_>, Vec<_>) = chosen.partition(|one| one.shares);
        // By itself it runs here: so does each of the processes that `beside` starts.
        if shared.len() == 1 {
            alone.append(&mut shared);
        }
        let mut failed = Vec::new();
        for scenario in alone {
            failed.extend(one(args, scenario, &interrupted).await?);
        }
        failed.extend(beside::run(args, &shared, &interrupted).await);
        anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
        Ok(())
    })
}

/// Runs one scenario and puts everything back. Returns what failed.
async fn one(
    args: &RunArgs,
    scenario: &Scenario,
    interrupted: &CancellationToken,
) -> Result<Vec<String>, anyhow::Error> {
    anyhow::ensure!(!interrupted.is_cancelled(), "interrupted");
    println!("== {}", scenario.name);
    let mut run = Run::new(args)?;
    let turn = async { if scenario.shares { turn::shared().await } else { turn::alone().await } };
    let _turn = tokio::select! {
        turn = turn => turn?,
        () = interrupted.cancelled() => anyhow::bail!("interrupted"),
    };
    let started = Instant::now();
    let cluster = Cluster::connect(USER_AGENT).await.context("connect to the cluster")?;
    // The guarded future is dropped, and with it every task, before anything is put back.
    let ended = tokio::select! {
        ended = guarded(scenario, &mut run, &cluster) => ended,
        () = interrupted.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    let mut failed = Vec::new();
    for (what, ended) in [("", ended), (" (clean-up)", cluster.clean_up().await)] {
        if let Err(error) = ended {
            println!("ERROR {}{what}: {error:#}", scenario.name);
            failed.push(format!("{}{what} ({error:#})", scenario.name));
        }
    }
    failed.extend_from_slice(run.outcome.broken());
    println!("   {} took {:.1} s", scenario.name, started.elapsed().as_secs_f64());
    Ok(failed)
}

async fn guarded(
    scenario: &Scenario,
    run: &mut Run,
    cluster: &Cluster,
) -> Result<(), anyhow::Error> {
    let running = async {
        if !scenario.shares {
            metrics::until_keda_listens(cluster).await?;
        }
        (scenario.start)(run, cluster).await
    };
    tokio::time::timeout(scenario.max_time, running).await.context("took too long").flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_a_name_of_its_own() {
        let mut names: Vec<_> =
            GROUPS.iter().map(|(name, _)| *name).chain(every().map(|s| s.name)).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(every().all(|scenario| named(scenario.name).len() == 1));
    }
}

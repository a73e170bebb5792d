//! Parts of the cluster, stopped and started by its own program. What was stopped here is
//! remembered, so that a scenario that fails leaves a whole cluster behind.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::process::Command;

/// Nothing of a cluster takes longer to stop or to be ready.
const PATIENCE: Duration = Duration::from_secs(120);
/// The program in this checkout; `KIPPER_CLUSTER_BIN` names another.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/local-cluster/cluster");

/// A part of the cluster, by the name that `cluster status` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    Apiserver,
    ControllerManager,
    Scheduler,
    Kubelet,
    KedaOperator,
    KedaMetrics,
}

impl Component {
    fn name(self) -> &'static str {
        match self {
            Self::Apiserver => "apiserver",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Kubelet => "kubelet",
            Self::KedaOperator => "keda-operator",
            Self::KedaMetrics => "keda-metrics",
        }
    }
}

/// How a part is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Terminate,
    Kill,
}

/// The parts that run as processes of this machine.
#[derive(Debug, Default)]
pub struct Components {
    stopped: Mutex<BTreeSet<Component>>,
}

impl Components {
    /// Returns when the part's process is gone.
    pub async fn stop(&self, component: Component, end: End) -> Result<(), anyhow::Error> {
        self.stopped().insert(component);
        call("stop", component, end).await
    }

    /// Returns when the part is ready.
    pub async fn start(&self, component: Component) -> Result<(), anyhow::Error> {
        call("start", component, End::Terminate).await?;
        self.stopped().remove(&component);
        Ok(())
    }

    /// Both, one after the other.
    pub async fn restart(&self, component: Component, end: End) -> Result<(), anyhow::Error> {
        self.stop(component, end).await?;
        self.start(component).await
    }

    /// Starts everything that was stopped and not started again.
    pub async fn start_stopped(&self) -> Result<(), anyhow::Error> {
        let stopped: Vec<Component> = self.stopped().iter().copied().collect();
        for component in stopped {
            self.start(component).await?;
        }
        Ok(())
    }

    /// Only held for one statement, never across an await.
    fn stopped(&self) -> std::sync::MutexGuard<'_, BTreeSet<Component>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cluster's own program.
pub fn program() -> PathBuf {
    std::env::var_os("KIPPER_CLUSTER_BIN").map_or(PROGRAM.into(), PathBuf::from)
}

async fn call(verb: &str, component: Component, end: End) -> Result<(), anyhow::Error> {
    let what = format!("cluster {verb} {}", component.name());
    let mut command = Command::new(program());
    command.args([verb, component.name()]);
    if end == End::Kill {
        command.arg("--kill");
    }
    // The part itself lives in a session of its own; only the program ends with us.
    command.kill_on_drop(true);
    let status = tokio::time::timeout(PATIENCE, command.status()).await;
    let status = status.with_context(|| what.clone())?.with_context(|| what.clone())?;
    anyhow::ensure!(status.success(), "{what}: {status}");
    Ok(())
}

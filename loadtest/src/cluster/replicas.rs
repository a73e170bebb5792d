//! How many pods a Deployment wanted and had, over time, by watch; and who wrote it, by the audit log.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt as _;
use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use kipper_cluster::{
    Cluster, Namespace,
    audit::{Entry, Mark},
    functions,
};
use kube::runtime::{WatchStreamExt as _, watcher::watch_object};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::run::POLL;

/// Who asks for replicas ahead of the HPA, by the end of its name in the audit log.
const ADAPTER: &str = ":kipper-scaler-adapter";

/// Every write to a scale of this namespace since then.
pub(crate) fn scales(
    cluster: &Cluster,
    namespace: &Namespace,
    mark: &Mark,
) -> Result<Vec<Entry>, anyhow::Error> {
    let of_it = |entry: &Entry| {
        let target = &entry.object_ref;
        entry.is_write()
            && entry.succeeded()
            && target.subresource == "scale"
            && target.namespace == namespace.name
    };
    cluster.audit.since(mark, of_it)
}

/// How often the adapter was given replicas in this namespace since then.
pub(crate) fn asks(
    cluster: &Cluster,
    namespace: &Namespace,
    mark: &Mark,
) -> Result<usize, anyhow::Error> {
    let scales = scales(cluster, namespace, mark)?;
    Ok(scales.iter().filter(|entry| entry.user().ends_with(ADAPTER)).count())
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at: Timestamp,
    pub(crate) wanted: i32,
    pub(crate) ready: i32,
}

/// Every change since it began. Its task ends with it.
pub(crate) struct Replicas {
    changes: Arc<Mutex<Vec<Change>>>,
    _watch: JoinSet<()>,
}

impl Replicas {
    pub(crate) fn follow(namespace: &Namespace, name: &str) -> Self {
        let changes = Arc::<Mutex<Vec<Change>>>::default();
        let mut watch = JoinSet::new();
        let (api, name, to) =
            (namespace.api::<Deployment>(), name.to_owned(), Arc::clone(&changes));
        watch.spawn(async move {
            let mut states = watch_object(api, &name).default_backoff().boxed();
            while let Some(state) = states.next().await {
                if let Ok(Some(deployment)) = state {
                    note(&mut lock(&to), &deployment);
                }
            }
        });
        Self { changes, _watch: watch }
    }

    pub(crate) fn changes(&self) -> Vec<Change> {
        lock(&self.changes).clone()
    }

    /// As it is now; nothing before the first event.
    pub(crate) fn now(&self) -> Option<Change> {
        lock(&self.changes).last().copied()
    }

    /// The most that were wanted at any time since `start`, what was wanted then included.
    pub(crate) fn most_wanted_since(&self, start: Timestamp) -> i32 {
        let changes = self.changes();
        let later = changes.iter().filter(|change| change.at >= start);
        let before = changes.iter().rfind(|change| change.at < start);
        later.chain(before).map(|change| change.wanted).max().unwrap_or_default()
    }

    /// Resolves with the first change for which `condition` holds.
    pub(crate) async fn until(
        &self,
        patience: Duration,
        condition: impl Fn(&Change) -> bool,
    ) -> Result<Change, anyhow::Error> {
        self.until_after(0, patience, condition).await
    }

    /// The same, without the first `known` changes.
    pub(crate) async fn until_after(
        &self,
        known: usize,
        patience: Duration,
        condition: impl Fn(&Change) -> bool,
    ) -> Result<Change, anyhow::Error> {
        let deadline = Instant::now() + patience;
        loop {
            let changes = self.changes().split_off(known);
            if let Some(change) = changes.iter().find(|change| condition(change)) {
                return Ok(*change);
            }
            anyhow::ensure!(Instant::now() < deadline, "not within {patience:?}: {changes:?}");
            sleep(POLL).await;
        }
    }
}

fn note(changes: &mut Vec<Change>, deployment: &Deployment) {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
    let change =
        Change { at: Timestamp::now(), wanted, ready: functions::ready_replicas(deployment) };
    let same = |last: &Change| (last.wanted, last.ready) == (change.wanted, change.ready);
    if !changes.last().is_some_and(same) {
        changes.push(change);
    }
}

/// Only held for one statement, never across an await.
fn lock(changes: &Mutex<Vec<Change>>) -> MutexGuard<'_, Vec<Change>> {
    changes.lock().unwrap_or_else(PoisonError::into_inner)
}

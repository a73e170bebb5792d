//! What our own processes say of themselves, on their admin ports.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kipper_cluster::{Cluster, functions, names::SYSTEM};
use kipper_measure::{client::Client, exposition::total};
use kube::{
    Api,
    api::{DynamicObject, ListParams},
};
use tokio::time::{Instant, sleep};

use crate::{requests::get, run::PATIENCE};

const ADMIN_PORT: u16 = 9990;
/// Streams that KEDA holds open, one per function that it would wake.
const KEDA_STREAMS: (&str, &str) = ("scaler-adapter", "kipper_scaler_adapter_keda_streams");
/// How often they are asked.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Selects the pods of one of our components.
pub(crate) fn selector(component: &str) -> String {
    format!("app.kubernetes.io/name=kipper-functions,app.kubernetes.io/component={component}")
}

/// A metric of one of our components, summed over its pods and labels.
pub(crate) async fn metric(
    cluster: &Cluster,
    component: &str,
    name: &str,
) -> Result<f64, anyhow::Error> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), SYSTEM);
    let pods = pods.list(&ListParams::default().labels(&selector(component))).await?;
    anyhow::ensure!(!pods.items.is_empty(), "the cluster has no pod of the {component}");
    let mut sum = 0.0;
    for pod in pods {
        let address = pod.status.and_then(|status| status.pod_ip).context("no address")?;
        let mut client = Client::connect(format!("{address}:{ADMIN_PORT}").parse()?).await?;
        let answer = client.ask(&get(component, "/metrics")).await?;
        sum += total(&String::from_utf8_lossy(&answer.body), name).unwrap_or_default();
    }
    Ok(sum)
}

/// Resolves with the metric once it is at least `least`. Pods that come and go are asked
/// again.
pub(crate) async fn until_metric(
    cluster: &Cluster,
    (component, name): (&str, &str),
    least: f64,
    patience: Duration,
) -> Result<f64, anyhow::Error> {
    let deadline = Instant::now() + patience;
    loop {
        let value = metric(cluster, component, name).await;
        match value {
            Ok(value) if value >= least => return Ok(value),
            value if Instant::now() >= deadline => {
                anyhow::bail!("{name} is {value:?}, not {least}, after {patience:?}")
            }
            _ => sleep(ASK_EVERY).await,
        }
    }
}

/// Functions that KEDA listens for.
async fn keda_streams(cluster: &Cluster) -> Result<usize, anyhow::Error> {
    let (component, name) = KEDA_STREAMS;
    // A gauge of whole numbers.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(metric(cluster, component, name).await? as usize)
}

/// Resolves once KEDA listens for the functions there are and for no others: a wake of one that it
/// does not know would take the second path, and one that is gone counts beside them, for longer
/// than its object lasts. It counts everybody's functions, so it never resolves for sure while others
/// share the cluster.
pub(crate) async fn until_keda_listens(cluster: &Cluster) -> Result<(), anyhow::Error> {
    let all: Api<DynamicObject> =
        Api::all_with(cluster.client.clone(), &functions::scaled_objects());
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        // One that is being deleted may stay for minutes: KEDA finalizes it after the pauses that its
        // former errors have earned it.
        let objects = all.list_metadata(&ListParams::default()).await?.items;
        let ending = objects.iter().filter(|it| it.metadata.deletion_timestamp.is_some()).count();
        let functions = objects.len() - ending;
        let streams = keda_streams(cluster).await?;
        if streams == functions {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "KEDA listens for {streams} functions, and there are {functions}"
        );
        sleep(ASK_EVERY).await;
    }
}

//! Functions at zero that KEDA would wake.

use anyhow::Context as _;
use futures_util::future::try_join_all;
use kipper_cluster::{Cluster, Namespace, functions};
use kipper_function::Function;
use kube::ResourceExt as _;

use crate::cluster::metrics;

/// Applies functions and returns their hosts, in this order, once a request would wake each
/// through KEDA. Only for a scenario that has the cluster for itself.
pub(super) async fn prepare(
    cluster: &Cluster,
    namespace: &Namespace,
    functions: &[Function],
) -> Result<Vec<String>, anyhow::Error> {
    let hosts = apply(namespace, functions).await?;
    metrics::until_keda_listens(cluster).await?;
    Ok(hosts)
}

/// Applies functions and returns their hosts, in this order, once each is in place. The first
/// request may come before KEDA listens, and would then wake its function the second way.
pub(super) async fn apply(
    namespace: &Namespace,
    functions: &[Function],
) -> Result<Vec<String>, anyhow::Error> {
    for function in functions {
        namespace.apply(function).await?;
    }
    let names: Vec<String> = functions.iter().map(Function::name_any).collect();
    let ready = try_join_all(names.iter().map(|name| namespace.until_ready(name))).await?;
    let hosts = ready.iter().map(|function| functions::host(function).context("no URL"));
    hosts.collect()
}

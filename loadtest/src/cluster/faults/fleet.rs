//! Our own Deployments: their pods, and what those say on their admin ports.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kipper_cluster::{Cluster, Namespace, names::SYSTEM};
use kipper_measure::{
    client::{Answer, Client},
    exposition::total,
};
use kube::{Api, ResourceExt as _};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::pods;
use crate::{
    cluster::metrics,
    requests::get,
    run::{PATIENCE, POLL},
};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Of the interceptor; the Service's own port is another.
const PROXY_PORT: u16 = 8080;

/// One of our own Deployments.
#[derive(Clone, Copy)]
pub(super) struct Component {
    pub(super) deployment: &'static str,
    /// As it is labelled.
    name: &'static str,
    admin_port: u16,
}

pub(super) const INTERCEPTOR: Component =
    Component { deployment: "kipper-interceptor", name: "interceptor", admin_port: 9901 };
pub(super) const ADAPTER: Component =
    Component { deployment: "kipper-scaler-adapter", name: "scaler-adapter", admin_port: 9990 };
pub(super) const CONTROLLER: Component =
    Component { deployment: "kipper-controller", name: "controller", admin_port: 9990 };

impl Component {
    /// Its pods that are not on their way out.
    pub(super) async fn pods(&self, cluster: &Cluster) -> Result<Vec<Pod>, anyhow::Error> {
        pods::live(&system(cluster), &metrics::selector(self.name)).await
    }

    /// A value from the metrics page of every pod, summed over pods and labels.
    pub(super) async fn metric(&self, cluster: &Cluster, name: &str) -> Result<f64, anyhow::Error> {
        let mut sum = 0.0;
        for pod in self.pods(cluster).await? {
            let page = self.admin(&pod, "/metrics").await?.body;
            let page = String::from_utf8_lossy(&page);
            sum += total(&page, name).unwrap_or_default();
        }
        Ok(sum)
    }

    /// Resolves once none of these pods is left and as many others are ready.
    pub(super) async fn until_replaced(
        &self,
        cluster: &Cluster,
        before: &[Pod],
    ) -> Result<(), anyhow::Error> {
        let looking = async {
            loop {
                let pods = self.pods(cluster).await?;
                let is_new = |pod: &&Pod| before.iter().all(|old| old.name_any() != pod.name_any());
                if pods.iter().filter(is_new).filter(|pod| pods::is_ready(pod)).count()
                    == before.len()
                {
                    return Ok(());
                }
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(PATIENCE, looking).await.context("no new pods")?
    }

    async fn admin(&self, pod: &Pod, path: &str) -> Result<Answer, anyhow::Error> {
        let mut client = Client::connect(address(pod, self.admin_port)?).await?;
        Ok(client.ask(&get("admin", path)).await?)
    }
}

/// Where our own components live.
pub(super) fn system<K>(cluster: &Cluster) -> Api<K>
where
    K: kube::Resource<DynamicType: Default, Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(cluster.client.clone(), SYSTEM)
}

/// A port of a pod.
pub(super) fn address(pod: &Pod, port: u16) -> Result<SocketAddr, anyhow::Error> {
    let status = pod.status.as_ref();
    let ip =
        status.and_then(|status| status.pod_ip.as_ref()).context("a pod without an address")?;
    Ok(SocketAddr::new(ip.parse()?, port))
}

/// Where an interceptor takes requests, past the Service.
pub(super) fn proxy(pod: &Pod) -> Result<SocketAddr, anyhow::Error> {
    address(pod, PROXY_PORT)
}

/// An interceptor's view of one function.
#[derive(Debug, Deserialize)]
struct Route {
    namespace: String,
    name: String,
    held: usize,
}

/// Requests that interceptors hold for a function.
pub(super) async fn held(
    interceptors: &[Pod],
    namespace: &Namespace,
    function: &str,
) -> Result<usize, anyhow::Error> {
    let mut held = 0;
    for pod in interceptors {
        let page = INTERCEPTOR.admin(pod, "/routes").await?;
        let routes: Vec<Route> = serde_json::from_slice(&page.body).context("/routes")?;
        let own = routes.iter().filter(|r| r.namespace == namespace.name && r.name == function);
        held += own.map(|route| route.held).sum::<usize>();
    }
    Ok(held)
}

/// Resolves once interceptors hold exactly so many requests for a function.
pub(super) async fn until_held(
    interceptors: &[Pod],
    namespace: &Namespace,
    function: &str,
    count: usize,
) -> Result<(), anyhow::Error> {
    let mut last = 0;
    let counting = async {
        loop {
            last = held(interceptors, namespace, function).await?;
            if last == count {
                return Ok(());
            }
            sleep(POLL).await;
        }
    };
    let counted = timeout(PATIENCE, counting).await;
    counted.unwrap_or_else(|_| anyhow::bail!("{last} of {count} requests are held"))
}

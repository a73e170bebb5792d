//! The floor of a wake: the same pod, scaled from zero by hand. What Kubernetes needs between the
//! scale and a listening pod is nobody's to save, and is measured in the same run.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        core::v1::{Service, ServicePort, ServiceSpec},
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
    jiff::Timestamp,
};
use kipper_cluster::{Cluster, Namespace, watch};
use kube::api::PostParams;

use super::wake::{self, Scaled, Witness};
use crate::run::PATIENCE;

/// One start by hand.
#[derive(Clone, Debug)]
pub(crate) struct Floor {
    /// Volumes of its pod.
    pub(crate) volumes: usize,
    pub(crate) scaled: Scaled,
    pub(crate) in_slice: Timestamp,
    pub(crate) listening: Timestamp,
}

/// Makes `name`, a Deployment with the pods of `function` and a Service before it, at zero. It has
/// none of our labels, so that neither interceptor nor controller see it.
pub(crate) async fn prepare(
    namespace: &Namespace,
    function: &str,
    name: &str,
) -> Result<(), anyhow::Error> {
    let model = namespace.api::<Deployment>().get(function).await?;
    let mut template = model.spec.context("a Deployment without spec")?.template;
    let labels = BTreeMap::from([("floor".to_owned(), name.to_owned())]);
    template.metadata = Some(ObjectMeta { labels: Some(labels.clone()), ..ObjectMeta::default() });
    let containers = template.spec.iter().flat_map(|spec| &spec.containers);
    let port = containers.flat_map(|container| container.ports.iter().flatten()).next();
    let port = port.context("the pods have no port")?.container_port;
    let metadata = || ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let deployment = Deployment {
        metadata: metadata(),
        spec: Some(DeploymentSpec {
            replicas: Some(0),
            selector: LabelSelector {
                match_labels: Some(labels.clone()),
                ..LabelSelector::default()
            },
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    };
    let service = Service {
        metadata: metadata(),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(labels),
            ports: Some(vec![ServicePort { port, ..ServicePort::default() }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    namespace.api().create(&PostParams::default(), &service).await?;
    namespace.api().create(&PostParams::default(), &deployment).await?;
    // Its ReplicaSet is there before the first scale, as a function's is.
    let observed = |found: Option<&Deployment>| {
        let status = found.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| status.observed_generation.is_some())
    };
    watch::object(&namespace.api(), name, PATIENCE, observed).await?;
    Ok(())
}

/// Scales it to one and says what happened when.
pub(crate) async fn measure(
    cluster: &Cluster,
    namespace: &Namespace,
    witness: &Witness,
    name: &str,
) -> Result<Floor, anyhow::Error> {
    let pod = namespace.api::<Deployment>().get(name).await?.spec.and_then(|it| it.template.spec);
    let volumes = pod.and_then(|pod| pod.volumes).map_or(0, |volumes| volumes.len());
    let mark = cluster.audit.mark()?;
    namespace.scale(name, 1).await?;
    let seen = witness.until(name, |seen| seen.listening.is_some()).await?;
    let scaled = wake::scaled(cluster, namespace, name, &mark)?;
    let (Some(in_slice), Some(listening)) = (seen.in_slice, seen.listening) else {
        anyhow::bail!("unreachable: what listens was in a slice")
    };
    Ok(Floor { volumes, scaled, in_slice, listening })
}

//! Whether a function reaches the source of its events, tried where it runs and with what it has.
//!
//! A Job is made of the poller in the function's own pods: its image, its credentials, its trigger. It
//! asks the poller for its check instead of its work, so nothing is claimed and nothing delivered. It
//! cleans itself up.

use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job, core::v1::Container};
use kipper_function::names;
use kube::Api;

use crate::{ApiError, Connection, check_job, test_run};

/// The poller's own command for it.
const CHECK: &str = "check";

/// Why a source is not checked.
#[derive(Debug, thiserror::Error)]
pub enum SourceCheckError {
    /// The cluster said no.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// There is no poller to ask.
    #[error("function {0} has no poller yet: `kip function describe {0}` shows what it waits for")]
    NoPoller(String),
}

/// Starts the check for a function; the name of its Job, which
/// [`TestRuns::follow`](crate::test_run::TestRuns::follow) follows.
///
/// # Errors
/// When the function has no poller, or the cluster says no.
pub async fn start(connection: &Connection, function: &str) -> Result<String, SourceCheckError> {
    let namespace = &connection.namespace;
    let deployments: Api<Deployment> = Api::namespaced(connection.client.clone(), namespace);
    let jobs: Api<Job> = Api::namespaced(connection.client.clone(), namespace);
    let error = |what: String| move |error| ApiError::read(error, &what, namespace);
    let found = deployments.get_opt(function).await;
    let found = found.map_err(error(format!("deployment {function}")))?;
    let no_poller = || SourceCheckError::NoPoller(function.to_owned());
    let deployment = found.ok_or_else(no_poller)?;
    let draw = || job(&deployment).ok_or_else(no_poller);
    test_run::create(&jobs, namespace, draw).await
}

/// The Job of a check; `None` where the pods of the Deployment have no poller.
fn job(deployment: &Deployment) -> Option<Job> {
    let name = deployment.metadata.name.as_deref()?;
    let template = &deployment.spec.as_ref()?.template;
    let pod = template.spec.as_ref()?;
    let mut pollers = pod.init_containers.iter().flatten();
    let poller = pollers.find(|container| container.name == names::POLLER_CONTAINER)?;
    let container = Container {
        args: Some(vec![CHECK.to_owned()]),
        ports: None,
        liveness_probe: None,
        readiness_probe: None,
        restart_policy: None,
        ..poller.clone()
    };
    let is_mounted =
        |volume: &str| container.volume_mounts.iter().flatten().any(|mount| mount.name == volume);
    let volumes = pod.volumes.iter().flatten().filter(|volume| is_mounted(&volume.name));
    let volumes: Vec<_> = volumes.cloned().collect();
    check_job::job(name, template, container, volumes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn deployment(init_containers: &Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": { "name": "orders" },
            "spec": { "selector": {}, "template": {
                "metadata": {
                    "labels": {
                        "app": "orders",
                        "app.kubernetes.io/component": "server",
                        "kipper.run/resource-type": "function",
                    },
                    "annotations": { "kipper.run/trigger-digest": "d" },
                },
                "spec": {
                    "automountServiceAccountToken": false,
                    "containers": [{ "name": "function", "image": "registry/orders" }],
                    "initContainers": init_containers,
                    "topologySpreadConstraints": [
                        { "maxSkew": 1, "topologyKey": "h", "whenUnsatisfiable": "ScheduleAnyway" },
                    ],
                    "volumes": [{ "name": "tmp" }, { "name": "source-ca" }],
                },
            } },
        }))
        .unwrap()
    }

    #[test]
    fn the_poller_of_the_function_checks_its_source() {
        let poller = json!({
            "name": "kipper-poll", "image": "kipper/poller:1", "restartPolicy": "Always",
            "env": [{ "name": "KIPPER_QUERY", "value": "SELECT 1" }],
            "livenessProbe": { "tcpSocket": { "port": 1 } },
            "volumeMounts": [{ "name": "source-ca", "mountPath": "/ca" }],
        });
        let job = job(&deployment(&json!([poller]))).unwrap();
        let job = serde_json::to_value(job).unwrap();
        let name = job["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("orders-test-"), "{name}");
        let labels = json!({
            "app": "orders", "app.kubernetes.io/component": "batch", "kipper.run/test-run": "true",
        });
        assert_eq!(job["spec"]["backoffLimit"], 0);
        assert_eq!(
            job["spec"]["template"],
            json!({
                "metadata": { "labels": labels },
                "spec": {
                    "automountServiceAccountToken": false,
                    "restartPolicy": "Never",
                    "containers": [{
                        "name": "kipper-poll", "image": "kipper/poller:1", "args": ["check"],
                        "env": [{ "name": "KIPPER_QUERY", "value": "SELECT 1" }],
                        "volumeMounts": [{ "name": "source-ca", "mountPath": "/ca" }],
                    }],
                    "volumes": [{ "name": "source-ca" }],
                },
            })
        );
        assert!(super::job(&deployment(&json!([]))).is_none());
    }
}

//! Lets go of every Function before an uninstallation: afterwards nobody would, and a namespace
//! with a Function in it could never be deleted.
//!
//! The controller is stopped first, or it would take hold of them again. Workloads stay: they
//! belong to their Functions, which stay too. Databases are never dropped here.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{Pod, Secret},
    networking::v1::Ingress,
};
use kipper_function::{Function, names};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{config::ReleaseConfig, namespaces};

/// The controller has to be gone within this.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_POLL: Duration = Duration::from_millis(500);
/// Functions per page.
const PAGE_SIZE: u32 = 200;

/// Runs once, to the end.
pub async fn release(config: ReleaseConfig) -> anyhow::Result<()> {
    let client = Client::try_default().await?;
    stop_controller(&client, &config).await?;
    let (released, namespaces) = release_functions(&client).await?;
    for namespace in &namespaces {
        namespaces::give_back(&client, namespace).await?;
    }
    remove_publication(&client, &config.namespace).await?;
    tracing::info!(released, "functions released");
    Ok(())
}

async fn stop_controller(client: &Client, config: &ReleaseConfig) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &config.namespace);
    let Some(deployment) = deployments.get_opt(&config.deployment).await? else { return Ok(()) };
    let scale = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    deployments.patch_scale(&config.deployment, &PatchParams::default(), &scale).await?;
    let labels = deployment.spec.and_then(|spec| spec.selector.match_labels).unwrap_or_default();
    let selector: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &config.namespace);
    let deadline = Instant::now() + STOP_TIMEOUT;
    loop {
        let left = pods.list_metadata(&ListParams::default().labels(&selector.join(","))).await?;
        if left.items.is_empty() {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "the controller's pods did not end");
        tokio::time::sleep(STOP_POLL).await;
    }
}

/// Removes the finalizer from every Function; how many had it, and where there are any.
async fn release_functions(client: &Client) -> anyhow::Result<(usize, BTreeSet<String>)> {
    let all: Api<Function> = Api::all(client.clone());
    let mut page = ListParams::default().limit(PAGE_SIZE);
    let (mut released, mut namespaces) = (0, BTreeSet::new());
    loop {
        let functions = all.list_metadata(&page).await?;
        for function in &functions.items {
            let Some(namespace) = function.namespace() else { continue };
            namespaces.insert(namespace.clone());
            let kept: Vec<_> =
                function.finalizers().iter().filter(|f| *f != names::FINALIZER).collect();
            if kept.len() == function.finalizers().len() {
                continue;
            }
            let metadata =
                json!({ "finalizers": kept, "resourceVersion": function.resource_version() });
            let patch = Patch::Merge(json!({ "metadata": metadata }));
            let api: Api<Function> = Api::namespaced(client.clone(), &namespace);
            match api.patch_metadata(&function.name_any(), &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => drop(other?),
            }
            released += 1;
        }
        match functions.metadata.continue_ {
            Some(token) if !token.is_empty() => page = page.continue_token(&token),
            _ => return Ok((released, namespaces)),
        }
    }
}

async fn remove_publication(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels(names::FUNCTION_SELECTOR);
    ingresses.delete_collection(&DeleteParams::default(), &ours).await?;
    let claims: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let selector = format!("{}={}", names::RESOURCE_TYPE, names::HOST_CLAIM);
    let claimed = ListParams::default().labels(&selector);
    claims.delete_collection(&DeleteParams::default(), &claimed).await?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let buckets = ListParams::default().labels(&format!("{}=true", names::BUCKET_TRIGGER));
    secrets.delete_collection(&DeleteParams::default(), &buckets).await?;
    Ok(())
}

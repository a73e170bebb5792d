//! Whether a function is let in by the server of a binding, tried where it runs and with what it has.
//!
//! A Job has the function's place, labels and the variables that the binding injects, and the program of
//! the pollers, which logs in with them and leaves. As for a source of events
//! ([`source_check`](crate::source_check)) nothing is read or written, and the Job cleans itself up.

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::{CronJob, Job},
    core::v1::{
        Container, EnvVar, KeyToPath, PodTemplateSpec, SecretVolumeSource, Volume, VolumeMount,
    },
};
use kipper_function::{
    Function,
    function::ServiceBinding,
    names,
    service::{ServiceKind, credentials},
};
use kipper_trigger::{CA_DIRECTORY, CA_FILE};
use kube::{Api, ResourceExt as _};

use crate::{ApiError, Connection, check_job, services, test_run};

/// The program's command for it.
const BOUND: &str = "bound";
/// Volume with the certificate authority of the server, where its Secret has one.
const CA_VOLUME: &str = "binding-ca";

/// Why a binding is not tried.
#[derive(Debug, thiserror::Error)]
pub enum BindingCheckError {
    /// The cluster said no.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The program knows no such servers.
    #[error(
        "function {function}: bindings of {kind} services cannot be tried, because the pollers' image \
         has no client for them; `kip function describe {function}` shows what the server answered to \
         the controller"
    )]
    NoClient {
        /// The function.
        function: String,
        /// What the service is.
        kind: ServiceKind,
    },
    /// There is nothing it could be tried with.
    #[error(
        "function {0} has no pods to run yet: `kip function describe {0}` shows what it waits for"
    )]
    NotRendered(String),
    /// The function runs without the binding so far.
    #[error(
        "function {function} has no variables of service {service} yet: `kip function describe \
         {function}` shows why"
    )]
    NotBound {
        /// The function.
        function: String,
        /// The service.
        service: String,
    },
}

/// Starts the check of a binding with the program in `image`; the name of its Job, which
/// [`TestRuns::follow`](crate::test_run::TestRuns::follow) follows.
///
/// # Errors
/// When the binding cannot be tried, or the cluster says no.
pub async fn start(
    connection: &Connection,
    function: &Function,
    binding: &ServiceBinding,
    kind: ServiceKind,
    image: &str,
) -> Result<String, BindingCheckError> {
    let name = function.name_any();
    if kind == ServiceKind::Mongodb {
        return Err(BindingCheckError::NoClient { function: name, kind });
    }
    let template = template(connection, function).await?;
    let template = template.ok_or_else(|| BindingCheckError::NotRendered(name.clone()))?;
    let container = container(&template, binding, kind, image);
    let container = container.ok_or_else(|| BindingCheckError::NotBound {
        function: name.clone(),
        service: binding.name.clone(),
    })?;
    let draw = || {
        let job = check_job::job(&name, &template, container.clone(), vec![volume(binding)]);
        job.ok_or_else(|| BindingCheckError::NotRendered(name.clone()))
    };
    let jobs: Api<Job> = Api::namespaced(connection.client.clone(), &connection.namespace);
    test_run::create(&jobs, &connection.namespace, draw).await
}

/// What the function's pods are made of: those that serve, else those of its schedule.
async fn template(
    connection: &Connection,
    function: &Function,
) -> Result<Option<PodTemplateSpec>, ApiError> {
    let (client, namespace) = (&connection.client, &connection.namespace);
    let name = function.name_any();
    if function.spec.is_served() {
        let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let found = api.get_opt(&name).await;
        let read = |error| ApiError::read(error, &format!("deployment {name}"), namespace);
        return Ok(found.map_err(read)?.and_then(|found| Some(found.spec?.template)));
    }
    let cron_job = names::cron_job(&name);
    let api: Api<CronJob> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(&cron_job).await;
    let read = |error| ApiError::read(error, &format!("cronjob {cron_job}"), namespace);
    let spec = found.map_err(read)?.and_then(|found| found.spec);
    Ok(spec.and_then(|spec| Some(spec.job_template.spec?.template)))
}

/// The program beside the binding's variables; `None` where the function has none of them.
fn container(
    template: &PodTemplateSpec,
    binding: &ServiceBinding,
    kind: ServiceKind,
    image: &str,
) -> Option<Container> {
    let all = &template.spec.as_ref()?.containers;
    let own = all.iter().find(|container| container.name == names::CONTAINER)?;
    let injected = services::injected(binding, kind);
    let variables = own.env.iter().flatten().filter(|it| injected.contains(&it.name)).cloned();
    let env: Vec<EnvVar> = variables.collect();
    let args = [
        BOUND.to_owned(),
        format!("--kind={kind}"),
        format!("--prefix={}", services::prefix(binding, kind)),
        format!("--ca={CA_DIRECTORY}/{CA_FILE}"),
    ];
    let mount = VolumeMount {
        name: CA_VOLUME.to_owned(),
        mount_path: CA_DIRECTORY.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    (!env.is_empty()).then(|| Container {
        name: names::POLLER_CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: own.image_pull_policy.clone(),
        args: Some(args.into()),
        env: Some(env),
        resources: own.resources.clone(),
        security_context: own.security_context.clone(),
        volume_mounts: Some(vec![mount]),
        ..Container::default()
    })
}

/// The certificate authority, which functions are not given: they bring their own.
fn volume(binding: &ServiceBinding) -> Volume {
    let item = KeyToPath { key: credentials::CA.to_owned(), path: CA_FILE.to_owned(), mode: None };
    let secret = SecretVolumeSource {
        secret_name: Some(names::service_credentials(&binding.name)),
        items: Some(vec![item]),
        optional: Some(true),
        ..SecretVolumeSource::default()
    };
    Volume { name: CA_VOLUME.to_owned(), secret: Some(secret), ..Volume::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn the_program_has_the_bindings_variables_and_no_others() {
        let from = |name: &str, key: &str| {
            let selector = json!({ "name": "report-eventdb", "key": key });
            json!({ "name": name, "valueFrom": { "secretKeyRef": selector } })
        };
        let template: PodTemplateSpec = serde_json::from_value(json!({ "spec": { "containers": [{
            "name": "function", "image": "registry/report",
            "env": [
                from("PG_HOST", "HOST"), from("PG_USERNAME", "USERNAME"), from("DB_HOST", "HOST"),
                { "name": "LEVEL", "value": "1" },
            ],
            "imagePullPolicy": "Always", "securityContext": { "runAsNonRoot": true },
        }] } }))
        .unwrap();
        let prefix = Some("PG_".to_owned());
        let binding =
            ServiceBinding { name: "eventdb".to_owned(), prefix, ..ServiceBinding::default() };
        let made = container(&template, &binding, ServiceKind::Postgres, "kipper/poller:1");
        assert_eq!(
            serde_json::to_value(made.unwrap()).unwrap(),
            json!({
                "name": "kipper-poll", "image": "kipper/poller:1", "imagePullPolicy": "Always",
                "args": [
                    "bound", "--kind=postgres", "--prefix=PG_",
                    format!("--ca={CA_DIRECTORY}/{CA_FILE}"),
                ],
                "env": [from("PG_HOST", "HOST")],
                "securityContext": { "runAsNonRoot": true },
                "volumeMounts": [
                    { "name": CA_VOLUME, "mountPath": CA_DIRECTORY, "readOnly": true },
                ],
            })
        );
        let other = ServiceBinding { prefix: Some("X_".to_owned()), ..binding };
        assert!(container(&template, &other, ServiceKind::Postgres, "i").is_none());
    }
}

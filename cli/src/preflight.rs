//! What is checked before a Function is written: its fields, what it refers to, its host.

use kipper_client::{
    ApiError, check, functions,
    hosts::{self, Taken},
    namespaces,
    secrets::Secrets,
    services::Services,
    volumes::Volumes,
};
use kipper_function::{
    Function,
    function::{ImagePullSecret, Volume},
};
use kipper_process::exit::UsageError;
use kube::ResourceExt as _;

use crate::{output, session::Session};

/// Checks the fields, without a cluster.
///
/// # Errors
/// What is wrong, in the words of the resource.
pub(crate) fn fields(function: &Function) -> Result<(), UsageError> {
    let problems = check::function(function);
    if problems.is_empty() {
        return Ok(());
    }
    let name = function.name_any();
    Err(UsageError::new(format!("function {name}: {}", functions::join(&problems))))
}

/// Checks that the services it names exist and fit. A user who may not read services is not held up.
///
/// # Errors
/// The first problem, or that the services cannot be read.
pub(crate) async fn services(session: &Session, function: &Function) -> anyhow::Result<()> {
    if function.spec.service_bindings.is_empty() && function.spec.event_trigger().is_none() {
        return Ok(());
    }
    let services = match Services::read(&session.connection).await {
        Ok(services) => services,
        Err(ApiError::Forbidden(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let Some(problem) = services.problems(&function.spec).into_iter().next() else {
        return Ok(());
    };
    if namespaces::exists(&session.connection).await == Some(false) {
        return Err(ApiError::NoNamespace(session.namespace().to_owned()).into());
    }
    Err(problem.into())
}

/// Checks that volumes exist. A user who may not read them is not held up.
///
/// # Errors
/// The first one that is missing, or that they cannot be read.
pub(crate) async fn volumes<'a>(
    session: &Session,
    mounted: impl IntoIterator<Item = &'a Volume>,
) -> anyhow::Result<()> {
    let volumes = Volumes::new(&session.connection);
    for volume in mounted {
        if ApiError::allowed(volumes.exists(&volume.name).await)? != Some(false) {
            continue;
        }
        let namespace = session.namespace().to_owned();
        if namespaces::exists(&session.connection).await == Some(false) {
            return Err(ApiError::NoNamespace(namespace).into());
        }
        let what = format!("volume {}", volume.name);
        return Err(ApiError::NotFound { what, namespace }.into());
    }
    Ok(())
}

/// Warns of Secrets with registry credentials that do not exist: an image that anybody may pull needs
/// none.
///
/// # Errors
/// That they cannot be read.
pub(crate) async fn image_pull_secrets<'a>(
    session: &Session,
    secrets: impl IntoIterator<Item = &'a ImagePullSecret>,
) -> anyhow::Result<()> {
    let known = Secrets::new(&session.connection);
    for ImagePullSecret { name } in secrets {
        if ApiError::allowed(known.exists(name).await)? == Some(false) {
            output::note(format!(
                "warning: image pull secret {name} does not exist in namespace {}; without it an \
                 image of a private registry cannot be pulled",
                session.namespace()
            ));
        }
    }
    Ok(())
}

/// Who already has the host of the function, if anyone.
///
/// # Errors
/// When the cluster does not answer.
pub(crate) async fn host(
    session: &Session,
    function: &Function,
) -> Result<Option<Taken>, ApiError> {
    if !function.spec.is_http() {
        return Ok(None);
    }
    let cluster = session.cluster().await?;
    let system = &session.settings.system_namespace;
    hosts::taken(&session.connection, cluster.as_ref(), system, &function.name_any()).await
}

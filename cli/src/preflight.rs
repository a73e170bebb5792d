//! What is checked before a Function is written: its fields, its services, its host.

use kipper_client::{
    ApiError, check, functions,
    hosts::{self, Taken},
    namespaces,
    services::Services,
};
use kipper_function::Function;
use kipper_process::exit::UsageError;
use kube::ResourceExt as _;

use crate::session::Session;

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

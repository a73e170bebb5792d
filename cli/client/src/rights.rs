//! What a connection's user may do, as the API server says beforehand.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kipper_function::Function;
use kube::{Api, Resource as _, api::PostParams};

use crate::{ApiError, Connection};

/// Whether the user may `verb` the Functions of the connection's namespace.
///
/// # Errors
/// Whatever the cluster says of the question.
pub async fn may(connection: &Connection, verb: &str) -> Result<bool, ApiError> {
    let asked = ResourceAttributes {
        group: Some(Function::group(&()).into_owned()),
        resource: Some(Function::plural(&()).into_owned()),
        namespace: Some(connection.namespace.clone()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    review(connection, asked).await
}

/// Whether the user may patch one Secret, there or not.
///
/// # Errors
/// Whatever the cluster says of the question.
pub async fn may_patch_secret(
    connection: &Connection,
    namespace: &str,
    name: &str,
) -> Result<bool, ApiError> {
    let asked = ResourceAttributes {
        resource: Some("secrets".to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        verb: Some("patch".to_owned()),
        ..ResourceAttributes::default()
    };
    review(connection, asked).await
}

async fn review(connection: &Connection, asked: ResourceAttributes) -> Result<bool, ApiError> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(asked),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(connection.client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(|error| ApiError::read(error, "rights", &connection.namespace))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

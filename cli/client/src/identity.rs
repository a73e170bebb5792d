//! Who the cluster takes a connection's user for.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{Api, api::PostParams};

use crate::{ApiError, Connection};

/// The user's name.
///
/// # Errors
/// [`ApiError::Unauthorized`] when the credentials do not count.
pub async fn user(connection: &Connection) -> Result<String, ApiError> {
    let api: Api<SelfSubjectReview> = Api::all(connection.client.clone());
    let review = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let review = review.map_err(|error| ApiError::read(error, "identity", ""))?;
    let user = review.status.and_then(|status| status.user_info);
    Ok(user.and_then(|user| user.username).unwrap_or_default())
}

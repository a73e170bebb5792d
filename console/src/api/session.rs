//! Log in with a token, log out.

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::input::Body;
use crate::{access::Access, backend::Result};

/// Not `Debug`: the token is nothing to print.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    token: String,
}

pub(super) async fn login(
    State(access): State<Access>,
    Body(given): Body<Given>,
) -> Result<(StatusCode, HeaderMap)> {
    let cookies = access.of_sessions()?.login(given.token.trim()).await?;
    Ok((StatusCode::NO_CONTENT, cookies))
}

pub(super) async fn logout(
    State(access): State<Access>,
    headers: HeaderMap,
) -> Result<(StatusCode, HeaderMap)> {
    let cookies = access.of_sessions()?.logout(&headers);
    Ok((StatusCode::NO_CONTENT, cookies))
}

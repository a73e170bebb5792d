//! The way to the identity provider and back. Each answer leads the browser on; the page shows what went
//! wrong (`oidc::attempt`).

use axum::{
    Router,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, LOCATION},
};
use serde::Deserialize;

use crate::{
    Problem, Reason,
    access::Access,
    backend::Result,
    oidc::{CALLBACK, Callback},
    origin::LOGIN,
    sessions::Redirect,
};

#[derive(Deserialize)]
struct Begin {
    /// Where the user is.
    #[serde(default)]
    to: String,
}

/// Both ways.
pub(crate) fn routes(access: Access) -> Router {
    Router::new().route(LOGIN, get(begin)).route(CALLBACK, get(finish)).with_state(access)
}

async fn begin(State(access): State<Access>, Query(begin): Query<Begin>) -> Result<Redirect> {
    access.of_sessions()?.begin_login(&begin.to).await
}

async fn finish(
    State(access): State<Access>,
    headers: HeaderMap,
    Query(callback): Query<Callback>,
) -> Result<Redirect> {
    access.of_sessions()?.finish_login(&headers, callback).await
}

impl IntoResponse for Redirect {
    fn into_response(self) -> Response {
        let Ok(location) = HeaderValue::from_str(&self.to) else {
            let error = "the identity provider's URL is none";
            return Problem::new(Reason::Internal, error).into_response();
        };
        let no_store = HeaderValue::from_static("no-store");
        let fields = [(LOCATION, location), (CACHE_CONTROL, no_store)];
        (StatusCode::SEE_OTHER, fields, self.cookies).into_response()
    }
}

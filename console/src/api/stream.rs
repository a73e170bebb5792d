//! The one connection on which a page hears of changes: a line of JSON each.
//!
//! Browsers allow six connections per host over HTTP/1.1, and `EventSource` cannot send a header; so
//! status, lines and rates of what a page shows come on one `fetch`.

use axum::{extract::Query, response::Response};
use serde::Deserialize;

use super::{input::User, lines};
use crate::backend::Watch;

/// What is to be watched.
#[derive(Deserialize)]
pub(super) struct Asked {
    ns: String,
    #[serde(rename = "fn")]
    name: Option<String>,
    #[serde(default)]
    logs: bool,
}

pub(super) async fn follow(User(backend): User, Query(asked): Query<Asked>) -> Response {
    let name = asked.name.filter(|name| !name.is_empty());
    lines::answer(backend.watch(Watch { namespace: asked.ns, name, logs: asked.logs }))
}

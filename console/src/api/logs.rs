//! What a function said, and what was said of it.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, Query},
};
use kipper_client::logs::{Search, SearchError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::input::User;
use crate::{
    Problem, Reason,
    backend::{LogQuery, Name, Result},
    model::Lines,
};

/// As long as the longest range of the page.
const MAX_SINCE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Without a range.
const SINCE: Duration = Duration::from_secs(3600);

/// Which lines.
#[derive(Deserialize)]
pub(super) struct Asked {
    since: Option<String>,
    search: Option<String>,
}

pub(super) async fn recent(
    User(backend): User,
    Path((ns, name)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Json<Lines>> {
    let since = asked.since.as_deref().map_or(Ok(SINCE), since)?;
    let search = asked.search.filter(|search| !search.is_empty()).map(|text| search(&text));
    let search = search.transpose()?;
    let name = Name { namespace: &ns, name: &name };
    backend.logs(name, &LogQuery { since, search }).await.map(Json)
}

fn since(text: &str) -> Result<Duration> {
    let parsed = humantime::parse_duration(text).ok().filter(|since| *since <= MAX_SINCE);
    let error = "since must be a duration such as 5m or 24h, of at most 7d";
    parsed.ok_or_else(|| Problem::new(Reason::BadRequest, error))
}

fn search(text: &str) -> Result<Search> {
    text.parse().map_err(|error: SearchError| Problem::new(Reason::BadRequest, error.to_string()))
}

pub(super) async fn events(
    User(backend): User,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<Value>> {
    let name = Name { namespace: &namespace, name: &name };
    Ok(Json(json!({ "items": backend.events(name).await? })))
}

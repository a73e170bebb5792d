//! The one connection on which a page hears of changes: a line of JSON each.
//!
//! Browsers allow six connections per host over HTTP/1.1, and `EventSource` cannot send a header; so
//! status, lines and rates of what a page shows come on one `fetch`.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::Query,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::input::User;
use crate::{backend::Watch, model::Update};

/// Between two empty lines: below the usual minute of proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

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
    let updates = backend.watch(Watch { namespace: asked.ns, name, logs: asked.logs });
    let mut alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lines = stream::unfold((updates, alive), |(mut updates, mut alive)| async {
        let line = next(&mut updates, &mut alive).await?;
        Some((Ok::<_, Infallible>(line), (updates, alive)))
    });
    let fields = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    (fields, Body::from_stream(lines)).into_response()
}

async fn next(
    updates: &mut stream::BoxStream<'static, Update>,
    alive: &mut Interval,
) -> Option<Bytes> {
    tokio::select! {
        update = updates.next() => Some(line(&update?)),
        _ = alive.tick() => Some(Bytes::from_static(b"\n")),
    }
}

fn line(update: &Update) -> Bytes {
    // Never fails for these types, whose keys are strings.
    let mut line = serde_json::to_vec(update).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

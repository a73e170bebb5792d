//! An answer that is a line of JSON for each event, with an empty one wherever nothing came for a while.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{
    HeaderName,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Serialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// nginx gathers some kilobytes of an answer before it sends them on, unless the answer says otherwise.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Between two empty lines: below the usual minute of proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The answer, which ends with the events.
pub(super) fn answer<T: Serialize + Send + 'static>(
    events: impl Stream<Item = T> + Send + 'static,
) -> Response {
    let mut alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lines = stream::unfold((events.boxed(), alive), |(mut events, mut alive)| async {
        let line = next(&mut events, &mut alive).await?;
        Some((Ok::<_, Infallible>(line), (events, alive)))
    });
    let fields =
        [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store"), (UNBUFFERED, "no")];
    (fields, Body::from_stream(lines)).into_response()
}

async fn next<T: Serialize>(
    events: &mut stream::BoxStream<'static, T>,
    alive: &mut Interval,
) -> Option<Bytes> {
    tokio::select! {
        event = events.next() => Some(line(&event?)),
        _ = alive.tick() => Some(Bytes::from_static(b"\n")),
    }
}

fn line(event: &impl Serialize) -> Bytes {
    // Never fails for these types, whose keys are strings.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

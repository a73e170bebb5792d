//! What becomes of functions, as it happens: one task per page, which ends with the page's connection.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream::BoxStream};
use kipper_client::{
    ApiError, Connection,
    functions::{Functions, Seen, Selection},
    logs::{Logs, Query},
    wait::states,
};
use kipper_function::Function;
use kube::ResourceExt as _;
use tokio::sync::mpsc;

use super::{
    super::{Watch, updates},
    shown::{detail, line, summary},
};
use crate::{Problem, model::Update};

/// Updates on their way to a page; whoever makes them waits at the bound, but for lines, which are
/// left out and said to be.
const QUEUE: usize = 1024;
/// How far back the first lines of the stream go.
const SINCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Follows what is asked for.
pub(super) fn follow(connection: Connection, watch: Watch) -> BoxStream<'static, Update> {
    updates(QUEUE, |updates| async move {
        let failed = match &watch.name {
            None => list(&connection, &updates).await,
            Some(name) if watch.logs => tokio::select! {
                failed = one(&connection, name, &updates) => failed,
                failed = lines(&connection, name, &updates) => failed,
            },
            Some(name) => one(&connection, name, &updates).await,
        };
        if let Err(error) = failed {
            let Problem { error, reason, .. } = error.into();
            // Nobody listens any more.
            let _ = updates.send(Update::Error { error, reason }).await;
        }
    })
}

async fn list(connection: &Connection, updates: &mpsc::Sender<Update>) -> Result<(), ApiError> {
    let mut known: BTreeMap<String, Function> = BTreeMap::new();
    let take = |seen: Seen| {
        match seen {
            Seen::All(all) => known = all.into_iter().map(|f| (f.name_any(), f)).collect(),
            Seen::Changed(function) => drop(known.insert(function.name_any(), *function)),
            Seen::Gone(function) => drop(known.remove(&function.name_any())),
        }
        let items = known.values().cloned().map(summary).collect();
        // At the bound the next change brings all of it again.
        let _ = updates.try_send(Update::Functions { items });
    };
    Functions::new(connection).watch(&Selection::default(), take).await
}

async fn one(
    connection: &Connection,
    name: &str,
    updates: &mpsc::Sender<Update>,
) -> Result<(), ApiError> {
    let functions = Functions::new(connection);
    let mut states = Box::pin(states(&functions, name));
    let mut was_there = false;
    while let Some(state) = states.next().await {
        let update = match state? {
            Some(function) => {
                was_there = true;
                Update::Function { function: Box::new(detail(function)) }
            }
            None if was_there => Update::Gone,
            None => continue,
        };
        if updates.send(update).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn lines(
    connection: &Connection,
    name: &str,
    updates: &mpsc::Sender<Update>,
) -> Result<(), ApiError> {
    let following = Logs::new(connection).follow(Query::function(name, SINCE));
    following
        .run(|said| {
            // At the bound a line is left out: the range can be read again.
            let _ = updates.try_send(Update::Line { line: line(said) });
        })
        .await
}

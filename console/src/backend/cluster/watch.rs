//! What becomes of functions, as it happens: one task per page, which ends with the page's connection.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::BoxStream};
use kipper_client::{
    ApiError, Connection,
    error::Patience,
    functions::{Functions, Seen, Selection},
    load,
    logs::{Logs, Query},
    wait::states,
};
use kipper_function::{Function, Timestamp};
use kube::ResourceExt as _;
use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::{
    super::{Watch, updates},
    rights::{Act, Rights},
    shown::{detail, line, summary},
};
use crate::{
    Problem,
    model::{Detail, RateSource, Update},
};

/// Updates on their way to a page; whoever makes them waits at the bound, but for lines, which are
/// left out and said to be.
const QUEUE: usize = 1024;
/// How far back the first lines of the stream go.
const SINCE: Duration = Duration::from_secs(1);
/// Between two looks at the load: an autoscaler's status is written as often.
const LOAD_INTERVAL: Duration = Duration::from_secs(15);

/// Follows what is asked for.
pub(super) fn follow(
    connection: Connection,
    rights: Arc<Rights>,
    watch: Watch,
) -> BoxStream<'static, Update> {
    updates(QUEUE, |updates| async move {
        let failed = match &watch.name {
            None => list(&connection, &updates).await,
            Some(name) => tokio::select! {
                failed = one(&connection, &rights, name, &updates) => failed,
                failed = lines(&connection, name, &updates), if watch.logs => failed,
                () = loads(&connection, name, &updates) => Ok(()),
            },
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
    Functions::new(connection).watch(&Selection::default(), Patience::None, take).await
}

async fn one(
    connection: &Connection,
    rights: &Rights,
    name: &str,
    updates: &mpsc::Sender<Update>,
) -> Result<(), ApiError> {
    let functions = Functions::new(connection);
    let mut states = Box::pin(states(&functions, name, Patience::None));
    let mut was_there = false;
    while let Some(state) = states.next().await {
        let update = match state? {
            Some(function) => {
                was_there = true;
                let read_only = rights.refusal(connection, Act::Change).await;
                Update::Function { function: Box::new(Detail { read_only, ..detail(function) }) }
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
    let followed = following
        .run(|said| {
            // At the bound a line is left out: the range can be read again.
            let _ = updates.try_send(Update::Line { line: line(said) });
        })
        .await;
    // Who may not read lines still follows the function; the range says why there are none.
    if ApiError::allowed(followed)?.is_none() {
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Tells of the load; ends only when nobody listens.
async fn loads(connection: &Connection, name: &str, updates: &mpsc::Sender<Update>) {
    let mut looks = tokio::time::interval(LOAD_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let load = match load::read(connection, name).await {
            Ok(Some(load)) => load,
            // Who may not look at autoscalers is shown no load.
            Err(ApiError::Forbidden(_)) => return std::future::pending().await,
            // Without an answer, the watch says so.
            Ok(None) | Err(_) => continue,
        };
        let update = Update::Rate {
            time: Timestamp::now(),
            per_second: load.requests_per_second,
            replicas: load.replicas,
            source: RateSource::Autoscaler,
        };
        if updates.send(update).await.is_err() {
            return;
        }
    }
}

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
use kipper_function::Timestamp;
use kube::ResourceExt as _;
use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};

use super::{
    super::{Watch, newest, updates},
    rights::{Act, Rights},
    shown::{detail, line, summary},
};
use crate::{
    Problem,
    model::{Detail, Line, RateSource, Summary, Update},
};

/// Updates of a function on their way to a page; whoever makes them waits at the bound, but for lines,
/// which are left out: the range can be read again.
const QUEUE: usize = 1024;
/// Longest line, in bytes, that may wait in every place of the queue.
const SHORT_LINE: usize = 4 << 10;
/// Places of the queue, the first ones, in which lines of up to 64 KiB may wait: with the short ones about
/// 8 MiB for a page that does not read.
const LONG_PLACES: usize = 64;
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
    let Watch { name, logs, .. } = watch;
    let Some(name) = name else {
        return newest(|newest| async move {
            if let Err(error) = list(&connection, &newest).await {
                newest.send_replace(Some(told(error)));
            }
        });
    };
    updates(QUEUE, |updates| async move {
        let failed = tokio::select! {
            failed = one(&connection, &rights, &name, &updates) => failed,
            failed = lines(&connection, &name, &updates), if logs => failed,
            () = loads(&connection, &name, &updates) => Ok(()),
        };
        if let Err(error) = failed {
            // Nobody listens any more.
            let _ = updates.send(told(error)).await;
        }
    })
}

fn told(error: ApiError) -> Update {
    let Problem { error, reason, .. } = error.into();
    Update::Error { error, reason }
}

/// Each change brings the whole list, so that a page needs the newest alone.
async fn list(
    connection: &Connection,
    newest: &watch::Sender<Option<Update>>,
) -> Result<(), ApiError> {
    let mut known: BTreeMap<String, Summary> = BTreeMap::new();
    let take = |seen: Seen| {
        match seen {
            Seen::All(all) => known = all.into_iter().map(|f| (f.name_any(), summary(f))).collect(),
            Seen::Changed(function) => {
                drop(known.insert(function.name_any(), summary(*function)));
            }
            Seen::Gone(function) => drop(known.remove(&function.name_any())),
        }
        let items = known.values().cloned().collect();
        newest.send_replace(Some(Update::Functions { items }));
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
    let followed = following.run(|said| tell(updates, line(said))).await;
    // Who may not read lines still follows the function; the range says why there are none.
    if ApiError::allowed(followed)?.is_none() {
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Queues a line where there is a place for it, and leaves it out otherwise.
fn tell(updates: &mpsc::Sender<Update>, line: Line) {
    let waiting = updates.max_capacity() - updates.capacity();
    if line.text.len() <= SHORT_LINE || waiting < LONG_PLACES {
        let _ = updates.try_send(Update::Line { line });
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_wait_in_the_first_places_of_the_queue_alone() {
        let (updates, mut read) = mpsc::channel(QUEUE);
        let say = |length: usize| {
            let (pod, container) = ("p".to_owned(), "function".to_owned());
            tell(&updates, Line { time: None, pod, container, text: "x".repeat(length) });
            updates.max_capacity() - updates.capacity()
        };
        for place in 1..=LONG_PLACES {
            assert_eq!(say(SHORT_LINE + 1), place);
        }
        assert_eq!(say(SHORT_LINE + 1), LONG_PLACES);
        for place in LONG_PLACES + 1..=QUEUE {
            assert_eq!(say(SHORT_LINE), place);
        }
        assert_eq!(say(1), QUEUE);
        for _ in LONG_PLACES - 1..QUEUE {
            assert!(read.try_recv().is_ok());
        }
        assert_eq!(say(SHORT_LINE + 1), LONG_PLACES);
    }
}

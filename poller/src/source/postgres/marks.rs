//! The user's statements after a delivery, on connections of their own.
//!
//! What finished while the last commit ran goes as one transaction. Rows that still match the query
//! are read before the commit, while the mark's own locks keep everybody else from changing them.
//! Where a batch ran into a deadlock or a lock's timeout, or the user asked for it, each mark is a
//! transaction of its own, several at a time: the server flushes its log once for those that wait.

mod lane;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_postgres::{Client, error::SqlState};

use self::lane::{Kind, Lane, Refused};
use super::{recipe::Recipe, row::Row};
use crate::source::{Digest, Event, Key, Mark, SourceError};

/// How long marks go one by one after a deadlock.
const SINGLE_FOR: Duration = Duration::from_secs(600);
/// Connections for marks that go one by one, the first one included.
const MAX_LANES: usize = 8;

pub(super) struct Marks {
    recipe: Arc<Recipe>,
    first: Lane,
    /// Opened when marks go one by one, and closed again with this value only.
    more: Mutex<Vec<Arc<Lane>>>,
    single: Mutex<Single>,
}

/// When each mark is a transaction of its own.
#[derive(Clone, Copy)]
enum Single {
    Always,
    Until(Instant),
    Never,
}

impl Marks {
    /// `each`: every mark is to be its own commit.
    pub(super) async fn prepare(
        client: Client,
        recipe: Arc<Recipe>,
        each: bool,
    ) -> Result<Self, SourceError> {
        let first = Lane::prepare(client, &recipe).await?;
        let single = Mutex::new(if each { Single::Always } else { Single::Never });
        Ok(Self { recipe, first, more: Mutex::default(), single })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.first.is_closed()
    }

    /// Proves that the connections live.
    pub(super) async fn prove(&self) -> Result<(), SourceError> {
        let more = self.more.lock().clone();
        for lane in more {
            // One that is gone is left out by the next marks.
            let _ = lane.prove().await;
        }
        self.first.prove().await
    }

    /// Marks handled events. Without a mark only looks which of them still match.
    pub(super) async fn done(
        &self,
        events: &[Arc<Event<Row>>],
        retried: bool,
    ) -> Result<Vec<Mark>, SourceError> {
        if self.recipe.mark_done.is_none() {
            return self.look(events).await;
        }
        // An earlier commit may have worked: what does not match any more is marked.
        let open = if retried { Some(self.peek(keys(events)).await?) } else { None };
        let open: Option<HashMap<Key, Digest>> = open.map(|rows| rows.into_iter().collect());
        let mut due: Vec<usize> = (0..events.len())
            .filter(|at| open.as_ref().is_none_or(|open| open.contains_key(&events[*at].key)))
            .collect();
        // All pods take the rows' locks in one order.
        due.sort_by(|a, b| events[*a].claim.values.cmp(&events[*b].claim.values));
        let mut marks = vec![Mark::Done { rows: None, still: None }; events.len()];
        let batch: Vec<&Event<Row>> = due.iter().map(|at| &*events[*at]).collect();
        for (at, mark) in due.iter().zip(self.mark(&batch).await?) {
            marks[*at] = mark;
        }
        Ok(marks)
    }

    /// Runs the statement for dead events. What does not match after a try of unknown outcome is
    /// dead already.
    pub(super) async fn dead(
        &self,
        event: &Event<Row>,
        reason: &str,
        attempts: u32,
        retried: bool,
    ) -> Result<Mark, SourceError> {
        if retried && self.peek([&*event.key].into_iter()).await?.is_empty() {
            return Ok(Mark::Done { rows: None, still: None });
        }
        let kind = Kind::Failed { reason, attempts: &attempts.to_string() };
        let marks = self.first.transaction(kind, &[event]).await?;
        Ok(one(marks))
    }

    /// Which of these keys still match.
    pub(super) async fn peek<'a>(
        &self,
        keys: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<(Key, Digest)>, SourceError> {
        self.first.peek(keys).await
    }

    async fn look(&self, events: &[Arc<Event<Row>>]) -> Result<Vec<Mark>, SourceError> {
        let still: HashMap<Key, Digest> = self.peek(keys(events)).await?.into_iter().collect();
        let mark = |event: &Arc<Event<Row>>| Mark::Done {
            rows: None,
            still: still.get(&event.key).copied(),
        };
        Ok(events.iter().map(mark).collect())
    }

    async fn mark(&self, batch: &[&Event<Row>]) -> Result<Vec<Mark>, SourceError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        if self.goes_single() {
            return self.each(batch).await;
        }
        match self.first.transaction(Kind::Done, batch).await? {
            Ok(marks) => Ok(marks),
            Err(refused) if batch.len() == 1 => Ok(vec![Mark::Failed(refused.text)]),
            // Nothing of the batch was committed. One by one shows which of them it was.
            Err(Refused { code, .. }) => {
                if matches!(
                    code,
                    Some(
                        SqlState::T_R_DEADLOCK_DETECTED
                            | SqlState::LOCK_NOT_AVAILABLE
                            | SqlState::T_R_SERIALIZATION_FAILURE
                    )
                ) {
                    tracing::warn!(?code, "marks met a lock: one by one for ten minutes");
                    *self.single.lock() = Single::Until(Instant::now() + SINGLE_FOR);
                }
                self.each(batch).await
            }
        }
    }

    fn goes_single(&self) -> bool {
        match *self.single.lock() {
            Single::Always => true,
            Single::Until(until) => Instant::now() < until,
            Single::Never => false,
        }
    }

    /// One transaction per event: each connection takes every so-manieth of them.
    async fn each(&self, batch: &[&Event<Row>]) -> Result<Vec<Mark>, SourceError> {
        let more = self.lanes(batch.len() - 1).await;
        let lanes: Vec<&Lane> =
            [&self.first].into_iter().chain(more.iter().map(|l| &**l)).collect();
        let count = lanes.len();
        let runs = lanes.iter().enumerate().map(|(at, lane)| async move {
            let answers = lane.singles(batch.iter().skip(at).step_by(count).copied()).await;
            answers.into_iter().map(|answer| match answer {
                Ok(answer) => one(answer),
                Err(error) => Mark::Unknown(error.to_string()),
            })
        });
        let mut runs = join_all(runs).await;
        Ok((0..batch.len()).filter_map(|at| runs[at % count].next()).collect())
    }

    /// At most so many connections beside the first one. Fewer where the server has no room.
    async fn lanes(&self, wanted: usize) -> Vec<Arc<Lane>> {
        let wanted = wanted.min(MAX_LANES - 1);
        let mut lanes = std::mem::take(&mut *self.more.lock());
        lanes.retain(|lane| !lane.is_closed());
        while lanes.len() < wanted {
            match Lane::open(&self.recipe).await {
                Ok(lane) => lanes.push(Arc::new(lane)),
                Err(error) => {
                    tracing::warn!("no further connection for marks: {error}");
                    break;
                }
            }
        }
        self.more.lock().clone_from(&lanes);
        lanes.truncate(wanted);
        lanes
    }
}

/// The answer of a transaction of one event.
fn one(answer: Result<Vec<Mark>, Refused>) -> Mark {
    match answer {
        Ok(marks) => {
            marks.into_iter().next().unwrap_or_else(|| Mark::Failed("no answer".to_owned()))
        }
        Err(refused) => Mark::Failed(refused.text),
    }
}

fn keys(events: &[Arc<Event<Row>>]) -> impl Iterator<Item = &str> {
    events.iter().map(|event| &*event.key)
}

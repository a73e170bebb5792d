//! The connection of the marks: the user's statements, as many as are due in one transaction.
//!
//! Rows that still match the query are read before the commit, while the mark's own locks keep
//! everybody else from changing them. Where a batch ran into a deadlock or a lock's timeout, marks go
//! one by one for a while.

use std::{
    cmp::Ordering,
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use kipper_statement::{self as template, Template};
use mysql_async::{Row as SqlRow, Statement, Value};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    connection::{Failure, Link, Turn, invalid},
    plan::{MAX_CHOSEN, Plan},
    row::Row,
};
use crate::source::{Digest, Event, Key, Mark, SourceError};

/// How long marks go one by one after a deadlock.
const SINGLE_FOR: Duration = Duration::from_secs(600);
/// `ER_LOCK_WAIT_TIMEOUT`, `ER_LOCK_DEADLOCK`.
const LOCKED: [u16; 2] = [1205, 1213];

/// `NOW()` is the beginning of a statement, unless it is set.
const TIME_STANDS_STILL: &str = "SET timestamp = UNIX_TIMESTAMP(NOW(6))";
const TIME_GOES_ON: &str = "SET timestamp = DEFAULT";

pub(super) struct Marks {
    link: Link,
    plan: Arc<Plan>,
    done: Option<Action>,
    failed: Option<Action>,
    /// Until when each mark is a transaction of its own.
    single_until: Mutex<Option<Instant>>,
}

/// A statement of the user's and where its parameters come from.
struct Action {
    statement: Statement,
    parameters: Vec<Parameter>,
}

/// One placeholder.
enum Parameter {
    /// A value of the row, by its place in the claim.
    Column(usize),
    Error,
    Attempts,
}

/// Why events are marked: what the reserved names stand for.
#[derive(Clone, Copy)]
struct Cause<'a> {
    reason: &'a str,
    attempts: u32,
}

const HANDLED: Cause<'_> = Cause { reason: "", attempts: 0 };

impl Action {
    /// The server looks at names, types and grants while it prepares.
    async fn prepare(
        turn: &mut Turn<'_>,
        what: &'static str,
        template: Option<&Template>,
        plan: &Plan,
    ) -> Result<Option<Self>, SourceError> {
        let Some(template) = template else { return Ok(None) };
        let statement = turn.prepare(template.sql()).await.map_err(|error| error.about(what))?;
        let parameters: Vec<Parameter> = template
            .parameters()
            .iter()
            .map(|name| match name.as_str() {
                template::ERROR => Ok(Parameter::Error),
                template::ATTEMPTS => Ok(Parameter::Attempts),
                name => match plan.values.iter().position(|value| value == name) {
                    Some(at) => Ok(Parameter::Column(at)),
                    None => Err(invalid(format!("{what}: no value {name:?}"))),
                },
            })
            .collect::<Result<_, _>>()?;
        if usize::from(statement.num_params()) != parameters.len() {
            return Err(invalid(format!("{what}: the server counts other parameters in it")));
        }
        Ok(Some(Self { statement, parameters }))
    }

    fn values(&self, row: &Row, cause: Cause<'_>) -> Vec<Value> {
        let value = |parameter: &Parameter| match parameter {
            Parameter::Column(at) => row.values[*at].clone(),
            Parameter::Error => Value::from(cause.reason),
            Parameter::Attempts => Value::from(cause.attempts),
        };
        self.parameters.iter().map(value).collect()
    }
}

impl Marks {
    pub(super) async fn prepare(
        link: Link,
        plan: Arc<Plan>,
        done: Option<&Template>,
        failed: Option<&Template>,
    ) -> Result<Self, SourceError> {
        let mut turn = link.turn().await;
        let done = Action::prepare(&mut turn, "mark-done", done, &plan).await?;
        let failed = Action::prepare(&mut turn, "on-failed", failed, &plan).await?;
        drop(turn);
        Ok(Self { link, plan, done, failed, single_until: Mutex::new(None) })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    pub(super) async fn prove(&self) -> Result<(), SourceError> {
        self.link.prove().await
    }

    /// Marks handled events. Without a mark only looks which of them still match.
    pub(super) async fn done(
        &self,
        events: &[Arc<Event<Row>>],
        retried: bool,
    ) -> Result<Vec<Mark>, SourceError> {
        let Some(action) = &self.done else { return self.look(events).await };
        // An earlier commit may have worked: what does not match any more is marked.
        let open = if retried { Some(self.peek(keys(events)).await?) } else { None };
        let open: Option<HashMap<Key, Digest>> = open.map(|rows| rows.into_iter().collect());
        let mut due: Vec<usize> = (0..events.len())
            .filter(|at| open.as_ref().is_none_or(|open| open.contains_key(&events[*at].key)))
            .collect();
        // All pods take the rows' locks in one order.
        due.sort_by(|a, b| order(&events[*a].claim.values, &events[*b].claim.values));
        let mut marks = vec![Mark::Done { rows: None, still: None }; events.len()];
        let batch: Vec<&Event<Row>> = due.iter().map(|at| &*events[*at]).collect();
        for (at, mark) in due.iter().zip(self.mark(action, &batch).await?) {
            marks[*at] = mark;
        }
        Ok(marks)
    }

    /// Runs the statement for a dead event. What does not match after a try of unknown outcome is
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
        let Some(action) = &self.failed else {
            return Err(invalid("there is no on-failed statement"));
        };
        self.single(action, event, Cause { reason, attempts }).await
    }

    /// Which of these keys still match.
    pub(super) async fn peek<'a>(
        &self,
        keys: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<(Key, Digest)>, SourceError> {
        let keys: Vec<&str> = keys.collect();
        let digests = self.digests(&mut self.link.turn().await, &keys).await?;
        Ok(digests.into_iter().collect())
    }

    async fn look(&self, events: &[Arc<Event<Row>>]) -> Result<Vec<Mark>, SourceError> {
        let still: HashMap<Key, Digest> = self.peek(keys(events)).await?.into_iter().collect();
        let mark = |event: &Arc<Event<Row>>| Mark::Done {
            rows: None,
            still: still.get(&event.key).copied(),
        };
        Ok(events.iter().map(mark).collect())
    }

    async fn mark(&self, action: &Action, batch: &[&Event<Row>]) -> Result<Vec<Mark>, SourceError> {
        let single = self.single_until.lock().is_some_and(|until| Instant::now() < until);
        if !single && batch.len() > 1 {
            match self.transaction(action, batch, HANDLED).await? {
                Ok(marks) => return Ok(marks),
                // Nothing of the batch was committed. One by one shows which of them it was.
                Err(failure) => {
                    if failure.code.is_some_and(|code| LOCKED.contains(&code)) {
                        tracing::warn!(
                            "marks met a lock: one by one for ten minutes: {}",
                            failure.text
                        );
                        *self.single_until.lock() = Some(Instant::now() + SINGLE_FOR);
                    }
                }
            }
        }
        let mut marks = Vec::with_capacity(batch.len());
        for event in batch {
            marks.push(self.single(action, event, HANDLED).await?);
        }
        Ok(marks)
    }

    async fn single(
        &self,
        action: &Action,
        event: &Event<Row>,
        cause: Cause<'_>,
    ) -> Result<Mark, SourceError> {
        match self.transaction(action, &[event], cause).await? {
            Ok(marks) => {
                let mark = marks.into_iter().next();
                mark.ok_or_else(|| SourceError::Failed("no answer".to_owned()))
            }
            Err(failure) => Ok(Mark::Failed(failure.text)),
        }
    }

    /// One transaction. The inner error says why nothing of it was committed; the outer one that
    /// nobody knows.
    async fn transaction(
        &self,
        action: &Action,
        batch: &[&Event<Row>],
        cause: Cause<'_>,
    ) -> Result<Result<Vec<Mark>, Failure>, SourceError> {
        // No other call may see what is not committed.
        let mut turn = self.link.turn().await;
        let marked = match self.within(&mut turn, action, batch, cause).await {
            Ok(marks) => turn.text("COMMIT").await.map(|_| marks),
            Err(failure) => Err(failure),
        };
        match marked {
            Ok(marks) => Ok(Ok(marks)),
            Err(failure) if failure.gone => Err(failure.into()),
            Err(failure) => {
                // A statement that failed leaves those before it, and their locks.
                turn.text("ROLLBACK").await?;
                turn.text(TIME_GOES_ON).await?;
                Ok(Err(failure))
            }
        }
    }

    /// The transaction up to its commit.
    async fn within(
        &self,
        turn: &mut Turn<'_>,
        action: &Action,
        batch: &[&Event<Row>],
        cause: Cause<'_>,
    ) -> Result<Vec<Mark>, Failure> {
        turn.text("START TRANSACTION").await?;
        // One moment is now for the marks and for the look at the rows after them: one that is to come
        // again soon does not match yet.
        turn.text(TIME_STANDS_STILL).await?;
        let mut counts = Vec::with_capacity(batch.len());
        for event in batch {
            let values = action.values(&event.claim, cause);
            counts.push(turn.execute(&action.statement, values).await?);
        }
        let keys: Vec<&str> = batch.iter().map(|event| &*event.key).collect();
        let still = self.digests(turn, &keys).await?;
        turn.text(TIME_GOES_ON).await?;
        let marks = batch.iter().zip(counts).map(|(event, rows)| Mark::Done {
            rows: Some(rows),
            still: still.get(&event.key).copied(),
        });
        Ok(marks.collect())
    }

    /// Keys that match and what their rows are now. A key that names several rows is the sum of
    /// them, in whatever order they come.
    async fn digests(
        &self,
        turn: &mut Turn<'_>,
        keys: &[&str],
    ) -> Result<HashMap<Key, Digest>, Failure> {
        let mut digests: HashMap<Key, Digest> = HashMap::new();
        for keys in keys.chunks(MAX_CHOSEN) {
            let (sql, parameters) = self.plan.chosen(keys).map_err(|text| turn.own(text))?;
            let mut shape = None;
            let visit = |row: SqlRow| {
                let shape = shape.get_or_insert_with(|| self.plan.shape(row.columns_ref()));
                if let Ok(shape) = shape
                    && let Some(key) = shape.key(&row)
                {
                    let mut hasher = DefaultHasher::new();
                    shape.body(&row).hash(&mut hasher);
                    let digest = digests.entry(key).or_default();
                    *digest = digest.wrapping_add(hasher.finish());
                }
            };
            turn.each(sql, parameters, visit).await?;
            if let Some(Err(text)) = shape {
                return Err(turn.own(text));
            }
        }
        Ok(digests)
    }
}

fn keys(events: &[Arc<Event<Row>>]) -> impl Iterator<Item = &str> {
    events.iter().map(|event| &*event.key)
}

/// A total order of values: there is no NaN in a database.
fn order(a: &[Value], b: &[Value]) -> Ordering {
    a.partial_cmp(b).unwrap_or(Ordering::Equal)
}

//! The connection of the marks: the user's statements, as many as are due in one transaction.
//!
//! A batch is written to the socket whole, `BEGIN` to `COMMIT`, and its answers are read afterwards:
//! one round trip and one flush of the server's log for all of it. Rows that still match the query
//! are read before the commit, while the mark's own locks keep everybody else from changing them.
//! Where a batch ran into a deadlock or a lock's timeout, marks go one by one for a while.

use std::{
    collections::HashMap,
    future::Future,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{future::BoxFuture, poll};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_postgres::{Client, Row as SqlRow, Statement, error::SqlState, types::ToSql};

use super::{
    Row,
    connection::{Role, cause, explain},
    plan::{self, Plan, about},
    session::key_arrays,
    text::Text,
};
use crate::{
    source::{Digest, Event, Key, Mark, SourceError},
    template::Template,
};

/// How long marks go one by one after a deadlock.
const SINGLE_FOR: Duration = Duration::from_secs(600);

pub(super) struct Marks {
    client: Client,
    done: Option<Action>,
    failed: Option<Action>,
    peek: Statement,
    key_columns: usize,
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

impl Action {
    async fn prepare(
        client: &Client,
        what: &'static str,
        template: Option<&Template>,
        plan: &Plan,
    ) -> Result<Option<Self>, SourceError> {
        let Some(template) = template else { return Ok(None) };
        let statement = plan::prepare(client, what, template, &plan.columns).await?;
        let parameters = template
            .parameters()
            .iter()
            .map(|name| match name.as_str() {
                "_error" => Ok(Parameter::Error),
                "_attempts" => Ok(Parameter::Attempts),
                name => match plan.values.iter().position(|value| value == name) {
                    Some(at) => Ok(Parameter::Column(at)),
                    None => Err(SourceError::Invalid(format!("{what}: no value {name:?}"))),
                },
            })
            .collect::<Result<_, _>>()?;
        Ok(Some(Self { statement, parameters }))
    }

    fn values<'a>(&self, row: &'a Row, reason: &'a str, attempts: &'a str) -> Vec<Text<'a>> {
        self.parameters
            .iter()
            .map(|parameter| match parameter {
                Parameter::Column(at) => Text(row.values[*at].as_deref()),
                Parameter::Error => Text(Some(reason)),
                Parameter::Attempts => Text(Some(attempts)),
            })
            .collect()
    }
}

impl Marks {
    pub(super) async fn prepare(
        client: Client,
        plan: &Plan,
        done: Option<&Template>,
        failed: Option<&Template>,
    ) -> Result<Self, SourceError> {
        let done = Action::prepare(&client, "mark-done", done, plan).await?;
        let failed = Action::prepare(&client, "on-failed", failed, plan).await?;
        let peek = client
            .prepare(&plan.peek)
            .await
            .map_err(|error| about("query", Role::Marks, &error))?;
        let (key_columns, single_until) = (plan.key.len(), Mutex::new(None));
        Ok(Self { client, done, failed, peek, key_columns, single_until })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Proves that the connection lives.
    pub(super) async fn prove(&self) -> Result<(), SourceError> {
        let answer = self.client.simple_query("").await;
        answer.map(drop).map_err(|error| explain(Role::Marks, &error))
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
        due.sort_by(|a, b| events[*a].claim.values.cmp(&events[*b].claim.values));
        let mut marks = vec![Mark::Done { rows: None, still: None }; events.len()];
        let batch: Vec<&Event<Row>> = due.iter().map(|at| &*events[*at]).collect();
        for (at, mark) in due.iter().zip(self.mark(action, &batch, "", "").await?) {
            marks[*at] = mark;
        }
        Ok(marks)
    }

    /// Runs the statement for dead events.
    pub(super) async fn dead(
        &self,
        event: &Event<Row>,
        reason: &str,
        attempts: u32,
    ) -> Result<Mark, SourceError> {
        let Some(action) = &self.failed else {
            return Err(SourceError::Invalid("there is no on-failed statement".to_owned()));
        };
        let marks = self.single(action, &[event], reason, &attempts.to_string()).await?;
        marks.into_iter().next().ok_or_else(|| SourceError::Failed("no answer".to_owned()))
    }

    /// Which of these keys still match.
    pub(super) async fn peek<'a>(
        &self,
        keys: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<(Key, Digest)>, SourceError> {
        let arrays = key_arrays(keys, self.key_columns)?;
        let rows = query(&self.client, &self.peek, &arrays).await;
        Ok(digests(&rows.map_err(|error| explain(Role::Marks, &error))?))
    }

    async fn look(&self, events: &[Arc<Event<Row>>]) -> Result<Vec<Mark>, SourceError> {
        let still: HashMap<Key, Digest> = self.peek(keys(events)).await?.into_iter().collect();
        let mark = |event: &Arc<Event<Row>>| Mark::Done {
            rows: None,
            still: still.get(&event.key).copied(),
        };
        Ok(events.iter().map(mark).collect())
    }

    async fn mark(
        &self,
        action: &Action,
        batch: &[&Event<Row>],
        reason: &str,
        attempts: &str,
    ) -> Result<Vec<Mark>, SourceError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let single = self.single_until.lock().is_some_and(|until| Instant::now() < until);
        if single || batch.len() == 1 {
            return self.single(action, batch, reason, attempts).await;
        }
        match self.transaction(action, batch, reason, attempts).await? {
            Ok(marks) => Ok(marks),
            // Nothing of the batch was committed. One by one shows which of them it was.
            Err(code) => {
                if matches!(
                    code,
                    Some(
                        SqlState::T_R_DEADLOCK_DETECTED
                            | SqlState::LOCK_NOT_AVAILABLE
                            | SqlState::T_R_SERIALIZATION_FAILURE
                    )
                ) {
                    tracing::warn!(?code, "marks met a lock: one by one for ten minutes");
                    *self.single_until.lock() = Some(Instant::now() + SINGLE_FOR);
                }
                self.single(action, batch, reason, attempts).await
            }
        }
    }

    async fn single(
        &self,
        action: &Action,
        batch: &[&Event<Row>],
        reason: &str,
        attempts: &str,
    ) -> Result<Vec<Mark>, SourceError> {
        let mut marks = Vec::with_capacity(batch.len());
        for event in batch {
            let one = [*event];
            match self.transaction_text(action, &one, reason, attempts).await? {
                Ok(mark) => marks.extend(mark),
                Err((_, text)) => marks.push(Mark::Failed(text)),
            }
        }
        Ok(marks)
    }

    async fn transaction(
        &self,
        action: &Action,
        batch: &[&Event<Row>],
        reason: &str,
        attempts: &str,
    ) -> Result<Result<Vec<Mark>, Option<SqlState>>, SourceError> {
        let answer = self.transaction_text(action, batch, reason, attempts).await?;
        Ok(answer.map_err(|(code, _)| code))
    }

    /// One transaction. The inner error says why nothing of it was committed; the outer one that
    /// nobody knows.
    async fn transaction_text(
        &self,
        action: &Action,
        batch: &[&Event<Row>],
        reason: &str,
        attempts: &str,
    ) -> Result<Result<Vec<Mark>, (Option<SqlState>, String)>, SourceError> {
        let arrays = key_arrays(batch.iter().map(|event| &*event.key), self.key_columns)?;
        let values: Vec<Vec<Text<'_>>> =
            batch.iter().map(|event| action.values(&event.claim, reason, attempts)).collect();

        let begin = sent(self.client.batch_execute("BEGIN")).await;
        let mut executed = Vec::with_capacity(batch.len());
        for values in &values {
            executed.push(sent(execute(&self.client, &action.statement, values)).await);
        }
        let still = sent(query(&self.client, &self.peek, &arrays)).await;
        let commit = sent(self.client.batch_execute("COMMIT")).await;

        let mut failure = begin.await.err();
        let mut counts = Vec::with_capacity(batch.len());
        for answer in executed {
            match answer.await {
                Ok(rows) => counts.push(rows),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let still = match still.await {
            Ok(rows) => digests(&rows),
            Err(error) => {
                failure = failure.or(Some(error));
                Vec::new()
            }
        };
        let commit = commit.await;
        // After an earlier error COMMIT rolls back, and says nothing of it.
        if let Some(error) = failure.or(commit.err()) {
            if self.client.is_closed() || connection_is_gone(&error) {
                return Err(explain(Role::Marks, &error));
            }
            return Ok(Err((error.code().cloned(), cause(&error))));
        }
        let still: HashMap<Key, Digest> = still.into_iter().collect();
        let marks = batch.iter().zip(counts).map(|(event, rows)| Mark::Done {
            rows: Some(rows),
            still: still.get(&event.key).copied(),
        });
        Ok(Ok(marks.collect()))
    }
}

fn connection_is_gone(error: &tokio_postgres::Error) -> bool {
    super::connection::is_gone(error)
}

fn keys(events: &[Arc<Event<Row>>]) -> impl Iterator<Item = &str> {
    events.iter().map(|event| &*event.key)
}

/// Starts a request: its message is in the connection's queue when this returns, behind those of
/// every request started before.
async fn sent<'a, F: Future + Send + 'a>(request: F) -> Sent<'a, F::Output>
where
    F::Output: Send,
{
    let mut request: BoxFuture<'a, F::Output> = Box::pin(request);
    match poll!(&mut request) {
        std::task::Poll::Ready(answer) => Sent::Answered(Some(answer)),
        std::task::Poll::Pending => Sent::Waiting(request),
    }
}

/// A request that was sent.
enum Sent<'a, T> {
    Answered(Option<T>),
    Waiting(BoxFuture<'a, T>),
}

impl<T: Unpin> Future for Sent<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, ctx: &mut std::task::Context<'_>) -> std::task::Poll<T> {
        match &mut *self {
            Sent::Answered(answer) => match answer.take() {
                Some(answer) => std::task::Poll::Ready(answer),
                None => std::task::Poll::Pending,
            },
            Sent::Waiting(request) => request.as_mut().poll(ctx),
        }
    }
}

async fn execute(
    client: &Client,
    statement: &Statement,
    values: &[Text<'_>],
) -> Result<u64, tokio_postgres::Error> {
    client.execute_raw(statement, values.iter().map(|value| value as &(dyn ToSql + Sync))).await
}

async fn query(
    client: &Client,
    statement: &Statement,
    arrays: &[String],
) -> Result<Vec<SqlRow>, tokio_postgres::Error> {
    let texts: Vec<Text<'_>> = arrays.iter().map(|array| Text(Some(array))).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> =
        texts.iter().map(|text| text as &(dyn ToSql + Sync)).collect();
    client.query(statement, &parameters).await
}

/// Keys and what their rows are now. A key that names several rows is the digest of all of them.
fn digests(rows: &[SqlRow]) -> Vec<(Key, Digest)> {
    let mut digests: HashMap<&str, DefaultHasher> = HashMap::with_capacity(rows.len());
    for row in rows {
        let (key, body): (&str, &str) = (row.get(0), row.get(1));
        body.hash(digests.entry(key).or_default());
    }
    digests.into_iter().map(|(key, hasher)| (Key::from(key), hasher.finish())).collect()
}

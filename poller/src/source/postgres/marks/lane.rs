//! One connection of the marks, with the user's statements prepared on it.
//!
//! A transaction is written to the socket whole, `BEGIN` to `COMMIT`, and its answers are read
//! afterwards: one round trip and one flush of the server's log for all of it.

use std::{
    collections::HashMap,
    future::Future,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    pin::Pin,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, poll, stream};
use kipper_statement::Template;
use tokio_postgres::{Client, Row as SqlRow, Statement, error::SqlState, types::ToSql};

use crate::source::{
    Digest, Event, Key, Mark, SourceError,
    postgres::{
        connection::{Role, cause, explain, is_gone},
        plan::{self, Plan, Prepared, about},
        recipe::Recipe,
        row::Row,
        session::key_arrays,
        text::Text,
    },
};

/// Transactions of one event each that are under way on a connection at most.
const MAX_PIPELINED: usize = 32;

/// Which of the user's statements.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind<'a> {
    /// Mark-done.
    Done,
    /// On-failed, with what is known of the failure.
    Failed {
        /// `{{_error}}`.
        reason: &'a str,
        /// `{{_attempts}}`.
        attempts: &'a str,
    },
}

/// Why nothing of a transaction was committed.
pub(super) struct Refused {
    pub(super) code: Option<SqlState>,
    pub(super) text: String,
}

pub(super) struct Lane {
    client: Client,
    done: Option<Action>,
    failed: Option<Action>,
    peek: Statement,
    /// See [`Plan::restore`].
    restore: Option<String>,
    key_columns: usize,
}

/// A statement of the user's and where its parameters come from.
struct Action {
    statement: Statement,
    parameters: Vec<Parameter>,
    /// The server counts the rows that it changes.
    counts: bool,
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
        let Prepared { statement, counts } =
            plan::prepare(client, what, template, &plan.columns).await?;
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
        Ok(Some(Self { statement, parameters, counts }))
    }

    fn values<'a>(&self, row: &'a Row, kind: Kind<'a>) -> Vec<Text<'a>> {
        let (reason, attempts) = match kind {
            Kind::Done => (None, None),
            Kind::Failed { reason, attempts } => (Some(reason), Some(attempts)),
        };
        self.parameters
            .iter()
            .map(|parameter| match parameter {
                Parameter::Column(at) => Text(row.values[*at].as_deref()),
                Parameter::Error => Text(reason),
                Parameter::Attempts => Text(attempts),
            })
            .collect()
    }
}

impl Lane {
    pub(super) async fn open(recipe: &Recipe) -> Result<Self, SourceError> {
        let client = recipe.connector.connect(Role::Marks).await?;
        Self::prepare(client, recipe).await
    }

    pub(super) async fn prepare(client: Client, recipe: &Recipe) -> Result<Self, SourceError> {
        let plan = &recipe.plan;
        let (done, failed) = (recipe.mark_done.as_ref(), recipe.on_failed.as_ref());
        let done = Action::prepare(&client, "mark-done", done, plan).await?;
        let failed = Action::prepare(&client, "on-failed", failed, plan).await?;
        let peek = client
            .prepare(&plan.peek)
            .await
            .map_err(|error| about("query", Role::Marks, &error))?;
        let restore = plan.restore.clone();
        Ok(Self { client, done, failed, peek, restore, key_columns: plan.key.len() })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Proves that the connection lives.
    pub(super) async fn prove(&self) -> Result<(), SourceError> {
        let answer = self.client.simple_query("").await;
        answer.map(drop).map_err(|error| explain(Role::Marks, &error))
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

    /// One transaction. The inner error says why nothing of it was committed; the outer one that
    /// nobody knows.
    pub(super) async fn transaction(
        &self,
        kind: Kind<'_>,
        batch: &[&Event<Row>],
    ) -> Result<Result<Vec<Mark>, Refused>, SourceError> {
        let action = match kind {
            Kind::Done => &self.done,
            Kind::Failed { .. } => &self.failed,
        };
        let Some(action) = action else {
            return Err(SourceError::Invalid("there is no such statement".to_owned()));
        };
        let arrays = key_arrays(batch.iter().map(|event| &*event.key), self.key_columns)?;
        let values: Vec<Vec<Text<'_>>> =
            batch.iter().map(|event| action.values(&event.claim, kind)).collect();

        let begin = sent(self.client.batch_execute("BEGIN")).await;
        let mut executed = Vec::with_capacity(batch.len());
        for values in &values {
            executed.push(sent(execute(&self.client, &action.statement, values)).await);
        }
        let still = sent(query(&self.client, &self.peek, &arrays)).await;
        // What runs at the commit, as deferred triggers do, runs as the user's statements did.
        let restored = match &self.restore {
            Some(sql) => Some(sent(self.client.batch_execute(sql)).await),
            None => None,
        };
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
        if let Some(restored) = restored {
            failure = failure.or(restored.await.err());
        }
        let commit = commit.await;
        // After an earlier error COMMIT rolls back, and says nothing of it.
        if let Some(error) = failure.or(commit.err()) {
            if self.client.is_closed() || is_gone(&error) {
                return Err(explain(Role::Marks, &error));
            }
            return Ok(Err(Refused { code: error.code().cloned(), text: cause(&error) }));
        }
        let still: HashMap<Key, Digest> = still.into_iter().collect();
        let marks = batch.iter().zip(counts).map(|(event, rows)| Mark::Done {
            rows: action.counts.then_some(rows),
            still: still.get(&event.key).copied(),
        });
        Ok(Ok(marks.collect()))
    }

    /// Transactions of one handled event each, several of them under way at a time: the server goes
    /// from one commit to the next without waiting for this process.
    pub(super) async fn singles<'a>(
        &self,
        events: impl Iterator<Item = &'a Event<Row>>,
    ) -> Vec<Result<Result<Vec<Mark>, Refused>, SourceError>> {
        let events: Vec<&Event<Row>> = events.collect();
        // Each writes itself whole when it is first polled, in this order.
        let transactions: Vec<_> =
            events.chunks(1).map(|event| self.transaction(Kind::Done, event).boxed()).collect();
        stream::iter(transactions).buffered(MAX_PIPELINED).collect().await
    }
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

//! Event triggers tried against their sources while no pod runs, by the poller's own check and with what
//! the poller of a pod would get.
//!
//! A pass asks for the verdict on a trigger as it is and never waits for one: a check runs beside the
//! passes and asks for another pass when it has ended. Nothing here writes to the cluster. The
//! controller may be kept from a server that pods reach, so what it could not reach counts only while
//! KEDA does not reach it either; that is for whoever reads the verdict.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dashmap::DashMap;
use kipper_poller::{Config, source::SourceError};
use kipper_process::supervise::caught;
use kipper_trigger::{SecretKey, Value, Values, Variable, one_line};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    cache::Key,
    namespaces::Namespaces,
    trigger::{self, SourceSecret},
    watch::Queue,
};

/// Checks at a time; others wait for their turn, one per function at most.
const MAX_CHECKS: usize = 16;
/// Longest time of one.
const CHECK_TIMEOUT: Duration = Duration::from_secs(4);
/// Pause between two checks of a trigger that does not work, or of which KEDA says so.
const RECHECK: Duration = Duration::from_secs(10);

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The first event could be claimed.
    Works,
    /// The trigger cannot work until it, its Service or what it names on the server changes.
    Refused(String),
    /// The server answers, and does not do what is needed.
    Failing(String),
    /// The server does not answer here.
    Unreachable(String),
}

/// A trigger as a poller would be started with it.
pub(crate) struct Subject {
    pub(crate) function: Key,
    /// Of everything that the poller reads at its start.
    pub(crate) digest: String,
    pub(crate) variables: Vec<(Variable, Value)>,
    pub(crate) source: SourceSecret,
    /// KEDA's scaler of it does not work.
    pub(crate) scaler_fails: bool,
}

/// What is known of a trigger.
pub(crate) struct Judged {
    pub(crate) verdict: Option<Verdict>,
    /// When to ask again, where no check will call for it.
    pub(crate) again: Option<Duration>,
}

/// The last check of a function's trigger.
#[derive(Default)]
struct Row {
    digest: String,
    verdict: Option<Verdict>,
    ended: Option<Instant>,
    is_running: bool,
}

/// Checks of all functions.
pub(crate) struct Checks {
    namespaces: Arc<Namespaces>,
    queue: Queue,
    rows: DashMap<Key, Row>,
    places: Semaphore,
}

impl Checks {
    pub(crate) fn new(namespaces: Arc<Namespaces>, queue: Queue) -> Arc<Self> {
        let places = Semaphore::new(MAX_CHECKS);
        Arc::new(Self { namespaces, queue, rows: DashMap::new(), places })
    }

    /// The verdict on this trigger; starts a check where there is none, or it may be over.
    pub(crate) fn judge(self: &Arc<Self>, subject: Subject) -> Judged {
        let mut row = self.rows.entry(subject.function.clone()).or_default();
        if row.digest != subject.digest {
            *row = Row { digest: subject.digest.clone(), ..Row::default() };
        }
        let verdict = row.verdict.clone();
        let wait = due(&row, subject.scaler_fails, Instant::now());
        if wait == Some(Duration::ZERO) {
            row.is_running = true;
            let checks = Arc::clone(self);
            tokio::spawn(async move { checks.run(subject).await });
        }
        Judged { verdict, again: wait.filter(|wait| !wait.is_zero()) }
    }

    /// A function that is gone, or has no event trigger any more.
    pub(crate) fn forget(&self, function: &Key) {
        self.rows.remove(function);
    }

    async fn run(&self, subject: Subject) {
        // Nothing closes the semaphore.
        let _place = self.places.acquire().await;
        let verdict = match caught(timeout(CHECK_TIMEOUT, self.check(&subject))).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) => Verdict::Unreachable(format!("no answer within {CHECK_TIMEOUT:?}")),
            Err(panic) => {
                tracing::error!(function = %subject.function, "the check panicked: {panic}");
                Verdict::Unreachable("the check failed; see the log of the controller".to_owned())
            }
        };
        tracing::debug!(function = %subject.function, ?verdict, "trigger checked");
        if let Some(mut row) = self.rows.get_mut(&subject.function)
            && row.digest == subject.digest
        {
            *row = Row {
                digest: subject.digest,
                verdict: Some(verdict),
                ended: Some(Instant::now()),
                is_running: false,
            };
        }
        // Without a receiver the process is about to end.
        let _ = self.queue.send(subject.function.function()).await;
    }

    async fn check(&self, subject: &Subject) -> Verdict {
        let values = match trigger::values(&subject.source, &self.namespaces).await {
            Ok(values) => values,
            // The next pass meets with the same, and says it as it always does.
            Err(error) => return Verdict::Unreachable(error.to_string()),
        };
        let source = &subject.source.service;
        let named = |words: String| one_line(&format!("service {source}: {words}"));
        let outcome = match config(&subject.variables, &values) {
            Ok(config) => kipper_poller::check(&config).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => Verdict::Works,
            Err(error) if error.is_usage() => Verdict::Refused(named(error.to_string())),
            Err(kipper_poller::Error::Source(error @ SourceError::Lost(_))) => {
                Verdict::Unreachable(named(error.to_string()))
            }
            Err(error) => Verdict::Failing(named(error.to_string())),
        }
    }
}

/// How long until the next check is due; `None` where something else says when.
fn due(row: &Row, scaler_fails: bool, now: Instant) -> Option<Duration> {
    let is_settled = row.verdict == Some(Verdict::Works) && !scaler_fails;
    if row.is_running || is_settled {
        return None;
    }
    let since = row.ended.map(|ended| now.saturating_duration_since(ended));
    Some(since.map_or(Duration::ZERO, |since| RECHECK.saturating_sub(since)))
}

/// As the poller of a pod is configured; the certificate authority is in no file here.
fn config(
    variables: &[(Variable, Value)],
    values: &Values,
) -> Result<Config, kipper_poller::Error> {
    let given = variables.iter().filter(|(variable, _)| *variable != Variable::SourceCa);
    let given = given.filter_map(|(variable, value)| match value {
        Value::Text(text) => Some((*variable, text.clone())),
        Value::Secret(key) => Some((*variable, values.get(*key)?.to_owned())),
    });
    let mut config = Config::from_variables(given)?;
    config.source_authority = values.get(SecretKey::Ca).map(str::to_owned);
    Ok(config)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_due_until_the_trigger_works_for_keda_too() {
        let now = Instant::now();
        let row = |verdict: Option<Verdict>, ago: Option<u64>, is_running| Row {
            digest: "d".to_owned(),
            verdict,
            ended: ago.map(|ago| now - Duration::from_secs(ago)),
            is_running,
        };
        let broken = || Some(Verdict::Unreachable(String::new()));
        let seconds = |row: Row, scaler_fails| due(&row, scaler_fails, now).map(|d| d.as_secs());
        assert_eq!(seconds(row(None, None, false), false), Some(0));
        assert_eq!(seconds(row(None, None, true), true), None);
        assert_eq!(seconds(row(Some(Verdict::Works), Some(3600), false), false), None);
        assert_eq!(seconds(row(Some(Verdict::Works), Some(3600), false), true), Some(0));
        assert_eq!(seconds(row(Some(Verdict::Works), Some(4), false), true), Some(6));
        assert_eq!(seconds(row(broken(), Some(4), false), false), Some(6));
        assert_eq!(seconds(row(broken(), Some(10), false), false), Some(0));
        assert_eq!(seconds(row(broken(), Some(60), true), false), None);
    }
}

//! Where functions are: what the console asks of a cluster, or of `kip dev`.
//!
//! A backend speaks for one user, with that user's rights. What it does not have it refuses with
//! [`Reason::Unsupported`](crate::Reason::Unsupported) and says so in its [`Meta`] beforehand.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _, future, stream::BoxStream};
use kipper_client::logs::Search;
use kipper_function::FunctionSpec;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Problem, Reason,
    assistant::{Setup, Stored},
    model::{
        Checked, Detail, Draft, Event, Invoke, Invoked, Lines, Meta, New, Outcome, Revision, Saved,
        SecretChanges, Service, Summary, Update, Volume,
    },
};

pub mod cluster;
pub mod request;

/// The outcome of whatever a backend does.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

/// One Function, by its names.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// Which lines of a log are meant.
#[derive(Clone, Debug)]
pub struct LogQuery {
    /// None older than this.
    pub since: Duration,
    /// Only those that contain it.
    pub search: Option<Search>,
}

/// What is watched.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Where.
    pub namespace: String,
    /// One Function; absent: the list of all.
    pub name: Option<String>,
    /// Its lines too, from now on.
    pub logs: bool,
}

/// What `work` sends, of which at most `queue` updates wait for their reader; the work ends with it.
pub fn updates<T, F>(queue: usize, work: impl FnOnce(mpsc::Sender<T>) -> F) -> BoxStream<'static, T>
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(queue);
    fed(ReceiverStream::new(receiver), work(sender)).boxed()
}

/// The newest of what `work` sends: a reader who is slower misses what was overtaken meanwhile. The work
/// ends with it.
pub(crate) fn newest<T, F>(
    work: impl FnOnce(watch::Sender<Option<T>>) -> F,
) -> BoxStream<'static, T>
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = watch::channel(None);
    fed(WatchStream::from_changes(receiver), work(sender)).filter_map(future::ready).boxed()
}

/// A stream that a task feeds, which ends with it.
fn fed<S: Stream>(
    stream: S,
    work: impl Future<Output = ()> + Send + 'static,
) -> impl Stream<Item = S::Item> {
    let task = AbortOnDropHandle::new(tokio::spawn(work));
    stream.map(move |update| {
        // Kept by the stream, so that it is aborted with it.
        let _ = &task;
        update
    })
}

/// What a write did, and the Function after it.
pub type Written = (Outcome, Detail);

/// Functions, as one user sees them.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Whose rights it has; empty where it has one user alone.
    fn user(&self) -> &str {
        ""
    }

    /// What it can do.
    async fn meta(&self) -> Result<Meta>;

    /// The namespace to begin with.
    fn namespace(&self) -> &str;

    /// The namespaces there are; `None` where the user may not list them.
    async fn namespaces(&self) -> Result<Option<Vec<String>>>;

    /// Every Function of a namespace, by name.
    async fn list(&self, namespace: &str) -> Result<Vec<Summary>>;

    /// One Function.
    async fn get(&self, name: Name<'_>) -> Result<Detail>;

    /// Makes a Function that was not there, with its secrets, which are written first: it starts with
    /// them.
    async fn create(&self, namespace: &str, new: New) -> Result<Saved>;

    /// Gives the Function that was read as `current` another spec, unless it was changed since: then
    /// [`Reason::Conflict`](crate::Reason::Conflict).
    async fn write(&self, current: &Detail, spec: &FunctionSpec) -> Result<Written>;

    /// Changes secrets of a Function.
    async fn write_secrets(&self, name: Name<'_>, changes: &SecretChanges) -> Result<()>;

    /// Removes a Function.
    async fn delete(&self, name: Name<'_>) -> Result<()>;

    /// What only the backend knows to be wrong with a draft.
    async fn check(&self, draft: &Draft) -> Result<Checked>;

    /// Services that can be bound.
    async fn services(&self, _namespace: &str) -> Result<Vec<Service>> {
        Ok(Vec::new())
    }

    /// Volumes that can be mounted.
    async fn volumes(&self, _namespace: &str) -> Result<Vec<Volume>> {
        Ok(Vec::new())
    }

    /// What a Function said.
    async fn logs(&self, name: Name<'_>, query: &LogQuery) -> Result<Lines>;

    /// What was reported of it.
    async fn events(&self, _name: Name<'_>) -> Result<Vec<Event>> {
        Ok(Vec::new())
    }

    /// Its earlier specs, newest first.
    async fn revisions(&self, _name: Name<'_>) -> Result<Vec<Revision>> {
        Err(Problem::new(Reason::Unsupported, "there is no history here"))
    }

    /// Why the user may not make a function in a namespace, if so.
    async fn create_refusal(&self, _namespace: &str) -> Option<String> {
        None
    }

    /// Replaces what serves a Function, without a change; why there is nothing to replace, if so.
    async fn restart(&self, name: Name<'_>) -> Result<Option<&'static str>>;

    /// Runs a cron function once, now; the run's name.
    async fn test_run(&self, name: Name<'_>) -> Result<String>;

    /// Sends it a request.
    async fn invoke(&self, name: Name<'_>, request: Invoke) -> Result<Invoked>;

    /// What the assistant is set up with, and whether this user may change it.
    async fn assistant(&self) -> Result<Setup>;

    /// Sets the assistant up, or takes that away. Whoever calls it asked [`Self::assistant`] before.
    async fn set_assistant(&self, _stored: Option<&Stored>) -> Result<()> {
        Err(Problem::new(Reason::Unsupported, "the assistant is set up by flags here"))
    }

    /// What is now, and then each change. The stream ends when the backend cannot go on.
    fn watch(&self, watch: Watch) -> BoxStream<'static, Update>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_gets_the_newest_and_none_that_was_overtaken() {
        let sent = newest(|newest| async move {
            for at in 1..=3 {
                newest.send_replace(Some(at));
            }
        });
        assert_eq!(sent.collect::<Vec<_>>().await, [3]);
    }
}

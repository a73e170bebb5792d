//! Fills the cache: one watch per kind, kept up for ever.
//!
//! Each watch reduces objects to rows, stores them, and asks for a reconcile of the functions a
//! changed row concerns. It never clears a table: what was seen last stays until a complete list
//! says otherwise. It never reads the value of a Secret.

use std::{collections::HashSet, hash::Hash, time::Duration};

use futures_util::{Stream, StreamExt as _};
use kube::runtime::{
    reflector::ObjectRef,
    watcher::{self, Config, Event},
};
use tokio::sync::mpsc;

use kipper_function::Function;

use crate::cache::{Changed, Table};

pub(crate) mod rows;

/// Where reconciles are asked for. Bounded: a watch waits while the queue is full.
pub(crate) type Queue = mpsc::Sender<ObjectRef<Function>>;
/// Requests that may wait in the queue before the scheduler has taken them, which it does at once.
/// Fewer than the objects of a hundred functions: that a full queue stops nothing is tested so.
pub(crate) const QUEUE_LEN: usize = 64;
/// How long the server keeps one watch open; resuming is cheap for it.
const WATCH_TIMEOUT_SECS: u32 = 290;
/// Objects per page of a list.
const PAGE_SIZE: u32 = 200;
/// Delays between two tries of a watch.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(200);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(20);

/// What a watch does with its objects.
pub(crate) trait Rows<K>: Send + Sync {
    /// Identifies a row.
    type Key: Clone + Eq + Hash + Send + Sync;
    /// What is kept of an object.
    type Row: Clone + PartialEq + Send + Sync;

    /// Where the rows are.
    fn table(&self) -> &Table<Self::Key, Self::Row>;
    /// The row of an object; `None` for one that is not of interest, or not any more.
    fn row(&self, object: &K) -> (Self::Key, Option<Self::Row>);
    /// Whether this watch's lists contain such keys; several watches may share a table.
    fn listed(&self, _: &Self::Key) -> bool {
        true
    }
    /// Functions that a row's appearance, change or end concerns.
    fn concerned(&self, key: &Self::Key, row: &Self::Row) -> Vec<ObjectRef<Function>>;
}

/// The settings every watch has in common.
pub(crate) fn config(selector: &str) -> Config {
    let config = Config::default().timeout(WATCH_TIMEOUT_SECS).page_size(PAGE_SIZE);
    if selector.is_empty() { config } else { config.labels(selector) }
}

/// Follows what `watch` starts until dropped; calls `synced` after the first complete list.
pub(crate) async fn follow<K, R, S>(
    watch: impl Fn() -> S + Send,
    rows: R,
    queue: Queue,
    synced: impl FnOnce() + Send,
) where
    K: Send + Sync + 'static,
    R: Rows<K>,
    S: Stream<Item = watcher::Result<Event<K>>> + Send,
{
    let mut synced = Some(synced);
    let mut listed = HashSet::new();
    let (mut listing, mut failures) = (false, 0_u32);
    let mut events = Box::pin(watch());
    // The stream of a watcher has no end; it goes on after an error.
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                let delay = retry_delay(failures, fastrand::f64());
                failures = failures.saturating_add(1);
                tracing::warn!(%error, ?delay, "watch failed, going on with what was seen last");
                tokio::time::sleep(delay).await;
                if must_list_again(&error) {
                    events = Box::pin(watch());
                }
                continue;
            }
        };
        // The beginning of a list is only our own intention; anything else is the server's.
        if !matches!(event, Event::Init) {
            failures = 0;
        }
        let mut concerned = Vec::new();
        match event {
            Event::Init => {
                listed.clear();
                listing = true;
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let (key, row) = rows.row(&object);
                if listing && row.is_some() {
                    listed.insert(key.clone());
                }
                concerned = store(&rows, key, row);
            }
            Event::Delete(object) => {
                let (key, _) = rows.row(&object);
                concerned = store(&rows, key, None);
            }
            Event::InitDone => {
                listing = false;
                for (key, row) in
                    rows.table().retain(|key| !rows.listed(key) || listed.contains(key))
                {
                    concerned.extend(rows.concerned(&key, &row));
                }
                listed = HashSet::new();
                if let Some(synced) = synced.take() {
                    synced();
                }
            }
        }
        for function in concerned {
            if queue.send(function).await.is_err() {
                return;
            }
        }
    }
}

/// True when the server refuses to resume from where we were. The watcher lists again by itself
/// when 410 comes as an event, but retries for ever when it is the answer to the request.
fn must_list_again(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

/// Doubles from [`MIN_RETRY_DELAY`] to [`MAX_RETRY_DELAY`]; `jitter` in 0..1 takes up to half off.
fn retry_delay(failures: u32, jitter: f64) -> Duration {
    let factor = 1_u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX);
    MIN_RETRY_DELAY.saturating_mul(factor).min(MAX_RETRY_DELAY).mul_f64(1.0 - jitter / 2.0)
}

fn store<K, R: Rows<K>>(rows: &R, key: R::Key, row: Option<R::Row>) -> Vec<ObjectRef<Function>> {
    let Some(row) = row else {
        let former = rows.table().remove(&key);
        return former.map(|former| rows.concerned(&key, &former)).unwrap_or_default();
    };
    match rows.table().put(key.clone(), row.clone()) {
        Changed::No => Vec::new(),
        Changed::Yes(former) => {
            let mut concerned = rows.concerned(&key, &row);
            for function in former.iter().flat_map(|former| rows.concerned(&key, former)) {
                if !concerned.contains(&function) {
                    concerned.push(function);
                }
            }
            concerned
        }
    }
}

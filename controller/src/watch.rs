//! Fills the cache: one watch per kind.
//!
//! Each watch reduces objects to rows, stores them, and asks for a reconcile of the functions a
//! changed row concerns. It never clears a table: what was seen last stays until a complete list
//! says otherwise. It never reads the value of a Secret.

use std::{collections::HashSet, fmt::Debug, hash::Hash};

use kipper_function::Function;
use kipper_kubernetes::{Mirror, Settings};
use kube::{
    Api, Resource,
    runtime::{
        reflector::{ObjectRef, store::Writer},
        watcher::Event,
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::cache::{Changed, Table};

pub(crate) mod rows;

/// Where reconciles are asked for. Bounded: a watch waits while the queue is full.
pub(crate) type Queue = mpsc::Sender<ObjectRef<Function>>;
/// Requests that may wait in the queue before the scheduler has taken them, which it does at once.
/// Fewer than the objects of a hundred functions: that a full queue stops nothing is tested so.
pub(crate) const QUEUE_LEN: usize = 64;
/// Objects per page of a list.
const PAGE_SIZE: u32 = 200;

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

/// Follows the objects that a label selector selects until dropped; empty selects everything. Calls
/// `synced` after the first complete list.
pub(crate) async fn follow<K, R>(
    api: Api<K>,
    selector: &str,
    rows: R,
    queue: Queue,
    synced: impl FnOnce() + Send,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    R: Rows<K>,
{
    let (listed, concerned) = (HashSet::new(), Vec::new());
    keep(api, selector, RowsMirror { rows, queue, synced: Some(synced), listed, concerned }).await;
}

/// Keeps the store of Functions until dropped, and asks for a reconcile of each that changed.
pub(crate) async fn follow_functions(api: Api<Function>, store: Writer<Function>, queue: Queue) {
    let (listed, concerned) = (HashSet::new(), Vec::new());
    keep(api, "", FunctionsMirror { store, queue, listed, concerned }).await;
}

async fn keep<K, M>(api: Api<K>, selector: &str, mirror: M)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    M: Mirror<K>,
{
    let settings = Settings { page_size: PAGE_SIZE, ..Settings::labels(selector) };
    let Err(error) = kipper_kubernetes::follow(api, settings, mirror).await;
    tracing::error!(%error, "watch ended");
}

/// Asks for reconciles; a watch waits while the queue is full.
async fn ask(queue: &Queue, concerned: &mut Vec<ObjectRef<Function>>) {
    for function in concerned.drain(..) {
        // Without a receiver the process is about to end.
        let _ = queue.send(function).await;
    }
}

struct RowsMirror<R, Key, S> {
    rows: R,
    queue: Queue,
    synced: Option<S>,
    /// Keys that a list in progress has brought.
    listed: HashSet<Key>,
    /// Functions to ask a reconcile for.
    concerned: Vec<ObjectRef<Function>>,
}

impl<K, R, S> Mirror<K> for RowsMirror<R, R::Key, S>
where
    K: Send,
    R: Rows<K>,
    S: FnOnce() + Send,
{
    fn begin(&mut self) {
        self.listed.clear();
    }

    fn list(&mut self, object: K) {
        let (key, row) = self.rows.row(&object);
        if row.is_some() {
            self.listed.insert(key.clone());
        }
        self.concerned.extend(store(&self.rows, key, row));
    }

    fn complete(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let stays = |key: &R::Key| !self.rows.listed(key) || listed.contains(key);
        for (key, row) in self.rows.table().retain(stays) {
            self.concerned.extend(self.rows.concerned(&key, &row));
        }
        if let Some(synced) = self.synced.take() {
            synced();
        }
    }

    fn apply(&mut self, object: K) {
        let (key, row) = self.rows.row(&object);
        self.concerned.extend(store(&self.rows, key, row));
    }

    fn delete(&mut self, object: K) {
        let (key, _) = self.rows.row(&object);
        self.concerned.extend(store(&self.rows, key, None));
    }

    async fn settle(&mut self) {
        ask(&self.queue, &mut self.concerned).await;
    }
}

struct FunctionsMirror {
    store: Writer<Function>,
    queue: Queue,
    /// What a list in progress has brought. The store has it once the list is complete, so reconciles
    /// are asked for then.
    listed: HashSet<ObjectRef<Function>>,
    /// Functions to ask a reconcile for.
    concerned: Vec<ObjectRef<Function>>,
}

impl Mirror<Function> for FunctionsMirror {
    fn begin(&mut self) {
        self.listed.clear();
        self.store.apply_watcher_event(&Event::Init);
    }

    fn list(&mut self, function: Function) {
        self.listed.insert(ObjectRef::from_obj(&function));
        self.store.apply_watcher_event(&Event::InitApply(function));
    }

    fn complete(&mut self) {
        let known = self.store.as_reader().state();
        self.listed.extend(known.iter().map(|function| ObjectRef::from_obj(&**function)));
        self.store.apply_watcher_event(&Event::InitDone);
        self.concerned.extend(self.listed.drain());
    }

    fn apply(&mut self, function: Function) {
        self.concerned.push(ObjectRef::from_obj(&function));
        self.store.apply_watcher_event(&Event::Apply(function));
    }

    fn delete(&mut self, function: Function) {
        self.concerned.push(ObjectRef::from_obj(&function));
        self.store.apply_watcher_event(&Event::Delete(function));
    }

    async fn settle(&mut self) {
        ask(&self.queue, &mut self.concerned).await;
    }
}

/// Stores or removes a row; the functions that it concerns.
pub(crate) fn store<K, R: Rows<K>>(
    rows: &R,
    key: R::Key,
    row: Option<R::Row>,
) -> Vec<ObjectRef<Function>> {
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

//! What runs, for who looks at it from beside: written by `kip dev`, read by the console's backend.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::super::{journal::Journal, load::LocalFunction};

/// Orders on their way to `kip dev`; who gives one waits at the bound.
pub(crate) const ORDERS: usize = 16;

/// A function that runs.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) function: LocalFunction,
    pub(crate) journal: Arc<Journal>,
}

/// Values of secrets, by function; in memory only.
pub(crate) type SecretValues = BTreeMap<String, BTreeMap<String, Secret>>;

/// A secret of a function.
#[derive(Clone)]
pub(crate) struct Secret {
    pub(crate) value: String,
    /// When it was given this value, if it had another.
    pub(crate) rotated_at: Option<kipper_function::Timestamp>,
}

/// What is to be done about what runs.
pub(crate) enum Order {
    /// A file was written that belongs to a function, or is a new one.
    Written(PathBuf),
    /// A function is in another file now.
    Moved { from: PathBuf, to: PathBuf },
    /// A function has no file any more.
    Removed(String),
    /// What its processes are started with changed.
    Restart(String),
    /// A cron function is to run now.
    Run(String),
}

/// An order, and who hears when it was carried out, or why not.
pub(crate) type Given = (Order, oneshot::Sender<Result<(), String>>);

/// All of it. Clones share it.
#[derive(Clone)]
pub(crate) struct Board {
    entries: Arc<watch::Sender<BTreeMap<String, Entry>>>,
    pub(crate) secrets: Arc<Mutex<SecretValues>>,
    orders: mpsc::Sender<Given>,
    /// Where a new function's file goes.
    pub(crate) home: Arc<Path>,
}

impl Board {
    /// An empty one, and the orders that come by it.
    pub(crate) fn new(home: &Path) -> (Self, mpsc::Receiver<Given>) {
        let (orders, given) = mpsc::channel(ORDERS);
        let board =
            Self { entries: Arc::default(), secrets: Arc::default(), orders, home: home.into() };
        (board, given)
    }

    /// A function runs, or is another one now.
    pub(crate) fn put(&self, function: &LocalFunction, journal: &Arc<Journal>) {
        let entry = Entry { function: function.clone(), journal: Arc::clone(journal) };
        self.entries.send_modify(|entries| drop(entries.insert(function.name.clone(), entry)));
    }

    /// A function runs no more.
    pub(crate) fn remove(&self, name: &str) {
        self.entries.send_modify(|entries| drop(entries.remove(name)));
    }

    /// What runs, and when that changes.
    pub(crate) fn entries(&self) -> watch::Receiver<BTreeMap<String, Entry>> {
        self.entries.subscribe()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Entry> {
        self.entries.borrow().get(name).cloned()
    }

    /// The variables that a function gets as secrets.
    pub(crate) fn secrets_of(&self, name: &str) -> Vec<(String, String)> {
        let secrets = self.secrets.lock();
        let of_it = secrets.get(name).into_iter().flatten();
        of_it.map(|(key, secret)| (key.clone(), secret.value.clone())).collect()
    }

    /// Gives an order and waits until it is carried out.
    ///
    /// # Errors
    /// Why it was not.
    pub(crate) async fn order(&self, order: Order) -> Result<(), String> {
        let ends = || "kip dev is stopping".to_owned();
        let (done, heard) = oneshot::channel();
        self.orders.send((order, done)).await.map_err(|_| ends())?;
        heard.await.map_err(|_| ends())?
    }
}

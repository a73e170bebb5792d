//! Replicas asked for ahead of the HPA: from the scaler-adapter to whoever plays KEDA for a function.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use kipper_kubernetes::{Scale, ScaleError};
use kipper_scaler_adapter::Replicas;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// Asks on their way to a player; the adapter waits at the bound.
const ASKS: usize = 1;

/// Somebody asks for replicas.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// Whether there were `from`, and are `to` now.
    pub(crate) answer: oneshot::Sender<bool>,
}

/// The players, by the name of their function. Clones share everything.
#[derive(Clone, Default)]
pub(crate) struct Asks(Arc<Mutex<HashMap<String, Player>>>);

#[derive(Clone)]
struct Player {
    replicas: Arc<AtomicU32>,
    asks: mpsc::Sender<Ask>,
}

impl Asks {
    /// Asks for a function go to its newest player.
    pub(crate) fn of(&self, function: &str, replicas: Arc<AtomicU32>) -> mpsc::Receiver<Ask> {
        let (asks, asked) = mpsc::channel(ASKS);
        let mut players = self.0.lock();
        players.retain(|_, player| !player.asks.is_closed());
        players.insert(function.to_owned(), Player { replicas, asks });
        asked
    }

    fn player(&self, function: &str) -> Result<Player, ScaleError> {
        self.0.lock().get(function).cloned().ok_or(ScaleError::NotFound)
    }
}

impl Replicas for Asks {
    fn read(&self, _namespace: &str, name: &str) -> BoxFuture<'static, Result<Scale, ScaleError>> {
        let player = self.player(name);
        ready(player.map(|player| {
            let wanted = player.replicas.load(Relaxed);
            Scale { wanted, pods: wanted }
        }))
        .boxed()
    }

    fn raise(
        &self,
        _namespace: &str,
        name: &str,
        from: u32,
        to: u32,
    ) -> BoxFuture<'static, Result<bool, ScaleError>> {
        let player = self.player(name);
        async move {
            let (answer, answered) = oneshot::channel();
            let sent = player?.asks.send(Ask { from, to, answer }).await;
            sent.map_err(|_| ScaleError::NotFound)?;
            answered.await.map_err(|_| ScaleError::NotFound)
        }
        .boxed()
    }

    /// Nobody else scales here.
    fn check(&self) -> BoxFuture<'static, Result<(), String>> {
        ready(Ok(())).boxed()
    }
}

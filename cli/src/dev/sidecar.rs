//! The poller beside one process of an event function, as a pod has it in a container of its own.
//!
//! It lives as long as its process and ends first: what it claimed is handled, marked or given back
//! before the process is told to stop.

use std::future::pending;

use kipper_poller::Metrics;
use prometheus::Registry;
use tokio::{sync::watch, task::JoinError};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::instrument::WithSubscriber as _;

use super::{console::Voice, journal::Journal, trigger::EventTrigger};

type Ended = Result<Result<(), kipper_poller::Error>, JoinError>;

/// A running poller. Dropping it gives up what it holds.
pub(super) struct Sidecar {
    stop: CancellationToken,
    /// `None` once it has ended.
    running: Option<AbortOnDropHandle<Result<(), kipper_poller::Error>>>,
    connected: watch::Receiver<bool>,
}

impl Sidecar {
    /// Starts a poller that delivers to a loopback port. It claims nothing before the process
    /// answers there, and stops claiming with `stop`.
    ///
    /// # Errors
    /// What is wrong with its address or its metrics; neither can be.
    pub(super) fn start(
        trigger: &EventTrigger,
        port: u16,
        voice: &Voice,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let config = trigger.config_for(port)?;
        let metrics = Metrics::register(&Registry::new())?;
        let (tell, connected) = watch::channel(false);
        let stop = stop.child_token();
        let shutdown = stop.clone();
        let polling = async move {
            let connected = || {
                tell.send_replace(true);
            };
            kipper_poller::run_embedded(&config, metrics, connected, shutdown).await
        };
        let running = tokio::spawn(polling.with_subscriber(Journal::new(voice.clone())));
        Ok(Self { stop, running: Some(AbortOnDropHandle::new(running)), connected })
    }

    /// Becomes true once the source is there; closed when the poller ends before.
    pub(super) fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// Why it ended although nobody stopped it; pending as long as it did not.
    pub(super) async fn failed(&mut self) -> String {
        match self.ended().await {
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(panic)) => panic.to_string(),
            Some(Ok(Ok(()))) | None => pending().await,
        }
    }

    /// Stops claiming; resolves when everything it held is marked or given back.
    pub(super) async fn drain(&mut self) {
        self.stop.cancel();
        self.ended().await;
    }

    /// How it ended, once. Nothing is lost when the future is dropped.
    async fn ended(&mut self) -> Option<Ended> {
        let ended = self.running.as_mut()?.await;
        self.running = None;
        Some(ended)
    }
}

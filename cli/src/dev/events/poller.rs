//! The poller beside one process of an event function, as a pod has it in a container of its own.
//!
//! It lives as long as its process and ends first: what it claimed is handled, marked or given back
//! before the process is asked to stop.

use std::future::pending;

use tokio::{sync::watch, task::JoinError};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    companion::{Companion, Context, Heard},
    trigger::EventTrigger,
};

/// A poller that is kept running. Dropping it kills it, and with it what it holds is given up.
pub(crate) struct Sidecar {
    stop: CancellationToken,
    /// `None` once it has ended.
    running: Option<AbortOnDropHandle<Option<String>>>,
    connected: watch::Receiver<bool>,
}

impl Sidecar {
    /// Starts a poller that delivers to a loopback port. It claims nothing before the process
    /// answers there, and stops claiming with `stop`.
    pub(crate) fn start(
        trigger: &EventTrigger,
        port: u16,
        context: Context,
        stop: &CancellationToken,
    ) -> Self {
        let invocation = trigger.poller(port);
        let companion = Companion { invocation, context };
        let (is_connected, connected) = watch::channel(false);
        let stop = stop.child_token();
        let running = companion.run(stop.clone(), move |heard| {
            if let Heard::Log(record) = heard
                && record.message == kipper_trigger::CONNECTED
            {
                is_connected.send_replace(true);
            }
        });
        let running = Some(AbortOnDropHandle::new(tokio::spawn(running)));
        Self { stop, running, connected }
    }

    /// Becomes true once the source is there; closed when the poller ends before.
    pub(crate) fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// Why it cannot work; pending as long as it can.
    pub(crate) async fn failed(&mut self) -> String {
        match self.ended().await {
            Some(Ok(Some(why))) => why,
            Some(Err(panic)) => panic.to_string(),
            Some(Ok(None)) | None => pending().await,
        }
    }

    /// Stops claiming; resolves when everything it held is marked or given back.
    pub(crate) async fn drain(&mut self) {
        self.stop.cancel();
        self.ended().await;
    }

    /// How it ended, once. Nothing is lost when the future is dropped.
    async fn ended(&mut self) -> Option<Result<Option<String>, JoinError>> {
        let ended = self.running.as_mut()?.await;
        self.running = None;
        Some(ended)
    }
}

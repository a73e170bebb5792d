//! Drains: nothing new, what runs is finished, and back to work where no signal follows.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::{sync::oneshot, time::Instant};

use super::{Mode, Poller};
use crate::source::Source;

/// After a drain nobody followed up with a signal, a function that answers all the while is taken
/// to stay.
const RESUME_AFTER: Duration = Duration::from_secs(30);
/// How often a drained poller looks whether the function went away.
const RESUME_POLL: Duration = Duration::from_millis(200);

impl<S: Source> Poller<S> {
    /// The function answers.
    pub(super) fn answering(&mut self) {
        if matches!(self.mode, Mode::Drained) && self.deadline.is_none() {
            tracing::info!("the function answers, no signal came: polling again");
            self.mode = Mode::Running;
        }
    }

    pub(super) fn drain(&mut self, reply: Option<oneshot::Sender<()>>) {
        let given_up = self.dispatcher.give_up(Instant::now());
        self.give_back(given_up);
        match &mut self.mode {
            Mode::Draining(replies) => replies.extend(reply),
            Mode::Running => {
                tracing::info!(held = self.held.len(), "draining");
                self.mode = Mode::Draining(reply.into_iter().collect());
            }
            Mode::Drained => {
                self.mode = Mode::Draining(reply.into_iter().collect());
            }
        }
    }

    /// A call to the source has come to its end.
    pub(super) fn progressed(&mut self, succeeded: bool) {
        self.reach.saw(succeeded);
        if succeeded {
            self.progress = Instant::now();
        }
    }

    /// When to end, whatever still runs: after the signal only.
    pub(super) fn end(&self) -> Option<Instant> {
        let deadline = self.deadline?;
        let stalled = self.progress + self.settings.drain_stall;
        Some(if self.calls.deliveries.is_empty() { deadline.min(stalled) } else { deadline })
    }

    pub(super) fn is_drained(&self) -> bool {
        matches!(self.mode, Mode::Draining(_)) && self.held.is_empty() && self.calls.claim.is_none()
    }

    pub(super) fn drained(&mut self) {
        let Mode::Draining(replies) = std::mem::replace(&mut self.mode, Mode::Drained) else {
            return;
        };
        tracing::info!("drained");
        for reply in replies {
            // Whoever asked may have gone away; the drain stands.
            let _ = reply.send(());
        }
        let target = Arc::clone(&self.target);
        self.calls.gate = Some(
            async move {
                let give_up = Instant::now() + RESUME_AFTER;
                while Instant::now() < give_up && target.answers().await {
                    tokio::time::sleep(RESUME_POLL).await;
                }
                target.wait_until_answering().await;
            }
            .boxed(),
        );
    }
}

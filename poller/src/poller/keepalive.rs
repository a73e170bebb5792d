//! The links to the source: proofs that claims are alive, connecting again, and what is lost with a
//! link.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::Poller;
use crate::{
    rescuer::Task,
    source::{Key, Source, SourceError},
};

impl<S: Source> Poller<S> {
    pub(super) fn start_keepalive(&mut self, now: Instant) {
        if self.calls.keepalive.is_some() {
            return;
        }
        let Some(task) = self.rescuer.task(now) else { return };
        // What is being released must not be taken again.
        if task == Task::Recover && self.calls.release.is_some() {
            return;
        }
        let source = Arc::clone(&self.source);
        let held: Vec<_> = self.held.values().cloned().collect();
        self.calls.keepalive = Some(
            async move {
                let result = match task {
                    Task::Extend => source.extend(&held).await.map(|()| Vec::new()),
                    Task::Recover => source.recover(&held).await,
                };
                (task, result)
            }
            .boxed(),
        );
    }

    pub(super) fn kept_alive(&mut self, (task, result): (Task, Result<Vec<Key>, SourceError>)) {
        let now = Instant::now();
        let succeeded = result.is_ok();
        let lost = result.unwrap_or_else(|error| {
            self.failed("keepalive", &error, now);
            Vec::new()
        });
        self.rescuer.ended(task, succeeded, now);
        if succeeded && task == Task::Recover {
            self.metrics.reconnects.inc();
            tracing::info!("connected to the source again");
            self.lose_claims(lost, now);
        }
    }

    /// Takes in which events another pod has by now: what failed since is not tried here again.
    fn lose_claims(&mut self, lost: Vec<Key>, now: Instant) {
        self.lost_claims = lost.into_iter().filter(|key| self.held.contains_key(key)).collect();
        if !self.lost_claims.is_empty() {
            let lost = self.lost_claims.len();
            tracing::warn!(lost, "another pod has claimed events that are still in progress here");
            let given_up = self.dispatcher.give_up(now);
            self.give_back(given_up);
        }
    }

    /// Takes in an error of the source. With the claims everything that only waits is gone too.
    pub(super) fn failed(&mut self, call: &'static str, error: &SourceError, now: Instant) {
        tracing::warn!(call, "{error}");
        if !self.rescuer.failed(error, now) {
            return;
        }
        let waiting = self.dispatcher.give_up(now).into_iter().map(|held| held.event);
        let gone: Vec<_> = waiting.chain(self.to_release.drain(..)).collect();
        self.forget(&gone);
    }
}

//! Whether the source answers: what `/readyz` and a metric say of it.
//!
//! A source that fails now and then is connected again and is no news. One that has not answered a
//! single call for a while is: the pod is not ready, so that whoever looks at the Function sees it.

use std::{sync::Arc, time::Duration};

use kipper_process::readiness::{Readiness, ReadyBlock};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::metrics::Metrics;

/// Calls that fail for so long without one that succeeds.
const AWAY_AFTER: Duration = Duration::from_secs(30);

/// Clones share what they know.
#[derive(Clone)]
pub struct Reach(Arc<Mutex<State>>);

struct State {
    /// `None` in a process that has no readiness of its own.
    readiness: Option<Readiness>,
    metrics: Metrics,
    /// While the source does not answer.
    block: Option<ReadyBlock>,
    /// The first failure since a call succeeded.
    failing: Option<Instant>,
}

impl Reach {
    /// Of a source that was not asked yet.
    pub fn new(readiness: Option<Readiness>, metrics: Metrics) -> Self {
        let block = readiness.as_ref().map(|readiness| readiness.block("source"));
        Self(Arc::new(Mutex::new(State { readiness, metrics, block, failing: None })))
    }

    /// Takes in how a call ended.
    pub(crate) fn saw(&self, succeeded: bool) {
        let mut state = self.0.lock();
        if succeeded {
            (state.block, state.failing) = (None, None);
            state.metrics.source_up.set(1);
            return;
        }
        let now = Instant::now();
        if now.duration_since(*state.failing.get_or_insert(now)) < AWAY_AFTER {
            return;
        }
        state.metrics.source_up.set(0);
        if state.block.is_none() {
            state.block = state.readiness.as_ref().map(|readiness| readiness.block("source"));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prometheus::Registry;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_source_that_stays_away_is_told_until_it_answers() {
        let readiness = Readiness::new();
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let reach = Reach::new(Some(readiness.clone()), metrics);
        assert_eq!(readiness.missing(), ["source"]);
        reach.saw(true);
        reach.saw(false);
        tokio::time::advance(AWAY_AFTER / 2).await;
        reach.saw(false);
        assert!(readiness.is_ready());
        tokio::time::advance(AWAY_AFTER / 2).await;
        reach.saw(false);
        assert_eq!(readiness.missing(), ["source"]);
        reach.saw(true);
        assert!(readiness.is_ready());
        tokio::time::advance(AWAY_AFTER).await;
        reach.saw(false);
        assert!(readiness.is_ready(), "the series begins anew");
    }
}

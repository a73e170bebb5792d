//! Whether functions are scaled ahead of the HPA: the scaler-adapters know, and say it in their metrics.
//!
//! They find out by a request that an admission policy must refuse, so a right or the policy that is missing
//! shows there and nowhere else. Whoever waits for replicas should see it on the Function.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use kipper_function::Function;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::{
    net::lookup_host,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{cache::Cache, scrape::Metrics, watch::Queue};

/// Between two looks at all adapters.
const PERIOD: Duration = Duration::from_secs(15);
/// Adapters asked at a time.
const MAX_ASKED: usize = 16;
/// Looks in a row that must agree before anything is told. An adapter looks again a minute after somebody
/// refused it one function, which says nothing about others.
const LOOKS: u32 = 6;
const ALLOWED: &str = "kipper_scaler_adapter_burst_allowed";

/// Begins to keep what is known, and to ask for a pass over every function when that changes. `adapters` is the
/// name of all adapters with their admin port. Without one nothing is to be scaled ahead, so nothing is
/// missing either, whatever was told of functions before.
pub(crate) fn start(
    tasks: &mut JoinSet<()>,
    adapters: Option<&str>,
    cache: &Arc<Cache>,
    functions: &Store<Function>,
    queue: Queue,
) {
    match adapters.filter(|name| !name.is_empty()) {
        Some(adapters) => {
            let (adapters, cache) = (adapters.to_owned(), Arc::clone(cache));
            tasks.spawn(watch(adapters, cache, functions.clone(), queue));
        }
        None => cache.set_burst_unavailable(false),
    }
}

async fn watch(adapters: String, cache: Arc<Cache>, functions: Store<Function>, queue: Queue) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = Looks::default();
    loop {
        ticks.tick().await;
        // A name without addresses: none of them runs.
        let addresses = lookup_host(adapters.as_str()).await.into_iter().flatten();
        let asked = stream::iter(addresses).map(Metrics::of).buffer_unordered(MAX_ASKED);
        let said = asked.map(|metrics| metrics?.number(ALLOWED)).collect::<Vec<_>>().await;
        let Some(is_unavailable) = looks.settle(is_unavailable(&said)) else { continue };
        cache.set_burst_unavailable(is_unavailable);
        for function in functions.state() {
            // Without a receiver the process is about to end.
            let _ = queue.send(ObjectRef::from_obj(&*function)).await;
        }
    }
}

/// Whether any adapter may not scale, by what each says; `None` where none says anything.
fn is_unavailable(said: &[Option<u64>]) -> Option<bool> {
    said.iter().any(Option::is_some).then(|| said.contains(&Some(0)))
}

/// What was seen last, and what was told of it.
#[derive(Default)]
struct Looks {
    last: Option<bool>,
    times: u32,
    told: Option<bool>,
}

impl Looks {
    /// What is to be told now, if it is new.
    fn settle(&mut self, found: Option<bool>) -> Option<bool> {
        let found = found?;
        self.times = if self.last == Some(found) { self.times + 1 } else { 1 };
        self.last = Some(found);
        // That all is well needs no second look.
        let is_sure = !found || self.times >= LOOKS;
        let is_new = is_sure && self.told != Some(found);
        is_new.then(|| {
            self.told = Some(found);
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn where_no_adapter_is_to_be_asked_nothing_is_missing() {
        let (functions, _writer) = reflector::store();
        let (queue, _requests) = mpsc::channel(1);
        for (adapters, known) in
            [(None, Some(false)), (Some(""), Some(false)), (Some("adapters.invalid:9990"), None)]
        {
            let (mut tasks, cache) = (JoinSet::new(), Arc::new(Cache::new()));
            start(&mut tasks, adapters, &cache, &functions, queue.clone());
            assert_eq!(cache.burst_unavailable(), known, "{adapters:?}");
        }
    }

    #[test]
    fn one_adapter_that_may_not_is_enough() {
        assert_eq!(is_unavailable(&[]), None);
        // Not reached, or of a release that does not say it.
        assert_eq!(is_unavailable(&[None, None]), None);
        assert_eq!(is_unavailable(&[Some(1), None]), Some(false));
        assert_eq!(is_unavailable(&[Some(1), Some(0)]), Some(true));
    }

    #[test]
    fn a_change_is_told_once_and_only_when_it_stays() {
        let mut looks = Looks::default();
        assert_eq!(looks.settle(Some(false)), Some(false));
        let mut times =
            |times: usize, found| (0..times).map(|_| looks.settle(found)).collect::<Vec<_>>();
        assert_eq!(times(5, Some(true)), [None; 5]);
        assert_eq!(times(2, Some(false)), [None; 2]);
        assert_eq!(times(5, Some(true)), [None; 5]);
        assert_eq!(times(3, None), [None; 3], "silence says nothing");
        assert_eq!(times(2, Some(true)), [Some(true), None]);
        assert_eq!(times(2, Some(false)), [Some(false), None]);
    }
}

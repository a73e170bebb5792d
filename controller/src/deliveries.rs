//! How the events of functions fare: read from the metrics of the pollers that run, which everybody in
//! the cluster may read.
//!
//! A poller keeps what it knows of failures to itself and its log; an event that fails again and again
//! keeps a pod awake, and somebody should know. Nothing is asked while no poller runs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    cache::{Cache, Changed, Deliveries, Key},
    scrape::Metrics,
    watch::Queue,
};

/// Between two looks at all pollers.
const PERIOD: Duration = Duration::from_secs(10);
/// Pollers asked at a time.
const MAX_ASKED: usize = 32;
/// Looks without a failing event after which none fails: one that is just being tried again is not
/// counted.
const CALM_LOOKS: u32 = 3;

/// Keeps the table of deliveries until dropped, and asks for a pass over each function that changed.
pub(crate) async fn watch(cache: Arc<Cache>, queue: Queue) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calm = HashMap::new();
    loop {
        ticks.tick().await;
        let pods = cache.pods.filter(|_, pod| pod.server && pod.poller.is_some());
        let pollers =
            pods.into_iter().filter_map(|(_, pod)| Some((pod.function, pod.poller?.metrics?)));
        let answers: Vec<_> = stream::iter(pollers)
            .map(|(function, address)| async move {
                (function, Metrics::of(address).await.as_ref().map(parse))
            })
            .buffer_unordered(MAX_ASKED)
            .collect()
            .await;
        let mut concerned = Vec::new();
        for (function, deliveries) in settle(sums(answers), &mut calm) {
            if let Changed::Yes(_) = cache.deliveries.put(function.clone(), deliveries) {
                concerned.push(function);
            }
        }
        let gone = cache.deliveries.retain(|function| calm.contains_key(function));
        concerned.extend(gone.into_iter().map(|(function, _)| function));
        for function in concerned {
            // Without a receiver the process is about to end.
            let _ = queue.send(function.function()).await;
        }
    }
}

/// The sum over the pods of each function that answered.
fn sums(answers: Vec<(Key, Option<Deliveries>)>) -> HashMap<Key, Deliveries> {
    let mut sums: HashMap<Key, Deliveries> = HashMap::new();
    for (function, said) in answers {
        let Some(said) = said else { continue };
        let sum = sums.entry(function).or_default();
        sum.failing = sum.failing.saturating_add(said.failing);
        sum.dead = sum.dead.saturating_add(said.dead);
        sum.down |= said.down;
    }
    sums
}

/// What is to be said now. `calm` has, of each function that answered, the looks in a row at which nothing
/// failed and what failed before them.
fn settle(
    found: HashMap<Key, Deliveries>,
    calm: &mut HashMap<Key, (u32, u64)>,
) -> Vec<(Key, Deliveries)> {
    calm.retain(|function, _| found.contains_key(function));
    let settled = found.into_iter().map(|(function, said)| {
        let (looks, failing) = calm.entry(function.clone()).or_insert((CALM_LOOKS, 0));
        if said.failing > 0 {
            (*looks, *failing) = (0, said.failing);
        } else {
            *looks += 1;
        }
        let failing = if *looks < CALM_LOOKS { *failing } else { 0 };
        (function, Deliveries { failing, ..said })
    });
    settled.collect()
}

/// The numbers among a poller's metrics.
fn parse(metrics: &Metrics) -> Deliveries {
    let number = |name| metrics.number(name).unwrap_or(0);
    Deliveries {
        failing: number("kipper_poll_failing"),
        dead: number("kipper_poll_dead_total"),
        down: number("kipper_poll_breaker_open") > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pollers_metrics_say_how_events_fare() {
        let text = "# HELP kipper_poll_failing Events.\n# TYPE kipper_poll_failing gauge\n\
                    kipper_poll_failing 3\nkipper_poll_failing_other 9\nkipper_poll_dead_total 2\n\
                    kipper_poll_breaker_open 1\n";
        assert_eq!(parse(&text.into()), Deliveries { failing: 3, dead: 2, down: true });
        assert_eq!(parse(&"".into()), Deliveries::default());
    }

    #[test]
    fn an_event_that_is_just_tried_again_still_fails() {
        let key = Key::new("shop", "f");
        let mut calm = HashMap::new();
        let mut look = |failing: Option<u64>| {
            let of = |failing| (key.clone(), Some(Deliveries { failing, dead: 1, down: false }));
            let found = sums(failing.into_iter().flat_map(|n| [of(n), of(0)]).collect());
            settle(found, &mut calm).first().map(|(_, said)| (said.failing, said.dead))
        };
        assert_eq!(look(Some(0)), Some((0, 2)));
        assert_eq!(look(Some(4)), Some((4, 2)));
        assert_eq!(look(Some(0)), Some((4, 2)));
        assert_eq!(look(Some(0)), Some((4, 2)));
        assert_eq!(look(Some(0)), Some((0, 2)));
        assert_eq!(look(Some(1)), Some((1, 2)));
        assert_eq!(look(None), None);
        assert_eq!(look(Some(0)), Some((0, 2)));
    }
}

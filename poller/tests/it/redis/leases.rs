//! Leases, with the source driven directly: who may do what to an event, and when.

use std::{sync::Arc, time::Duration};

use kipper_poller::source::{Event, Mark, Source, redis::Lease};

use super::list::{List, claim, claim_but, numbers};
use crate::wait::until;

/// Runs out while a test does one thing after another.
const SHORT: Duration = Duration::from_millis(50);

fn shared(events: Vec<Event<Lease>>) -> Vec<Arc<Event<Lease>>> {
    events.into_iter().map(Arc::new).collect()
}

fn done(rows: Option<u64>) -> Mark {
    Mark::Done { rows, still: None }
}

/// Claims until there is something.
async fn take_over(
    source: &kipper_poller::source::redis::Redis,
    events: usize,
) -> Vec<Event<Lease>> {
    let mut taken = Vec::new();
    until("the leases ran out", async || {
        taken.extend(claim(source, events - taken.len()).await);
        taken.len() == events
    })
    .await;
    taken
}

/// The lease of a poller that hangs runs out. Whatever it does then is done to nothing.
#[tokio::test]
async fn a_zombie_cannot_touch_what_was_taken_over() {
    let list = List::new().await;
    list.fill(4).await;
    let (zombie, heir) = (list.source_with(SHORT).await, list.source().await);
    let old = shared(claim(&zombie, 4).await);
    let new = take_over(&heir, 4).await;
    for (old, new) in old.iter().zip(&new) {
        assert_eq!((&old.key, &old.body), (&new.key, &new.body));
        assert_eq!((old.attempts, new.attempts), (0, 1));
    }
    let deadlines = ["ZRANGE", &list.key("leases"), "0", "-1", "WITHSCORES"];
    let before: Vec<String> = list.ask(&deadlines).await;
    zombie.extend(&old).await.unwrap();
    zombie.release(&old[..1]).await.unwrap();
    assert_eq!(zombie.ack(&old[1..2], false).await.unwrap(), [done(Some(0))]);
    assert_eq!(zombie.fail(&old[2], "500", 10, false).await.unwrap(), done(Some(0)));
    zombie.recover(&old[3..]).await.unwrap();
    zombie.release(&old).await.unwrap();
    let after: Vec<String> = list.ask(&deadlines).await;
    assert_eq!(after, before);
    assert_eq!((list.owned().await, list.dead().await), (4, 0));
    assert!(claim(&zombie, 4).await.is_empty());
    // Its heir can do all of it.
    let marks = heir.ack(&shared(new), false).await.unwrap();
    assert_eq!(marks, vec![done(Some(1)); 4]);
    list.assert_clean().await;
}

/// An event whose lease ran out and that nobody took is still its owner's.
#[tokio::test]
async fn a_late_owner_keeps_what_nobody_took() {
    let list = List::new().await;
    list.fill(3).await;
    let source = list.source_with(Duration::from_millis(1)).await;
    let events = shared(claim(&source, 3).await);
    // The handlers run: their events are not to be given out.
    let keys: Vec<_> = events.iter().map(|event| event.key.clone()).collect();
    assert!(claim_but(&source, 3, &keys).await.events.is_empty());
    source.extend(&events).await.unwrap();
    source.recover(&events).await.unwrap();
    assert_eq!(source.ack(&events, false).await.unwrap(), vec![done(Some(1)); 3]);
    list.assert_clean().await;
}

#[tokio::test]
async fn a_renewed_lease_does_not_run_out() {
    let list = List::new().await;
    list.fill(2).await;
    let (short, long) = (list.source_with(SHORT).await, list.source().await);
    let events = shared(claim(&short, 2).await);
    let deadline = async || -> u64 {
        let scores: Vec<String> =
            list.ask(&["ZRANGE", &list.key("leases"), "0", "0", "WITHSCORES"]).await;
        scores[1].parse().unwrap()
    };
    let before = deadline().await;
    short.extend(&events).await.unwrap();
    assert!(deadline().await > before);
    // The second one is not renewed.
    drop(short);
    assert_eq!(take_over(&long, 2).await.len(), 2);
}

/// A poller that dies with an event again and again does so of it: it ends among the dead letters.
#[tokio::test]
async fn leases_that_run_out_are_attempts() {
    let list = List::new().await;
    list.push(r#"{"id":1}"#).await;
    let mut config = list.config(SHORT);
    config.max_attempts = 3;
    let mut ids = Vec::new();
    for attempts in 0..3 {
        let source = kipper_poller::source::redis::Redis::open(config.clone()).await.unwrap();
        let events = take_over(&source, 1).await;
        assert_eq!(events[0].attempts, attempts);
        ids.push(events[0].key.clone());
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    let source = kipper_poller::source::redis::Redis::open(config).await.unwrap();
    until("dead", async || {
        assert!(claim(&source, 1).await.is_empty());
        list.dead().await == 1
    })
    .await;
    let letter: String = list.ask(&["LINDEX", &list.key("dead"), "0"]).await;
    let letter: serde_json::Value = serde_json::from_str(&letter).unwrap();
    assert_eq!((&letter["item"], &letter["attempts"]), (&r#"{"id":1}"#.into(), &3.into()));
    assert_eq!(letter["id"], *ids[0]);
    list.assert_clean().await;
}

/// Given back without an attempt: the same id, the old order, before all that waits in the list.
#[tokio::test]
async fn what_is_given_back_comes_first_and_in_order() {
    let list = List::new().await;
    list.fill(30).await;
    let (one, two) = (list.source().await, list.source().await);
    let first = shared(claim(&one, 10).await);
    let second = shared(claim(&two, 10).await);
    // In no order at all.
    two.release(&second[5..]).await.unwrap();
    one.release(&[first[7].clone(), first[2].clone()]).await.unwrap();
    two.release(&second[..5]).await.unwrap();
    let again = claim(&one, 14).await;
    let expected: Vec<i64> = [3, 8].into_iter().chain(11..=22).collect();
    assert_eq!(numbers(&again), expected);
    assert!(again.iter().all(|event| event.attempts == 0));
    assert_eq!((&again[0].key, &again[2].key), (&first[2].key, &second[0].key));
}

/// Failed attempts and the pause after them are everybody's, not the pod's.
#[tokio::test]
async fn attempts_and_their_pause_outlive_the_pod() {
    let list = List::new().await;
    list.fill(3).await;
    let (one, two) = (list.source().await, list.source().await);
    let events = shared(claim(&one, 3).await);
    one.attempted(&events[0], 4, Duration::from_secs(600));
    one.attempted(&events[1], 2, Duration::from_millis(100));
    one.release(&events).await.unwrap();
    // The first one rests, and keeps nobody out.
    assert_eq!(numbers(&take_over(&two, 2).await), [3, 2]);
    assert!(claim(&two, 3).await.is_empty());
    assert_eq!(list.leases().await, 3);
    let noted: Vec<String> =
        list.ask(&["HMGET", &list.key("attempts"), &events[0].key, &events[1].key]).await;
    assert_eq!(noted, ["4", "2"]);
}

/// What failed here is noted while it waits here for its next attempt: a crash forgets nothing.
#[tokio::test]
async fn attempts_are_noted_while_the_event_is_held() {
    let list = List::new().await;
    list.fill(1).await;
    let (one, two) = (list.source_with(SHORT).await, list.source().await);
    let events = shared(claim(&one, 1).await);
    one.attempted(&events[0], 3, Duration::from_secs(600));
    one.extend(&events).await.unwrap();
    drop(one);
    // Three that it knew of, and the one of its end.
    assert_eq!(take_over(&two, 1).await[0].attempts, 4);
}

/// Keys to be left out are skipped, also many of them, and everything behind them is given out.
#[tokio::test]
async fn resting_events_are_skipped_and_block_nobody() {
    const RESTING: usize = 1_500;
    let list = List::new().await;
    list.fill(RESTING + 10).await;
    let source = list.source().await;
    let mut resting = Vec::new();
    while resting.len() < RESTING {
        resting.extend(shared(claim(&source, RESTING - resting.len()).await));
    }
    source.release(&resting).await.unwrap();
    let keys: Vec<_> = resting.iter().map(|event| event.key.clone()).collect();
    let claimed = claim_but(&source, 5, &keys).await;
    let next = i64::try_from(RESTING).unwrap() + 1;
    assert_eq!(numbers(&claimed.events), (next..next + 5).collect::<Vec<i64>>());
    assert!(claimed.more);
    // Only they are left: nothing now, and no reason to look again at once.
    let rest = claim_but(&source, 100, &keys).await;
    assert_eq!((rest.events.len(), rest.more), (5, false));
    let none = claim_but(&source, 100, &keys).await;
    assert_eq!((none.events.len(), none.more), (0, false));
    // Those that rested longest come first again.
    assert_eq!(numbers(&claim_but(&source, 1, &keys[1..]).await.events), [1]);
}

/// As many events and bytes as wanted, but always one.
#[tokio::test]
async fn a_claim_takes_what_is_wanted_and_no_more() {
    use kipper_poller::source::Wanted;
    let list = List::new().await;
    list.push_all((0..40).map(|n| vec![b'0' + n % 10; 100]).collect()).await;
    let source = list.source().await;
    let take = async |events, bytes| {
        let wanted = Wanted { events, bytes, except: &[] };
        source.claim(wanted).await.unwrap().events.len()
    };
    assert_eq!(take(3, usize::MAX).await, 3);
    assert_eq!(take(100, 1_050).await, 10);
    assert_eq!(take(100, 1).await, 1);
    assert_eq!(take(100, 100).await, 1);
    assert_eq!(take(5_000, usize::MAX).await, 25);
    assert_eq!((list.waiting().await, list.leases().await), (0, 40));
}

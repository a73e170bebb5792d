//! Calls whose answer never arrives: they took effect or will, and nobody knows.

use std::{sync::Arc, time::Duration};

use kipper_poller::source::{
    Event, Mark, Source, SourceError, Wanted,
    redis::{Lease, Redis},
};
use kipper_servers::{proxy::Proxy, redis};

use super::list::{List, claim, claim_but, numbers};
use crate::wait::until;

struct Behind {
    list: List,
    proxy: Proxy,
    source: Arc<Redis>,
    _server: redis::Redis,
}

/// A source behind a proxy.
async fn behind() -> Behind {
    let server = redis::Redis::start(redis::Options::default()).unwrap();
    let list = List::on(&server).await;
    let proxy = Proxy::start(server.port()).unwrap();
    let mut config = list.config(Duration::from_secs(600));
    config.url = config.url.replace(&server.port().to_string(), &proxy.port().to_string());
    let source = Arc::new(Redis::open(config).await.unwrap());
    Behind { list, proxy, source, _server: server }
}

fn shared(events: Vec<Event<Lease>>) -> Vec<Arc<Event<Lease>>> {
    events.into_iter().map(Arc::new).collect()
}

/// A claim that took events without telling: they are given back when the source connects again, and
/// nothing was tried.
#[tokio::test]
async fn a_claim_without_an_answer() {
    let Behind { list, proxy, source, _server } = behind().await;
    list.fill(20).await;
    let kept = shared(claim(&source, 5).await);
    proxy.stall_answers();
    let claiming = Arc::clone(&source);
    let wanted = Wanted { events: 10, bytes: usize::MAX, except: &[] };
    let claiming = tokio::spawn(async move { claiming.claim(wanted).await });
    until("claimed", async || list.owned().await == 15).await;
    proxy.cut();
    proxy.resume();
    assert!(matches!(claiming.await.unwrap(), Err(SourceError::Lost(_))));
    assert!(matches!(source.claim(wanted).await, Err(SourceError::Lost(_))));
    source.recover(&kept).await.unwrap();
    assert_eq!((list.owned().await, list.leases().await, list.waiting().await), (5, 15, 5));
    let again = claim(&source, 20).await;
    assert_eq!(numbers(&again), (6..=20).collect::<Vec<i64>>());
    assert!(again.iter().all(|event| event.attempts == 0));
    let marks = source.ack(&kept, false).await.unwrap();
    assert_eq!(marks, vec![Mark::Done { rows: Some(1), still: None }; 5]);
}

/// A mark that was made without telling: made again it changes nothing, and is done.
#[tokio::test]
async fn a_mark_without_an_answer() {
    let Behind { list, proxy, source, _server } = behind().await;
    list.fill(11).await;
    let mut events = shared(claim(&source, 11).await);
    // So that the server knows the script.
    source.ack(&events.split_off(10), false).await.unwrap();
    proxy.stall_answers();
    let (marking, half) = (Arc::clone(&source), events[..5].to_vec());
    let marking = tokio::spawn(async move { marking.ack(&half, false).await });
    until("marked", async || list.leases().await == 5).await;
    proxy.cut();
    proxy.resume();
    assert!(matches!(marking.await.unwrap(), Err(SourceError::Lost(_))));
    // Said once, then marks wait for the next connection.
    assert!(matches!(source.ack(&events, true).await, Err(SourceError::Broken(_))));
    source.recover(&events).await.unwrap();
    let marks = source.ack(&events, true).await.unwrap();
    let made = |mark: &Mark| matches!(mark, Mark::Done { rows: Some(1), .. });
    assert_eq!(marks.iter().filter(|mark| made(mark)).count(), 5);
    assert!(marks.iter().all(|mark| matches!(mark, Mark::Done { still: None, .. })));
    list.assert_clean().await;
    assert_eq!(list.waiting().await, 0);
}

/// A claim that the server reads only after the source has connected again is nobody's, and comes
/// back when its lease runs out.
#[tokio::test]
async fn a_claim_that_runs_late_is_nobodys() {
    let list = List::new().await;
    list.fill(5).await;
    let source = list.source_with(Duration::from_millis(50)).await;
    let kept = shared(claim(&source, 2).await);
    let owner: Vec<String> = list.ask(&["HVALS", &list.key("owners")]).await;
    source.recover(&kept).await.unwrap();
    let adopted: Vec<String> = list.ask(&["HVALS", &list.key("owners")]).await;
    assert_ne!(owner, adopted);
    // What a late command of the old connection would do: act as the old owner.
    let keys = ["items", "leases", "owners", "attempts", "dead", "state"].map(|key| list.key(key));
    let late = |body: &'static str, arguments: &[&str]| {
        let mut command = vec!["EVAL", body, "7", &list.name];
        command.extend(keys.iter().map(String::as_str));
        command.extend(arguments);
        command.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = async |command: Vec<String>| {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        list.try_ask::<fred::types::Value>(&command).await.unwrap()
    };
    let claim_script = concat!(
        include_str!("../../../src/source/redis/scripts/prelude.lua"),
        include_str!("../../../src/source/redis/scripts/claim.lua")
    );
    let complete_script = concat!(
        include_str!("../../../src/source/redis/scripts/prelude.lua"),
        include_str!("../../../src/source/redis/scripts/complete.lua")
    );
    run(late(complete_script, &[&owner[0], &kept[0].key, &kept[1].key])).await;
    let taken = ["50000", "3", "1000000", "left", "10", "late"];
    run(late(claim_script, &[&[owner[0].as_str()], &taken[..]].concat())).await;
    assert_eq!((list.owned().await, list.waiting().await), (5, 0));
    let keys: Vec<_> = kept.iter().map(|event| event.key.clone()).collect();
    let mut back = Vec::new();
    until("back", async || {
        back.extend(claim_but(&source, 3 - back.len(), &keys).await.events);
        back.len() == 3
    })
    .await;
    let mut ids = numbers(&back);
    ids.sort_unstable();
    assert_eq!(ids, [3, 4, 5]);
    assert_eq!(
        source.ack(&kept, false).await.unwrap(),
        vec![Mark::Done { rows: Some(1), still: None }; 2]
    );
}

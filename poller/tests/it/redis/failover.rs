//! Sentinel: the master dies, its replica takes over.

use std::collections::HashSet;

use fred::{clients::Client, types::Value};
use kipper_poller::source::redis::Redis as Items;
use kipper_servers::{Redis, Sentinel};

use super::list::{List, ask, claim, connect};
use crate::{function::Function, poller::Poller, wait::until};

const LIST: &str = "orders";
const ITEMS: usize = 2_000;

fn url(sentinel: &Sentinel) -> String {
    let (password, port) = (Sentinel::PASSWORD, sentinel.port());
    let service = Sentinel::SERVICE;
    format!("redis-sentinel://:{password}@127.0.0.1:{port}/0?sentinelServiceName={service}")
}

/// Pushes an item, which counts as accepted if a replica has it.
async fn push(client: &Client, item: &str) -> bool {
    let push: Result<i64, _> = ask(client, "RPUSH", vec![LIST.into(), item.into()]).await;
    let wait = vec![Value::from(1), Value::from(2_000)];
    push.is_ok() && ask::<i64>(client, "WAIT", wait).await.is_ok_and(|replicas| replicas >= 1)
}

/// Every item whose push was confirmed by a replica is delivered, though the master is killed while
/// items are claimed and marked.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_loses_nothing_that_was_accepted() {
    let sentinel = Sentinel::start(Vec::new()).unwrap();
    let function = Function::start().await;
    let master = connect(&sentinel.members()[0].url()).await;
    let mut accepted = Vec::new();
    for id in 1..=ITEMS / 2 {
        if push(&master, &format!(r#"{{"id":{id}}}"#)).await {
            accepted.push(id);
        }
    }
    assert_eq!(accepted.len(), ITEMS / 2);
    let list = List::named(&url(&sentinel), LIST).await;
    let mut flags = list.flags(&function.url());
    flags.push("--lease=10s".to_owned());
    let pollers: Vec<Poller> = (0..2).map(|_| Poller::start(&flags)).collect();
    until("under way", async || function.count() >= 100).await;
    let old = sentinel.kill_master().unwrap();
    let new: &Redis = &sentinel.members()[1];
    until("failed over", async || sentinel.master().is_ok_and(|now| now.port() == new.port()))
        .await;
    old.start_again().unwrap();
    let master = connect(&new.url()).await;
    for id in ITEMS / 2 + 1..=ITEMS {
        let item = format!(r#"{{"id":{id}}}"#);
        // Until the old master follows, nobody confirms.
        until("accepted", async || push(&master, &item).await).await;
        accepted.push(id);
    }
    let list = List::named(&new.url(), LIST).await;
    until("all gone", async || list.is_done().await).await;
    for poller in pollers {
        poller.stop().await;
    }
    let delivered: HashSet<i64> = function.deliveries().iter().map(|d| d.row_id()).collect();
    let missing = accepted.iter().filter(|id| !delivered.contains(&i64::try_from(**id).unwrap()));
    assert_eq!(missing.count(), 0);
    list.assert_clean().await;
}

/// A claim is given out when a replica has it: after a failover its events keep their ids.
#[tokio::test]
async fn a_replica_knows_of_every_claim() {
    let sentinel = Sentinel::start(Vec::new()).unwrap();
    let list = List::named(&sentinel.members()[0].url(), LIST).await;
    let replica = List::named(&sentinel.members()[1].url(), LIST).await;
    let mut config = list.config(std::time::Duration::from_secs(30));
    config.url = url(&sentinel);
    let source = Items::open(config).await.unwrap();
    for round in 1..=20 {
        list.push("1").await;
        assert_eq!(claim(&source, 1).await.len(), 1);
        assert_eq!(replica.owned().await, round);
    }
}

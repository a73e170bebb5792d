//! Several pollers on one list: each item once, none by two at a time.

use std::sync::Arc;

use super::list::{List, ask, connect};
use crate::{
    function::{Function, status},
    poller::Poller,
    wait::until,
};

fn start(count: usize, flags: &[String]) -> Vec<Poller> {
    (0..count).map(|_| Poller::start(flags)).collect()
}

async fn stop(pollers: Vec<Poller>) {
    for poller in pollers {
        poller.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_pollers_deliver_ten_thousand_items_once_each() {
    let (list, function) = (List::new().await, Function::start().await);
    list.fill(10_000).await;
    let pollers = start(4, &list.flags(&function.url()));
    until("all gone", async || list.is_done().await).await;
    stop(pollers).await;
    assert_eq!(function.count(), 10_000);
    assert_eq!(function.by_id().len(), 10_000);
    assert_eq!(function.overlaps(), 0);
    let rows: std::collections::HashSet<i64> =
        function.deliveries().iter().map(|delivery| delivery.row_id()).collect();
    assert_eq!(rows.len(), 10_000);
    list.assert_clean().await;
}

/// Slow handlers: work is left for pods that come later.
#[tokio::test(flavor = "multi_thread")]
async fn no_pod_takes_more_than_twice_what_it_can_run() {
    let list = List::new().await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let function = Function::with(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.unwrap().forget();
            status(200)
        }
    })
    .await;
    list.fill(40).await;
    let pollers = start(1, &list.flags(&function.url()));
    until("eight run", async || function.count() == 8).await;
    assert!(list.leases().await <= 16, "{}", list.leases().await);
    let late = start(3, &list.flags(&function.url()));
    until("all pods run", async || function.count() >= 8 + 16).await;
    gate.add_permits(1_000);
    until("all gone", async || list.is_done().await).await;
    stop(pollers).await;
    stop(late).await;
    assert_eq!((function.count(), function.overlaps()), (40, 0));
}

/// Handlers that push more items, at either end, while others are claimed.
#[tokio::test(flavor = "multi_thread")]
async fn handlers_may_push_more() {
    let list = List::new().await;
    list.fill(1_000).await;
    let (own, name) = (connect(&list.url).await, list.name.clone());
    let function = Function::with(move |delivery| {
        let (own, name) = (own.clone(), name.clone());
        async move {
            let id = delivery.row_id();
            if id <= 2_000 {
                let command = if id % 2 == 0 { "LPUSH" } else { "RPUSH" };
                let item = format!(r#"{{"id":{}}}"#, id + 2_000);
                let _: i64 = ask(&own, command, vec![name.into(), item.into()]).await.unwrap();
            }
            status(200)
        }
    })
    .await;
    let pollers = start(4, &list.flags(&function.url()));
    until("all gone", async || list.is_done().await).await;
    stop(pollers).await;
    assert_eq!((function.count(), function.overlaps()), (2_000, 0));
    list.assert_clean().await;
}

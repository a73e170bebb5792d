//! What the function is sent, and that every item is gone afterwards.

use std::time::Duration;

use kipper_poller::source::redis::{Backlog, Redis as Items};
use kipper_servers::redis::{Options, Redis};

use super::list::List;
use crate::{
    function::{Function, status},
    poller::Poller,
    wait::until,
};

#[tokio::test]
async fn every_item_is_delivered_once_and_gone() {
    let (list, function) = (List::new().await, Function::start().await);
    list.fill(500).await;
    let poller = Poller::start(&list.flags(&function.url()));
    until("all gone", async || list.is_done().await).await;
    // One that comes later is found too.
    list.push(r#"{"id":501}"#).await;
    until("the late one gone", async || list.is_done().await).await;
    poller.stop().await;
    assert_eq!(function.count(), 501);
    assert!(function.by_id().values().all(|count| *count == 1));
    list.assert_clean().await;
}

#[tokio::test]
async fn the_delivery_is_a_cloud_event() {
    let (list, function) = (List::new().await, Function::start().await);
    list.push(r#"{"order": 42,  "total": 10.50}"#).await;
    let poller = Poller::start(&list.flags(&function.url()));
    until("gone", async || list.is_done().await).await;
    poller.stop().await;
    let delivery = &function.deliveries()[0];
    let header = |name: &str| delivery.headers[name].to_str().unwrap();
    assert!(delivery.id.starts_with("ns/fn/000000000001-"), "{}", delivery.id);
    assert_eq!(delivery.attempt, 1);
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("ce-specversion"), "1.0");
    assert_eq!(header("ce-source"), "/kipper/ns/fn/redis");
    assert_eq!(header("ce-type"), "run.kipper.redis");
    assert_eq!(delivery.body, r#"{"order": 42,  "total": 10.50}"#);
}

/// One at a time, items come in the order of the list, from either end.
#[tokio::test]
async fn items_come_in_the_order_of_the_list() {
    for (end, expected) in [("left", (1..=50).collect()), ("right", (1..=50).rev().collect())] {
        let (list, function) = (List::new().await, Function::start().await);
        list.fill(50).await;
        let mut flags = list.flags(&function.url());
        flags.extend(["--concurrency=1".to_owned(), format!("--list-end={end}")]);
        let poller = Poller::start(&flags);
        until("all gone", async || list.is_done().await).await;
        poller.stop().await;
        let expected: Vec<i64> = expected;
        let ids: Vec<i64> = function.deliveries().iter().map(|d| d.row_id()).collect();
        assert_eq!(ids, expected, "{end}");
    }
}

/// What a stopped poller gives back comes first, so the order stays through any number of them.
#[tokio::test]
async fn the_order_survives_pollers_that_stop() {
    let (list, function) = (List::new().await, Function::start().await);
    list.fill(2_000).await;
    let mut flags = list.flags(&function.url());
    flags.push("--concurrency=1".to_owned());
    while !list.is_done().await {
        let seen = function.count();
        let poller = Poller::start(&flags);
        until("progress", async || function.count() >= seen + 100 || list.is_done().await).await;
        poller.stop().await;
    }
    let ids: Vec<i64> = function.deliveries().iter().map(|d| d.row_id()).collect();
    assert_eq!(ids, (1..=2_000).collect::<Vec<i64>>());
}

/// Bodies are bounded by bytes; one that is larger than the bound is delivered alone.
#[tokio::test]
async fn large_items_stay_under_the_byte_bound() {
    let (list, function) = (List::new().await, Function::start().await);
    list.fill(20).await;
    list.push_all(vec![format!("\"{}\"", "x".repeat(300_000)).into_bytes(); 20]).await;
    let mut flags = list.flags(&function.url());
    flags.push("--max-held-bytes=200000".to_owned());
    let poller = Poller::start(&flags);
    until("all gone", async || list.is_done().await).await;
    poller.stop().await;
    assert_eq!(function.count(), 40);
    list.assert_clean().await;
}

/// Nothing is claimed before the function answers.
#[tokio::test]
async fn a_function_that_is_not_up_costs_no_attempt() {
    let list = List::new().await;
    list.fill(3).await;
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let poller = Poller::start(&list.flags(&format!("http://{addr}/event")));
    // What the check at start leaves behind says that it is connected.
    let name = list.key("state");
    until("connected", async || list.ask::<i64>(&["EXISTS", &name]).await == 1).await;
    assert_eq!(list.waiting().await, 3);
    let function = Function::listen(addr, |_| async { status(200) }).await;
    until("all gone", async || list.is_done().await).await;
    poller.stop().await;
    assert!(function.deliveries().iter().all(|delivery| delivery.attempt == 1));
}

/// A Redis whose memory is full refuses new items, and is drained all the same.
#[tokio::test]
async fn a_full_redis_is_drained() {
    let config = vec!["maxmemory 6mb".to_owned(), "appendonly no".to_owned()];
    let server = Redis::start(Options { config, ..Options::default() }).unwrap();
    let (list, function) = (List::on(&server).await, Function::start().await);
    let item = format!("\"{}\"", "x".repeat(4_000));
    let mut pushed = 0;
    let full = loop {
        let push =
            ["EVAL", "return redis.pcall('RPUSH', KEYS[1], ARGV[1])", "1", &list.name, &item];
        match list.try_ask::<i64>(&push).await {
            Ok(_) => pushed += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(full.contains("OOM"), "{full}");
    let poller = Poller::start(&list.flags(&function.url()));
    until("all gone", async || list.is_done().await).await;
    poller.stop().await;
    assert_eq!(function.count(), pushed);
}

/// TLS, verified against the server's own authority.
#[tokio::test]
async fn a_connection_with_tls() {
    let server = Redis::start(Options { tls: true, ..Options::default() }).unwrap();
    let (list, function) = (List::on(&server).await, Function::start().await);
    list.fill(100).await;
    let mut flags = list.flags_at(&server.tls_url().unwrap(), &function.url());
    flags.push(format!("--source-ca={}", server.ca_file().display()));
    let poller = Poller::start(&flags);
    until("all gone", async || list.is_done().await).await;
    poller.stop().await;
    assert_eq!(function.count(), 100);
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_spoken_to() {
    let tls = || Redis::start(Options { tls: true, ..Options::default() }).unwrap();
    let (server, other) = (tls(), tls());
    let list = List::on(&server).await;
    let mut config = list.config(Duration::from_secs(30));
    config.url = server.tls_url().unwrap();
    for (authority, is_right) in [(server.ca_pem(), true), (other.ca_pem(), false)] {
        config.authority = Some(authority.to_owned());
        let opened = Items::open(config.clone()).await;
        assert_eq!(opened.is_ok(), is_right);
        if let Err(error) = opened {
            assert!(error.to_string().contains("Certificate"), "{error}");
        }
    }
}

/// The signal for scaling counts items until they are handled.
#[tokio::test]
async fn the_backlog_counts_what_is_claimed_too() {
    let list = List::new().await;
    let mut backlog = Backlog::new(&list.config(Duration::from_secs(30))).unwrap();
    assert_eq!(backlog.count().await.unwrap(), 0);
    list.fill(30).await;
    let source = list.source().await;
    let claimed = super::list::claim(&source, 10).await;
    assert_eq!((claimed.len(), list.waiting().await), (10, 20));
    assert_eq!(backlog.count().await.unwrap(), 30);
}

//! What dies, and what that costs: nothing lost, and nothing delivered twice that was not in work.

use std::{collections::HashSet, sync::Arc, time::Duration};

use kipper_servers::{
    proxy::Proxy,
    redis::{Options, Redis},
};
use tokio::sync::Semaphore;

use super::list::List;
use crate::{
    function::{Function, status},
    poller::{Poller, Process},
    scenario::faults::is_soak,
    wait::until,
};

/// More deliveries than events.
fn duplicates(function: &Function) -> usize {
    function.count() - function.by_id().len()
}

/// Different items delivered.
fn rows(function: &Function) -> usize {
    function.deliveries().iter().map(|d| d.row_id()).collect::<HashSet<i64>>().len()
}

/// SIGKILL of one of three pollers, again and again. What it had claimed and not marked may come
/// twice, under the same id, all else once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_pollers_lose_nothing() {
    const MAX_HELD: usize = 64;
    let (items, kills, between) = if is_soak() { (100_000, 20, 4_000) } else { (10_000, 8, 400) };
    let (list, function) = (List::new().await, Function::start().await);
    list.fill(items).await;
    let mut flags = list.flags(&function.url());
    flags.extend([format!("--max-held={MAX_HELD}"), "--lease=10s".to_owned()]);
    let mut pollers: Vec<Process> = (0..3).map(|_| Process::start(&flags)).collect();
    for kill in 0..kills {
        let seen = function.count();
        until("progress", async || function.count() >= seen + between || list.waiting().await == 0)
            .await;
        pollers.remove(kill % 3).kill();
        pollers.push(Process::start(&flags));
    }
    until("all gone", async || list.is_done().await).await;
    drop(pollers);
    println!("{items} items, {kills} kills: {} twice", duplicates(&function));
    assert_eq!((rows(&function), function.by_id().len()), (items, items));
    assert!(duplicates(&function) <= kills * MAX_HELD, "{} twice", duplicates(&function));
    assert_eq!(list.dead().await, 0);
    list.assert_clean().await;
}

/// The server is killed and comes back with all that it confirmed, in the middle of the work.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_loses_nothing() {
    let server = Redis::start(Options::default()).unwrap();
    let list = List::on(&server).await;
    let function = Function::start().await;
    list.fill(3_000).await;
    let flags = list.flags(&function.url());
    let pollers: Vec<Poller> = (0..2).map(|_| Poller::start(&flags)).collect();
    until("under way", async || function.count() >= 500).await;
    server.restart().unwrap();
    let list = List::named(&list.url, &list.name).await;
    until("all gone", async || list.is_done().await).await;
    for poller in pollers {
        poller.stop().await;
    }
    assert_eq!((rows(&function), function.by_id().len()), (3_000, 3_000));
    assert!(duplicates(&function) <= 2 * 256, "{} twice", duplicates(&function));
    list.assert_clean().await;
}

/// The connection is cut with handlers at work: their events stay theirs, so that nobody delivers
/// them a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_keeps_its_work() {
    let server = Redis::start(Options::default()).unwrap();
    let list = List::on(&server).await;
    let proxy = Proxy::start(server.port()).unwrap();
    let url = list.url.replace(&server.port().to_string(), &proxy.port().to_string());
    let function = Function::with(|_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        status(200)
    })
    .await;
    list.fill(40).await;
    let poller = Poller::start(&list.flags_at(&url, &function.url()));
    let other = Poller::start(&list.flags(&function.url()));
    until("at work", async || function.count() >= 16).await;
    assert!(proxy.cut() >= 1);
    until("all gone", async || list.is_done().await).await;
    poller.stop().await;
    other.stop().await;
    assert_eq!((function.count(), function.overlaps()), (40, 0));
    assert!(function.deliveries().iter().all(|delivery| delivery.attempt == 1));
    list.assert_clean().await;
}

/// Cut in the middle of anything, several times.
#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing() {
    let server = Redis::start(Options::default()).unwrap();
    let list = List::on(&server).await;
    let proxy = Proxy::start(server.port()).unwrap();
    let url = list.url.replace(&server.port().to_string(), &proxy.port().to_string());
    let function = Function::start().await;
    list.fill(3_000).await;
    let poller = Poller::start(&list.flags_at(&url, &function.url()));
    for _ in 0..5 {
        let seen = function.count();
        until("progress", async || function.count() >= seen + 200 || list.waiting().await == 0)
            .await;
        proxy.cut();
    }
    until("all gone", async || list.is_done().await).await;
    poller.stop().await;
    assert_eq!((rows(&function), function.by_id().len()), (3_000, 3_000));
    // What was in work stayed the poller's, so nothing came twice.
    assert_eq!((duplicates(&function), function.overlaps()), (0, 0));
    list.assert_clean().await;
}

/// The function goes away in the middle and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_restarts_loses_nothing() {
    let list = List::new().await;
    let function = Function::start().await;
    let (addr, url) = (function.addr(), function.url());
    list.fill(3_000).await;
    let poller = Poller::start(&list.flags(&url));
    until("under way", async || function.count() >= 500).await;
    function.close();
    until("released", async || list.owned().await == 0).await;
    let before = function.log();
    let function = Function::listen(addr, |_| async { status(200) }).await;
    until("all gone", async || list.is_done().await).await;
    poller.stop().await;
    let mut all = function.by_id();
    all.extend(before());
    assert_eq!(all.len(), 3_000);
    assert!(function.deliveries().iter().all(|delivery| delivery.attempt <= 2));
}

/// A handler that takes longer than a lease keeps its event: the lease is renewed.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_may_take_longer_than_a_lease() {
    let list = List::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let function = Function::with(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.unwrap().forget();
            status(200)
        }
    })
    .await;
    list.fill(4).await;
    let mut flags = list.flags(&function.url());
    flags.push("--lease=10s".to_owned());
    let pollers: Vec<Poller> = (0..2).map(|_| Poller::start(&flags)).collect();
    until("at work", async || function.count() == 4).await;
    // How long the leases of now would still live, in microseconds of the server's clock.
    let left = "local now = redis.call('TIME') \
                return redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[1], 'WITHSCORES')[2] \
                - now[1] * 1000000 - now[2]";
    let end = "local now = redis.call('TIME') return now[1] * 1000000 + now[2]";
    let begin: i64 = list.ask(&["EVAL", end, "0"]).await;
    until("two leases' time", async || {
        let shortest: i64 = list.ask(&["EVAL", left, "1", &list.key("leases"), "0"]).await;
        assert!(shortest > 0, "a lease ran out");
        list.ask::<i64>(&["EVAL", end, "0"]).await > begin + 12_000_000
    })
    .await;
    gate.add_permits(10);
    until("all gone", async || list.is_done().await).await;
    for poller in pollers {
        poller.stop().await;
    }
    assert_eq!((function.count(), function.overlaps()), (4, 0));
}

/// SIGTERM: handlers finish, their items are gone, nothing new is begun and nothing stays claimed.
#[tokio::test]
async fn a_signal_finishes_what_runs() {
    let list = List::new().await;
    let function = Function::with(|_| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        status(200)
    })
    .await;
    list.fill(100).await;
    let poller = Poller::start(&list.flags(&function.url()));
    until("at work", async || function.count() >= 8).await;
    poller.stop().await;
    let delivered = function.count();
    assert!(delivered < 100);
    assert_eq!(list.owned().await, 0);
    assert_eq!(list.waiting().await + list.leases().await, 100 - delivered);
}

/// What a pod tried in vain counts for the next one.
#[tokio::test]
async fn a_new_pod_goes_on_counting_attempts() {
    let list = List::new().await;
    let function = Function::with(|_| async { status(503) }).await;
    list.fill(1).await;
    let mut seen = Vec::new();
    for pod in 1..=3 {
        let poller = Poller::start(&list.flags(&function.url()));
        until("another attempt", async || function.count() >= pod).await;
        // Its failure is taken in before it stops: a second delivery follows the first.
        poller.stop().await;
        let last = function.deliveries().last().unwrap().attempt;
        seen.push(last);
    }
    assert!(seen.is_sorted() && seen[2] >= 3, "{seen:?}");
    assert_eq!(function.by_id().len(), 1);
}

/// A server that forgot its scripts is told them again.
#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let server = Redis::start(Options::default()).unwrap();
    let (list, function) = (List::on(&server).await, Function::start().await);
    let poller = Poller::start(&list.flags(&function.url()));
    for round in 1..=3 {
        list.fill(50).await;
        until("all gone", async || list.is_done().await).await;
        assert_eq!(function.count(), round * 50);
        list.ask::<String>(&["SCRIPT", "FLUSH"]).await;
    }
    poller.stop().await;
}
